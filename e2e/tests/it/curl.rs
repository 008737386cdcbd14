//! The REST lines as a person types them, with curl itself.

use chrono::{TimeDelta, Utc};
use pglens_e2e::{Login, Stack, StackOptions, Target, client, eventually};
use serde_json::{Value, json};

/// `curl` with the API's base and somebody's credentials.
struct Curl {
    base: String,
    credentials: String,
}

impl Curl {
    /// `curl -u user:password [-X METHOD] [-H … -d BODY] URL`; the status and the object.
    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.base);
        let body = body.map(Value::to_string);
        let mut arguments = vec![
            "-sS",
            "-u",
            &self.credentials,
            "-X",
            method,
            "-w",
            "\n%{http_code}",
        ];
        if let Some(body) = &body {
            arguments.extend(["-H", "Content-Type: application/json", "-d", body]);
        }
        arguments.push(&url);
        let ran = client::run("curl", &arguments, &[], "").await;
        let output = ran.success(&format!("curl {method} {path}"));
        let (object, status) = output.rsplit_once('\n').unwrap();
        let object = if object.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(object).unwrap()
        };
        (status.parse().unwrap(), object)
    }

    async fn created(&self, path: &str, body: Value) -> Value {
        let (status, object) = self.send("POST", path, Some(&body)).await;
        assert_eq!(status, 201, "{path}: {object}");
        object
    }

    async fn get(&self, path: &str) -> Value {
        let (status, object) = self.send("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {object}");
        object
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_curl_creates_psql_uses_and_curl_shows_the_rows() {
    let stack = Stack::start(StackOptions::default()).await;
    let target = Target::start().await;
    target.execute("create table people (id int, name text); insert into people values (1, 'Zoë'), (2, null)").await;
    let admin = Curl {
        base: stack.text("api").to_owned(),
        credentials: format!(
            "{}:{}",
            stack.text("admin_user"),
            stack.text("admin_password")
        ),
    };
    let (user, database, grant) = create(&admin, target.login()).await;

    let (host, port) = stack.text("proxy").rsplit_once(':').unwrap();
    let ada = Login {
        host: host.to_owned(),
        port: port.parse().unwrap(),
        user: "ada".to_owned(),
        password: "a good long password".to_owned(),
        database: "prod".to_owned(),
        options: String::new(),
    };
    let sql = "select id, name from people order by id";
    let seen = ada.psql_with(&["-At", "-c", sql], "").await;
    assert_eq!(seen.success("psql"), "1|Zoë\n2|\n");

    let found = the_query(&admin, &user, sql).await;
    let query = admin
        .get(&format!("/api/queries/{}", found["id"].as_str().unwrap()))
        .await;
    assert_eq!(query["sql"], sql);
    assert_eq!(query["result_rows"], json!([[1, "Zoë"], [2, null]]));
    assert_eq!(query["row_count"], 2);
    assert_eq!(query["columns"][1]["name"], "name");
    assert_eq!(query["next_cursor"], Value::Null);
    assert_eq!(
        (&query["user_id"], &query["database_id"]),
        (&user["id"], &database["id"])
    );
    audit_tells(&admin).await;
    others_see_little(&stack, &query, &grant).await;
    no_secret_is_answered(&admin, target.login()).await;
}

async fn create(admin: &Curl, target: &Login) -> (Value, Value, Value) {
    let user = json!({"username": "ada", "password": "a good long password", "is_admin": false});
    let user = admin.created("/api/users", user).await;
    assert!(
        user["id"].is_i64() && user["username"] == "ada" && user["is_admin"] == false,
        "{user}"
    );
    let database = json!({
        "name": "prod", "description": "the shop", "host": target.host, "port": target.port,
        "database_name": target.database, "username": target.user, "password": target.password,
        "ssl_mode": "disable",
    });
    let database = admin.created("/api/databases", database).await;
    assert!(
        database["id"].is_i64() && database["name"] == "prod",
        "{database}"
    );
    let grant = json!({
        "user_id": user["id"], "database_id": database["id"], "access_level": "read",
        "starts_at": Utc::now().to_rfc3339(),
        "expires_at": (Utc::now() + TimeDelta::hours(8)).to_rfc3339(),
        "max_queries": 1000, "max_bytes": 10_000_000,
    });
    let grant = admin.created("/api/grants", grant).await;
    assert!(
        grant["id"].is_i64() && grant["access_level"] == "read",
        "{grant}"
    );
    let path = format!("/api/databases/{}/test", database["id"]);
    let (status, tested) = admin.send("POST", &path, None).await;
    assert_eq!(status, 200, "{tested}");
    (user, database, grant)
}

async fn the_query(admin: &Curl, user: &Value, sql: &str) -> Value {
    eventually("the query is listed", || async {
        let listed = admin
            .get(&format!("/api/queries?user_id={}&limit=10", user["id"]))
            .await;
        let queries = listed["queries"].as_array().unwrap();
        let ended = queries
            .iter()
            .find(|query| query["sql"] == sql && query["duration_us"].is_number());
        ended.cloned().ok_or(listed.to_string())
    })
    .await
}

async fn audit_tells(admin: &Curl) {
    let events = admin.get("/api/audit?limit=100").await;
    let actions: Vec<&str> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    for action in [
        "user.created",
        "database.created",
        "grant.created",
        "rows.read",
    ] {
        assert!(actions.contains(&action), "{action} among {actions:?}");
    }
}

async fn others_see_little(stack: &Stack, query: &Value, grant: &Value) {
    let ada = Curl {
        base: stack.text("api").to_owned(),
        credentials: "ada:a good long password".to_owned(),
    };
    for path in [
        "/api/queries",
        &format!("/api/queries/{}", query["id"].as_str().unwrap()),
        "/api/audit",
    ] {
        let (status, answer) = ada.send("GET", path, None).await;
        assert_eq!(status, 403, "{path}: {answer}");
    }
    let databases = ada.get("/api/databases").await;
    assert_eq!(
        databases["databases"].as_array().unwrap().len(),
        1,
        "{databases}"
    );
    assert_eq!(databases["databases"][0]["name"], "prod");
    assert!(databases["databases"][0]["host"].is_null(), "{databases}");
    let grants = ada.get("/api/grants").await;
    assert_eq!(grants["grants"][0]["id"], grant["id"], "{grants}");
    let stranger = Curl {
        base: ada.base.clone(),
        credentials: "ada:wrong".to_owned(),
    };
    let (status, answer) = stranger.send("GET", "/api/me", None).await;
    assert_eq!(status, 401, "{answer}");
}

async fn no_secret_is_answered(admin: &Curl, target: &Login) {
    for path in [
        "/api/users",
        "/api/databases",
        "/api/grants",
        "/api/audit",
        "/api/connections",
        "/api/queries",
    ] {
        let answer = admin.get(path).await.to_string();
        for secret in [
            target.password.as_str(),
            "a good long password",
            "SCRAM-SHA-256$",
            "argon2",
        ] {
            assert!(!answer.contains(secret), "{path} tells {secret}");
        }
    }
    let (status, answer) = admin.send("GET", "/api/users?colour=blue", None).await;
    assert_eq!(
        (status, answer["code"].as_str()),
        (400, Some("invalid_argument")),
        "{answer}"
    );
}
