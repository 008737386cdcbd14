//! Telling people and scripts that all is ready.

use std::path::Path;

use pglens_core::Secret;
use serde_json::{Value, json};

use super::api::ADMIN_USER;
use crate::files::{self, Audience, FileError};

/// The sample user.
pub(super) const DEMO_USER: &str = "demo";

/// Everything there is to tell.
#[derive(Debug)]
pub(super) struct Facts {
    /// `host:port` of the proxy.
    pub(super) proxy: String,
    /// URL of the REST API.
    pub(super) api: String,
    /// URL of the control plane's operations server.
    pub(super) control_plane_operations: String,
    /// URL of the data plane's operations server.
    pub(super) data_plane_operations: String,
    pub(super) admin_password: Secret<String>,
    pub(super) demo_password: Secret<String>,
    /// The name that clients of the proxy give.
    pub(super) demo_database: &'static str,
    /// Past the proxy, with the stored login.
    pub(super) target_url: Secret<String>,
    pub(super) storage_url: Secret<String>,
}

/// The process ids of now; a plane that is being started again has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pids {
    pub(super) control_plane: Option<u32>,
    pub(super) data_plane: Option<u32>,
    pub(super) postgres: u32,
}

impl Facts {
    /// Writes the file for scripts, whole or not at all; only its owner can read it.
    pub(super) fn write(&self, path: &Path, pids: Pids) -> Result<(), FileError> {
        files::replace(path, &format!("{:#}\n", self.json(pids)), Audience::Owner)
    }

    fn json(&self, pids: Pids) -> Value {
        json!({
            "proxy": self.proxy,
            "api": self.api,
            "operations": {
                "control_plane": self.control_plane_operations,
                "data_plane": self.data_plane_operations,
            },
            "admin_user": ADMIN_USER,
            "admin_password": self.admin_password.expose(),
            "demo_user": DEMO_USER,
            "demo_password": self.demo_password.expose(),
            "demo_database": self.demo_database,
            "target_url": self.target_url.expose(),
            "storage_url": self.storage_url.expose(),
            "pids": {
                "control_plane": pids.control_plane,
                "data_plane": pids.data_plane,
                "postgres": pids.postgres,
            },
        })
    }

    /// What a person sees; the passwords are made for this machine and are needed to go on.
    pub(super) fn announcement(&self, data_dir: &Path) -> String {
        let Self {
            proxy,
            api,
            demo_database,
            ..
        } = self;
        let (demo, admin) = (self.demo_password.expose(), self.admin_password.expose());
        let data_dir = data_dir.display();
        format!(
            "
PgLens is ready.

  Query the sample database through the proxy:
    psql 'postgresql://{DEMO_USER}:{demo}@{proxy}/{demo_database}'

  See what was run, over REST ({api}):
    curl -u {ADMIN_USER}:{admin} '{api}/api/queries'

  Ctrl-C stops everything. The data are kept in {data_dir}; `pglens dev --fresh` starts from nothing.
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_keys_that_scripts_rely_on() {
        let facts = Facts {
            proxy: "127.0.0.1:5001".to_owned(),
            api: "http://127.0.0.1:8080".to_owned(),
            control_plane_operations: "http://127.0.0.1:1".to_owned(),
            data_plane_operations: "http://127.0.0.1:2".to_owned(),
            admin_password: "a".to_owned().into(),
            demo_password: "d".to_owned().into(),
            demo_database: "shop",
            target_url: "postgresql://t".to_owned().into(),
            storage_url: "postgresql://s".to_owned().into(),
        };
        let pids = Pids {
            control_plane: Some(1),
            data_plane: None,
            postgres: 3,
        };
        let json = facts.json(pids);
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        let expected = "proxy api operations admin_user admin_password demo_user demo_password \
                        demo_database target_url storage_url pids";
        assert_eq!(keys, expected.split(' ').collect::<Vec<_>>());
        assert_eq!(json["pids"]["postgres"], 3);
        assert!(!format!("{facts:?}").contains("postgresql://"));
        let text = facts.announcement(Path::new(".pglens"));
        assert!(
            text.contains("psql 'postgresql://demo:d@127.0.0.1:5001/shop'"),
            "{text}"
        );
        assert!(
            text.contains("curl -u admin:a 'http://127.0.0.1:8080/api/queries'"),
            "{text}"
        );
    }
}
