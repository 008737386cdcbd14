//! A client of the REST API, and the objects it answers with.

use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::Login;
use crate::wait::eventually;

/// Largest page the API gives.
const PAGE_LIMIT: usize = 1000;

/// Someone's access to the REST API.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    user: String,
    password: String,
    http: reqwest::Client,
}

/// A user made for one test.
#[derive(Debug, Clone)]
pub struct Person {
    pub id: i64,
    pub name: String,
    pub password: String,
}

/// What a grant is made of; [`GrantSpec::read`] and [`GrantSpec::write`] run from now for an hour.
#[derive(Debug, Clone)]
pub struct GrantSpec {
    pub access_level: &'static str,
    pub starts_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub max_queries: Option<u64>,
    pub max_bytes: Option<u64>,
    /// Further fields, as the API names them.
    pub more: Vec<(&'static str, Value)>,
}

impl GrantSpec {
    pub fn read() -> Self {
        Self {
            access_level: "read",
            // The database's clock decides; the two are the same machine's.
            starts_at: Utc::now() - TimeDelta::minutes(1),
            expires_at: Utc::now() + TimeDelta::hours(1),
            max_queries: None,
            max_bytes: None,
            more: Vec::new(),
        }
    }

    pub fn write() -> Self {
        Self {
            access_level: "write",
            ..Self::read()
        }
    }
}

/// A statement as `/api/queries` tells it. Absent texts are empty.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub id: String,
    pub connection_id: String,
    pub sequence: i64,
    pub sql: String,
    pub row_count: i64,
    pub command_tag: String,
    pub sqlstate: String,
    pub refusal: String,
    pub json: Value,
}

impl From<&Value> for Recorded {
    fn from(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| {
            json[name]
                .as_i64()
                .unwrap_or_else(|| panic!("{name} in {json}"))
        };
        assert!(
            json["duration_us"].is_number(),
            "still running in an ended session: {json}"
        );
        Self {
            id: text("id"),
            connection_id: text("connection_id"),
            sequence: number("sequence"),
            sql: text("sql"),
            row_count: number("row_count"),
            command_tag: text("command_tag"),
            sqlstate: text("sqlstate"),
            refusal: text("refusal"),
            json: json.clone(),
        }
    }
}

impl Recorded {
    /// What most tests compare: text, tag, rows, SQLSTATE.
    pub fn summary(&self) -> (&str, &str, i64, &str) {
        (&self.sql, &self.command_tag, self.row_count, &self.sqlstate)
    }
}

impl Api {
    pub fn new(base: &str, user: &str, password: &str) -> Self {
        Self {
            base: base.trim_end_matches('/').to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
            http: reqwest::Client::new(),
        }
    }

    /// The same API as somebody else.
    pub fn with_user(&self, user: &str, password: &str) -> Self {
        let (user, password) = (user.to_owned(), password.to_owned());
        Self {
            user,
            password,
            ..self.clone()
        }
    }

