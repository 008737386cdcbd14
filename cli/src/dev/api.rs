//! What `pglens dev` does over REST, as a person would: a user, a database, a grant.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use pglens_core::Secret;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::DevError;
use super::databases::OwnedDatabase;

/// The administrator that a control plane makes on its first start.
pub(super) const ADMIN_USER: &str = "admin";
/// Length of the sample grant; it is made anew when it has run out.
const GRANT_LIFETIME: TimeDelta = TimeDelta::days(90);
/// Starts in the past, should the clock of PostgreSQL be behind ours.
const GRANT_HEAD_START: TimeDelta = TimeDelta::minutes(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The REST API with the administrator's password.
pub(super) struct Api {
    client: Client,
    base: String,
    password: Secret<String>,
}

impl Api {
    pub(super) fn new(address: SocketAddr, password: Secret<String>) -> Result<Self, DevError> {
        Ok(Self {
            client: client()?,
            base: format!("http://{address}"),
            password,
        })
    }

    /// The id of the user, who is made if need be.
    pub(super) async fn ensure_user(
        &self,
        username: &str,
        password: &Secret<String>,
    ) -> Result<i64, DevError> {
        if let Some(user) = self.find("users", "username", username).await? {
            return id_of(&user, "users");
        }
        let password = password.expose();
        let user = json!({"username": username, "password": password, "is_admin": false});
        id_of(
            &self.send(Method::POST, "users", Some(user)).await?,
            "users",
        )
    }

    /// The id of the database, which is made, or pointed to where it is now.
    pub(super) async fn ensure_database(&self, database: &OwnedDatabase) -> Result<i64, DevError> {
        let target = json!({
            "host": "127.0.0.1",
            "port": database.port,
            "database_name": database.name,
            "username": database.name,
            "password": database.password.expose(),
            "ssl_mode": "disable",
        });
        if let Some(known) = self.find("databases", "name", database.name).await? {
            let id = id_of(&known, "databases")?;
            if known.get("port").and_then(Value::as_u64) != Some(u64::from(database.port)) {
                self.send(Method::PUT, &format!("databases/{id}"), Some(target))
                    .await?;
            }
            return Ok(id);
        }
        let mut object =
            json!({"name": database.name, "description": "Sample shop, made by pglens dev"});
        if let (Some(object), Value::Object(target)) = (object.as_object_mut(), target) {
            object.extend(target);
        }
        id_of(
            &self.send(Method::POST, "databases", Some(object)).await?,
            "databases",
        )
    }

    /// A read grant, unless there is one that is active.
    pub(super) async fn ensure_read_grant(
        &self,
        user_id: i64,
        database_id: i64,
    ) -> Result<(), DevError> {
        let active =
            format!("grants?user_id={user_id}&database_id={database_id}&status=active&limit=1");
        let found = self.send(Method::GET, &active, None).await?;
        let found = found.get("grants").and_then(Value::as_array);
        if found.is_some_and(|grants| !grants.is_empty()) {
            return Ok(());
        }
        let now = Utc::now();
        let grant = json!({
            "user_id": user_id,
            "database_id": database_id,
            "access_level": "read",
            "starts_at": (now - GRANT_HEAD_START).to_rfc3339(),
            "expires_at": (now + GRANT_LIFETIME).to_rfc3339(),
        });
        self.send(Method::POST, "grants", Some(grant))
            .await
            .map(drop)
    }

    /// The object of a list whose `key` is `value`; follows the pages.
    async fn find(&self, list: &str, key: &str, value: &str) -> Result<Option<Value>, DevError> {
        let mut path = format!("{list}?limit=1000");
        loop {
            let page = self.send(Method::GET, &path, None).await?;
            let objects = page.get(list).and_then(Value::as_array);
            let is_it = |object: &&Value| object.get(key).and_then(Value::as_str) == Some(value);
            if let Some(object) = objects.and_then(|objects| objects.iter().find(is_it)) {
                return Ok(Some(object.clone()));
            }
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(cursor) => path = format!("{list}?limit=1000&cursor={cursor}"),
                None => return Ok(None),
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, DevError> {
        let what = format!("{method} /api/{path}");
        let failed = |reason: String| DevError::Api {
            what: what.clone(),
            reason,
        };
        let mut request = self
            .client
            .request(method, format!("{}/api/{path}", self.base))
            .basic_auth(ADMIN_USER, Some(self.password.expose()));
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = request
            .send()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        let text = response
            .text()
            .await
            .map_err(|error| failed(error.to_string()))?;
        if !status.is_success() {
            return Err(failed(refusal(status, &text)));
        }
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
    }
}

fn refusal(status: StatusCode, body: &str) -> String {
    let words = serde_json::from_str::<Value>(body).ok();
    let words = words.as_ref().and_then(|body| body.get("error")?.as_str());
    format!("{status}: {}", words.unwrap_or("no reason given"))
}

fn id_of(object: &Value, list: &str) -> Result<i64, DevError> {
    object
        .get("id")
        .and_then(Value::as_i64)
        .ok_or_else(|| DevError::Api {
            what: format!("reading an object of /api/{list}"),
            reason: "it has no id".to_owned(),
        })
}

/// A client for this machine, whatever proxy the environment names.
fn client() -> Result<Client, DevError> {
    Client::builder()
        .no_proxy()
        .timeout(REQUEST_TIMEOUT)
        .build()
        .map_err(|error| DevError::Api {
            what: "making an HTTP client".to_owned(),
            reason: error.to_string(),
        })
}

/// Asks `/readyz` until it says yes; `Err` holds what it said last.
pub(super) async fn wait_until_ready(
    what: &str,
    operations: SocketAddr,
    timeout: Duration,
) -> Result<(), DevError> {
    const INTERVAL: Duration = Duration::from_millis(50);
    let client = client()?;
    let url = format!("http://{operations}/readyz");
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        let reason = match client.get(&url).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => answer
                .text()
                .await
                .unwrap_or_default()
                .trim()
                .replace('\n', "; "),
            Err(_not_listening_yet) => "it does not listen".to_owned(),
        };
        if tokio::time::Instant::now() > deadline {
            return Err(DevError::NotReady {
                what: what.to_owned(),
                seconds: timeout.as_secs(),
                reason,
            });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
