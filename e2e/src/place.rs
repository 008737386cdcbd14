//! What a test needs to know of an installation, however it was started.

use crate::api::{Api, GrantSpec, Person};
use crate::client::Login;
use crate::target::Target;

/// The name PgLens knows the tests' target by.
pub const DATABASE: &str = "store";

/// A running PgLens with one database, [`DATABASE`], that leads to a target of its own.
#[derive(Debug)]
pub struct Place {
    pub proxy_host: String,
    pub proxy_port: u16,
    /// As an administrator.
    pub api: Api,
    pub target: Target,
    pub database_id: i64,
}

impl Place {
    /// Registers `target` at `api`.
    pub async fn new(proxy: &str, api: Api, target: Target) -> Self {
        let route = target.login().clone();
        Self::with_route(proxy, api, target, &route).await
    }

    /// The same, with `route` as the way from the proxy to the target.
    pub async fn with_route(proxy: &str, api: Api, target: Target, route: &Login) -> Self {
        let (host, port) = proxy.rsplit_once(':').expect("host:port");
        let database_id = api.database(DATABASE, route).await;
        Self {
            proxy_host: host.to_owned(),
            proxy_port: port.parse().expect("a port"),
            api,
            target,
            database_id,
        }
    }

    /// Through the proxy, as `person`.
    pub fn login(&self, person: &Person) -> Login {
        Login {
            host: self.proxy_host.clone(),
            port: self.proxy_port,
            user: person.name.clone(),
            password: person.password.clone(),
            database: DATABASE.to_owned(),
            options: String::new(),
        }
    }

    /// A new user who holds a grant, and the grant's id.
    pub async fn granted(&self, role: &str, grant: &GrantSpec) -> (Person, i64) {
        let person = self.api.person(role).await;
        let grant_id = self.api.grant(&person, self.database_id, grant).await;
        (person, grant_id)
    }

    /// A new user with a read grant, logging in through the proxy.
    pub async fn reader(&self, role: &str) -> (Person, Login) {
        let (person, _) = self.granted(role, &GrantSpec::read()).await;
        let login = self.login(&person);
        (person, login)
    }

    /// A new user with a write grant, logging in through the proxy.
    pub async fn writer(&self, role: &str) -> (Person, Login) {
        let (person, _) = self.granted(role, &GrantSpec::write()).await;
        let login = self.login(&person);
        (person, login)
    }
}
