//! What most tests of the planes' contract begin with: a user, a database, and a proxy that is attached.

use pglens_rpc::v1;
use pglens_testkit::TestPostgres;

use crate::planes::{Admin, Fleet, Plane, read_grant};
use crate::proxies::{Client, Proxy};
use crate::streams::Attachment;

/// A plane with user ann, database shop and an attached proxy.
pub(crate) struct Scene {
    pub(crate) plane: Plane,
    pub(crate) admin: Admin,
    pub(crate) proxy: Proxy,
    pub(crate) attachment: Attachment,
    pub(crate) user_id: i64,
    pub(crate) database_id: i64,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let storage = TestPostgres::shared().await.create_database().await;
        let plane = Fleet::new(storage).start_plane().await;
        let mut admin = plane.admin().await;
        let user_id = admin.create_user("ann", "ann-password").await;
        let database_id = admin.create_database("shop").await;
        let proxy = Proxy::new(&plane, "proxy-1").await;
        let attachment = proxy.attach().await;
        Self {
            plane,
            admin,
            proxy,
            attachment,
            user_id,
            database_id,
        }
    }

    /// A grant of ann on shop.
    pub(crate) async fn grant(&mut self, change: impl FnOnce(&mut v1::CreateGrantRequest)) -> i64 {
        let mut grant = read_grant(self.user_id, self.database_id);
        change(&mut grant);
        self.admin.create_grant(grant).await
    }

    /// A session under a grant of its own.
    pub(crate) async fn session(
        &mut self,
        change: impl FnOnce(&mut v1::CreateGrantRequest),
    ) -> (i64, Vec<u8>) {
        let grant_id = self.grant(change).await;
        (grant_id, self.proxy.allowed(&ann()).await.session_id)
    }
}

/// Ann, who wants to go shopping.
pub(crate) fn ann() -> Client {
    Client::new("ann", "ann-password", "shop")
}