    /// The URL it is at.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends one request; an empty body is answered as null.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), reqwest::Error> {
        let url = format!("{}{path}", self.base);
        let request = self
            .http
            .request(method, url)
            .basic_auth(&self.user, Some(&self.password));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        Ok((
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        ))
    }

    /// Sends one request and wants `expected` as its status.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        expected: u16,
    ) -> Value {
        let what = format!("{method} {path}");
        let (status, answer) = self
            .try_send(method, path, body)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(
            status.as_u16(),
            expected,
            "{what} with {body:?} answered {answer}"
        );
        answer
    }

    pub async fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, None, 200).await
    }

    pub async fn create(&self, path: &str, body: Value) -> Value {
        self.send(Method::POST, path, Some(&body), 201).await
    }

    pub async fn update(&self, path: &str, body: Value) -> Value {
        self.send(Method::PUT, path, Some(&body), 200).await
    }

    /// DELETE, which answers 200 or 204.
    pub async fn delete(&self, path: &str) {
        let (status, answer) = self
            .try_send(Method::DELETE, path, None)
            .await
            .expect("an answer");
        assert!(
            status.is_success(),
            "DELETE {path} answered {status} {answer}"
        );
    }

    /// All pages of a list, whose objects are under `key`.
    pub async fn list(&self, path: &str, key: &str) -> Vec<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self
                .get(&format!("{path}{separator}limit={PAGE_LIMIT}{cursor}"))
                .await;
            let objects = page[key]
                .as_array()
                .unwrap_or_else(|| panic!("{path} has no {key}: {page}"));
            all.extend(objects.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    /// Makes a user whose name starts with `role` and is nobody else's.
    pub async fn person(&self, role: &str) -> Person {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("{role}_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let password = format!("pass of {name} ✓");
        let body = json!({"username": name, "password": password, "is_admin": false});
        let id = id_of(&self.create("/api/users", body).await);
        Person { id, name, password }
    }

    /// Makes a database that leads to where `login` leads.
    pub async fn database(&self, name: &str, login: &Login) -> i64 {
        let body = json!({
            "name": name,
            "description": "made by a test",
            "host": login.host,
            "port": login.port,
            "database_name": login.database,
            "username": login.user,
            "password": login.password,
            "ssl_mode": "disable",
        });
        id_of(&self.create("/api/databases", body).await)
    }

    /// Makes a grant and answers its id.
    pub async fn grant(&self, person: &Person, database_id: i64, grant: &GrantSpec) -> i64 {
        let mut body = json!({
            "user_id": person.id,
            "database_id": database_id,
            "access_level": grant.access_level,
            "starts_at": grant.starts_at.to_rfc3339(),
            "expires_at": grant.expires_at.to_rfc3339(),
        });
        for (name, value) in [
            ("max_queries", grant.max_queries),
            ("max_bytes", grant.max_bytes),
        ] {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        for (name, value) in &grant.more {
            body[*name] = value.clone();
        }
        id_of(&self.create("/api/grants", body).await)
    }

    pub async fn revoke(&self, grant_id: i64) {
        self.delete(&format!("/api/grants/{grant_id}")).await;
    }

    /// The user's connections, oldest first.
    pub async fn connections(&self, person: &Person) -> Vec<Value> {
        let mut found = self
            .list(
                &format!("/api/connections?user_id={}", person.id),
                "connections",
            )
            .await;
        found.sort_by_key(|connection| connection["id"].as_str().map(str::to_owned));
        found
    }

    /// The user's connections once there are `count` and all of them have ended. The end of a session is the last of
    /// its records, so that its statements are all stored by then.
    pub async fn ended_connections(&self, person: &Person, count: usize) -> Vec<Value> {
        let what = format!("{count} ended connections of {}", person.name);
        eventually(&what, || async {
            let found = self.connections(person).await;
            let ended = found
                .iter()
                .filter(|one| !one["ended_at"].is_null())
                .count();
            let reached = found.len() >= count && ended == found.len();
            if reached {
                Ok(found)
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await
    }

    /// What the user ran in `count` connections, in order; complete, as the record itself claims.
    pub async fn recorded(&self, person: &Person, count: usize) -> Vec<Recorded> {
        let connections = self.ended_connections(person, count).await;
        assert_eq!(
            connections.len(),
            count,
            "connections of {}: {connections:?}",
            person.name
        );
        for connection in &connections {
            assert_eq!(connection["audit_complete"], true, "{connection}");
        }
        let listed = self
            .list(&format!("/api/queries?user_id={}", person.id), "queries")
            .await;
        let mut recorded: Vec<Recorded> = listed.iter().map(Recorded::from).collect();
        recorded.sort_by(|one, other| {
            (&one.connection_id, one.sequence).cmp(&(&other.connection_id, other.sequence))
        });
        recorded
    }

    /// All captured rows of a statement, over all pages.
    pub async fn rows(&self, query_id: &str) -> Vec<Value> {
        self.list(&format!("/api/queries/{query_id}/rows"), "rows")
            .await
    }
}

/// The id in a created object.
pub fn id_of(object: &Value) -> i64 {
    object["id"]
        .as_i64()
        .unwrap_or_else(|| panic!("no integer id in {object}"))
}
