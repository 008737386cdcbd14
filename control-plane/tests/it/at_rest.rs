//! What lies in storage opens in its own place only, and with the keys of its own time.

use pglens_control_plane::maintenance::{SEALED_COLUMNS, reseal};
use pglens_pgserver::PgBinaries;
use pglens_runtime::Settings;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::planes::Fleet;
use crate::record::{Scene, text_parameter};
use crate::records::{copy_lines, ended_with, rows, started_with};
use crate::support::{ADMIN_PASSWORD, basic};

impl Scene {
    /// A statement with a parameter and a row of its own; its rows lie in a block, or in chunks of their own.
    async fn keep(&mut self, value: &str, whole: bool) -> Uuid {
        let (query, session) = (Uuid::now_v7(), self.session.clone());
        let parameters = vec![text_parameter(value)];
        let begun = started_with(query, &session, 1, "select $1", parameters);
        let captured = rows(query, &session, 0, 0, &[&[Some(value)]]);
        let end = ended_with(query, &session, &[("v", 25)], |ended| {
            ended.captured_rows = 1;
        });
        match whole {
            true => self.publisher.store(vec![begun, captured, end]).await,
            false => {
                self.publisher.store(vec![begun]).await;
                self.publisher.store(vec![captured, end]).await;
            }
        }
        query
    }

    async fn query(&self, id: Uuid) -> (u16, Value) {
        self.plane.get(&format!("/api/queries/{id}")).await
    }

    async fn execute(&self, sql: &str) {
        let client = self.plane.fleet.storage.connect().await;
        client.batch_execute(sql).await.unwrap();
    }
}

fn is_shown(answer: &(u16, Value), value: &str) {
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert_eq!(answer.1["parameters"], json!([value]));
    assert_eq!(answer.1["result_rows"], json!([[value]]));
}

fn is_refused(answer: &(u16, Value), words: &str) {
    assert_eq!(answer.0, 500, "{}", answer.1);
    let error = answer.1["error"].as_str().unwrap();
    assert!(error.contains(words), "{error}");
}

/// Every form in which a value may lie in a dump.
fn forms(value: &str) -> Vec<String> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let hex = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    vec![value.to_owned(), hex, STANDARD.encode(value)]
}

#[tokio::test]
async fn nothing_of_the_target_and_no_secret_is_readable_in_storage() {
    let mut scene = Scene::new().await;
    let session = scene.session.clone();
    scene.keep("packed-value-4711", true).await;
    scene.keep("chunk-value-4712", false).await;
    let copied = Uuid::now_v7();
    scene
        .publisher
        .store(vec![
            started_with(copied, &session, 3, "copy customers to stdout", vec![]),
            copy_lines(copied, &session, &["7\tcopied-value-4713\n"]),
        ])
        .await;
    let many = "repeated-value-4714 ".repeat(1000);
    scene.keep(&many, true).await;
    scene
        .admin
        .create_database_with("other", |new| {
            new.password = "stored-password-4715".to_owned();
            new.read_username = "reader".to_owned();
            new.read_password = "reader-password-4716".to_owned();
        })
        .await;
    let credentials = basic("admin", ADMIN_PASSWORD);
    let post = async |path: &str, body: Value| {
        let url = format!("http://{}{path}", scene.plane.bound.api);
        let request = reqwest::Client::new().post(url).json(&body);
        let answer = request.header("authorization", &credentials).send().await;
        answer.unwrap().json::<Value>().await.unwrap()
    };
    let token = post("/api/tokens", json!({ "name": "ci" })).await["token"].clone();
    let login = json!({ "username": "admin", "password": ADMIN_PASSWORD });
    let session_token = post("/api/login", login).await["token"].clone();
    let attached = scene.proxy.attach().await;

    let dump = pg_dump(&scene.plane.fleet.storage.url).await;
    assert!(
        dump.contains("copy customers to stdout"),
        "it dumps the record"
    );
    for secret in [
        "packed-value-4711",
        "chunk-value-4712",
        "copied-value-4713",
        "repeated-value-4714",
        "stored-login-password",
        "stored-password-4715",
        "reader-password-4716",
        "ann-password",
        ADMIN_PASSWORD,
        token.as_str().unwrap(),
        session_token.as_str().unwrap(),
    ] {
        for form in forms(secret) {
            assert!(!dump.contains(&form), "{secret} as {form}");
        }
    }
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    assert!(
        !dump.contains(&hex(&attached.welcome.record_key)),
        "the key of the spool"
    );
    assert!(!dump.contains(&hex(&[7; 32])), "the master key");
}

async fn pg_dump(url: &str) -> String {
    let program = PgBinaries::find(None).unwrap().program("pg_dump");
    let output = tokio::process::Command::new(program)
        .arg(url)
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn values_that_were_swapped_do_not_open() {
    let mut scene = Scene::new().await;
    let blocks = [scene.keep("ann", true).await, scene.keep("bob", true).await];
    let chunks = [
        scene.keep("cid", false).await,
        scene.keep("dee", false).await,
    ];
    for (id, value) in blocks
        .iter()
        .chain(&chunks)
        .zip(["ann", "bob", "cid", "dee"])
    {
        is_shown(&scene.query(*id).await, value);
    }
    let swap = |table: &str, column: &str, key: &str, [one, other]: [String; 2]| {
        format!(
            "update {table} t set {column} = o.{column} from {table} o \
             where (t.{key} = '{one}' and o.{key} = '{other}') or (t.{key} = '{other}' and o.{key} = '{one}')"
        )
    };
    const DAMAGED: &str = "cannot be decrypted";

    let pair = chunks.map(|id| id.to_string());
    let parameters = swap("queries", "parameters_sealed", "id", pair.clone());
    scene.execute(&parameters).await;
    is_refused(&scene.query(chunks[0]).await, DAMAGED);
    scene.execute(&parameters).await;
    is_shown(&scene.query(chunks[0]).await, "cid");

    let data = swap("query_rows", "data_sealed", "query_id", pair.clone());
    scene.execute(&data).await;
    is_refused(&scene.query(chunks[0]).await, DAMAGED);
    is_refused(
        &scene
            .plane
            .get(&format!("/api/queries/{}/rows", chunks[1]))
            .await,
        DAMAGED,
    );
    scene.execute(&data).await;
    // From one column to another.
    scene
        .execute(&format!(
            "update query_rows r set data_sealed = q.parameters_sealed from queries q \
             where r.query_id = q.id and q.id = '{}'",
            pair[0]
        ))
        .await;
    is_refused(&scene.query(chunks[0]).await, DAMAGED);

    // A block says itself whose rows are in it.
    scene
        .execute(&swap(
            "queries",
            "rows_block",
            "id",
            blocks.map(|id| id.to_string()),
        ))
        .await;
    is_refused(&scene.query(blocks[0]).await, "storage was changed");
}

#[tokio::test]
async fn credentials_that_were_swapped_do_not_open() {
    let mut scene = Scene::new().await;
    scene.admin.create_user("bob", "bob-password").await;
    scene.admin.create_database("other").await;
    scene
        .execute(
            "update databases d set password_sealed = o.password_sealed from databases o where d.id <> o.id",
        )
        .await;
    let denied = scene.proxy.login(&crate::scene::ann()).await;
    assert!(
        !matches!(denied, crate::proxies::Login::Allowed(_)),
        "{denied:?}"
    );
    scene
        .execute(
            "update users u set scram_verifier_sealed = o.scram_verifier_sealed from users o \
             where u.username = 'ann' and o.username = 'bob'",
        )
        .await;
    let stolen = crate::proxies::Client::new("ann", "bob-password", "shop");
    let denied = scene.proxy.login(&stolen).await;
    assert!(
        !matches!(denied, crate::proxies::Login::Allowed(_)),
        "{denied:?}"
    );
}

#[tokio::test]
async fn everything_is_sealed_again_with_a_new_key() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let mut scene = Scene::new().await;
    let old = scene.keep("old", true).await;
    let both = format!("{},{}", STANDARD.encode([8; 32]), STANDARD.encode([7; 32]));
    let newest = STANDARD.encode([8; 32]);
    let settings = |key: &str| {
        let dsn = scene.plane.fleet.storage.url.clone();
        Settings::from_pairs(
            pglens_control_plane::maintenance::RESEAL_SETTINGS,
            [("PGL_DSN", dsn), ("PGL_KEY", key.to_owned())],
        )
        .unwrap()
    };
    let run = async |key: &str| {
        let mut sums = (0, 0);
        reseal(&settings(key), |_, done| {
            sums.0 += done.sealed;
            sums.1 += done.unreadable;
        })
        .await
        .unwrap();
        sums
    };
    let (sealed, unreadable) = run(&newest).await;
    assert_eq!(sealed, 0, "without the old key nothing opens");
    assert!(unreadable >= 5);
    let (sealed, none) = run(&both).await;
    assert_eq!((sealed, none), (unreadable, 0));
    assert_eq!(run(&both).await, (0, 0), "a second run has nothing to do");
    let events = scene.plane.fleet.events("keys.resealed").await;
    let told: u64 = events
        .iter()
        .map(|event| event["values"].as_u64().unwrap())
        .sum();
    assert_eq!(told, sealed);
    assert!(events.len() >= SEALED_COLUMNS.len() - 1, "{events:?}");

    // The old key is not needed any more.
    let fleet = Fleet::clone(&scene.plane.fleet);
    let plane = fleet.start_plane_with(&[("PGL_KEY", &newest)]).await;
    is_shown(&plane.get(&format!("/api/queries/{old}")).await, "old");
    let proxy = crate::proxies::Proxy::new(&plane, "proxy-2").await;
    let _attachment = proxy.attach().await;
    proxy.allowed(&crate::scene::ann()).await;
    let (status, _) = plane
        .rest(Method::GET, "/api/me", &basic("admin", ADMIN_PASSWORD))
        .await;
    assert_eq!(status, 200);
}
