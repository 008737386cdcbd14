//! The feed to a collector: what is sent, and that all of it is, whoever sends and whenever the collector is there.

use std::collections::HashSet;

use pglens_rpc::v1;
use pglens_runtime::Authority;
use pglens_testkit::{DEADLINE, TestPostgres, eventually};
use prost::Message;
use uuid::Uuid;

use crate::collectors::{Attributed, Collector, Mode};
use crate::planes::{Fleet, Plane, read_grant};
use crate::proxies::Proxy;
use crate::record::text_parameter;
use crate::records::{ended, ended_with, rows, session_ended, started, started_with};
use crate::scene::ann;
use crate::streams::{Attachment, Publisher};

/// A session under way, with a stream for its record.
pub(crate) struct Scene {
    pub(crate) plane: Plane,
    pub(crate) proxy: Proxy,
    _attachment: Attachment,
    pub(crate) session: Vec<u8>,
    pub(crate) grant_id: i64,
    pub(crate) publisher: Publisher,
    statements: u64,
}

impl Scene {
    pub(crate) async fn with(settings: &[(&'static str, &str)]) -> Self {
        let storage = TestPostgres::shared().await.create_database().await;
        let plane = Fleet::new(storage).start_plane_with(settings).await;
        let mut admin = plane.admin().await;
        let user_id = admin.create_user("ann", "ann-password").await;
        let database_id = admin.create_database("shop").await;
        let grant_id = admin.create_grant(read_grant(user_id, database_id)).await;
        let proxy = Proxy::new(&plane, "proxy-1").await;
        let attachment = proxy.attach().await;
        let session = proxy.allowed(&ann()).await.session_id;
        let publisher = proxy.publish().await.unwrap();
        Self {
            plane,
            proxy,
            _attachment: attachment,
            session,
            grant_id,
            publisher,
            statements: 0,
        }
    }

    pub(crate) async fn towards(collector: &Collector) -> Self {
        Self::with(&[("PGL_FEED_ENDPOINT", &collector.endpoint())]).await
    }

    /// Stores statements of these texts in one batch.
    pub(crate) async fn store(&mut self, texts: &[&str]) -> Vec<Uuid> {
        let (mut ids, mut records) = (Vec::new(), Vec::new());
        for text in texts {
            self.statements += 1;
            let id = Uuid::now_v7();
            records.push(started(id, &self.session, self.statements, text));
            records.push(ended(id, &self.session));
            ids.push(id);
        }
        self.publisher.store(records).await;
        ids
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.plane.fleet.count(sql).await
    }

    /// The value of a metric of this plane; `None`: it is not shown.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let url = format!("http://{}/metrics", self.plane.bound.operations);
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    pub(crate) async fn queue_is_empty(&self) {
        eventually(DEADLINE, || async {
            self.count("select count(*) from feed_queue").await == 0
        })
        .await;
    }
}

pub(crate) fn all_differ(uids: &[String]) {
    let different: HashSet<_> = uids.iter().collect();
    assert_eq!(different.len(), uids.len(), "{uids:?}");
}

#[tokio::test]
async fn a_session_is_told_from_its_beginning_to_its_end() {
    let collector = Collector::start().await;
    let headers = "authorization=Bearer%20collector-token";
    let mut scene = Scene::with(&[
        ("PGL_FEED_ENDPOINT", &collector.endpoint()),
        ("PGL_FEED_HEADERS", headers),
    ])
    .await;
    let (session, id) = (scene.session.clone(), Uuid::now_v7());
    let (failed, refused) = (Uuid::now_v7(), Uuid::now_v7());
    let parameters = vec![text_parameter("the-parameter")];
    let fail = |sqlstate: &str, refusal: &str| {
        let (sqlstate, refusal) = (sqlstate.to_owned(), refusal.to_owned());
        move |ended: &mut v1::StatementEnded| {
            ended.error_message = "value \"the-quoted-value\" is wrong".to_owned();
            (ended.sqlstate, ended.refusal) = (sqlstate, refusal);
            (ended.command_tag, ended.row_count) = (String::new(), 0);
        }
    };
    let batch = vec![
        started_with(
            id,
            &session,
            1,
            "select name from a where id = $1",
            parameters,
        ),
        rows(id, &session, 0, 0, &[&[Some("the-captured-row")]]),
        ended(id, &session),
        started(failed, &session, 2, "select 1/0"),
        ended_with(failed, &session, &[], fail("22012", "")),
        started(refused, &session, 3, "drop table a"),
        ended_with(refused, &session, &[], fail("25006", "statement_kind")),
    ];
    scene.publisher.store(batch).await;
    let end = vec![session_ended(&session, 3, 0)];
    scene.publisher.store(end).await;

    let ends = collector.wait_for("pglens.session.end", 1).await;
    let starts = collector.named("pglens.session.start");
    let session_id = Uuid::from_slice(&session).unwrap().to_string();
    for record in [&starts[0], &ends[0]] {
        assert_eq!(record.text("pglens.session_id"), session_id);
        assert_eq!(record.text("user.name"), "ann");
        assert_eq!(record.text("db.namespace"), "shop");
        assert_eq!(record.text("client.address"), "192.0.2.7");
        assert_eq!(record.number("client.port"), Some(51234));
        assert_eq!(record.number("pglens.grant_id"), Some(scene.grant_id));
    }
    assert_eq!(ends[0].flag("pglens.audit_complete"), Some(true));
    assert_eq!(ends[0].text("pglens.end_reason"), "client_closed");
    assert_eq!(ends[0].number("pglens.query_count"), Some(3));

    let statements = collector.named("pglens.statement");
    assert_eq!(statements.len(), 3);
    let [fine, error, denied] = statements.as_slice() else {
        panic!("{statements:?}");
    };
    assert_eq!(fine.text("log.record.uid"), id.to_string());
    assert_eq!(
        fine.text("db.query.text"),
        "select name from a where id = $1"
    );
    assert_eq!(fine.text("db.system.name"), "postgresql");
    assert_eq!(fine.text("db.operation.name"), "SELECT");
    assert_eq!(fine.text("pglens.proxy"), "proxy-1");
    assert_eq!(fine.number("pglens.row_count"), Some(1));
    assert_eq!(fine.number("pglens.duration_us"), Some(1500));
    assert_eq!(fine.number("pglens.bytes_out"), Some(30));
    assert_eq!(fine.severity_text, "INFO");
    assert!(fine.time_unix_nano > 0 && fine.observed_time_unix_nano > 0);
    assert_eq!(error.text("db.response.status_code"), "22012");
    assert_eq!(denied.text("pglens.refusal"), "statement_kind");
    assert_eq!(denied.text("db.query.text"), "drop table a");
    assert_eq!(
        (&*error.severity_text, &*denied.severity_text),
        ("WARN", "WARN")
    );

    let audit = collector.named("pglens.audit");
    let actions: Vec<_> = audit
        .iter()
        .map(|event| event.text("pglens.action"))
        .collect();
    for action in ["user.created", "database.created", "grant.created"] {
        assert!(actions.contains(&action.to_owned()), "{actions:?}");
    }
    all_differ(&collector.uids());

    let requests = collector.requests();
    let resource = requests[0].resource_logs[0].resource.as_ref().unwrap();
    assert_eq!(resource.text("service.name"), "pglens");
    assert_eq!(resource.text("service.version"), env!("CARGO_PKG_VERSION"));
    assert!(Uuid::parse_str(&resource.text("service.instance.id")).is_ok());
    let authorization = collector.authorization();
    assert!(
        authorization
            .iter()
            .all(|value| value == "Bearer collector-token")
    );
    assert!(!authorization.is_empty());

    let sent: Vec<u8> = requests.iter().flat_map(Message::encode_to_vec).collect();
    let sent = String::from_utf8_lossy(&sent);
    assert!(sent.contains("drop table a"), "the search works");
    for secret in [
        "the-parameter",
        "the-captured-row",
        "the-quoted-value",
        "collector-token",
        "ann-password",
        "stored-login-password",
    ] {
        assert!(!sent.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn texts_can_be_kept_back() {
    let collector = Collector::start().await;
    let mut scene = Scene::with(&[
        ("PGL_FEED_ENDPOINT", &collector.endpoint()),
        ("PGL_FEED_QUERY_TEXT", "false"),
    ])
    .await;
    scene.store(&["select 'literal'"]).await;
    let statements = collector.wait_for("pglens.statement", 1).await;
    assert_eq!(statements[0].value("db.query.text"), None);
    assert_eq!(statements[0].text("pglens.fingerprint"), "abc");
}

#[tokio::test]
async fn it_goes_over_tls_with_an_authority_of_one_s_own() {
    let authority = Authority::new("collector").unwrap();
    let files = tempfile::tempdir().unwrap();
    let ca = files.path().join("ca.pem");
    std::fs::write(&ca, authority.ca_pem()).unwrap();
    let server = authority.server(&["localhost", "127.0.0.1"]).unwrap();
    let collector = Collector::start_at("127.0.0.1:0".parse().unwrap(), Some(server)).await;
    let endpoint = format!("https://localhost:{}", collector.address.port());
    let mut scene = Scene::with(&[
        ("PGL_FEED_ENDPOINT", &endpoint),
        ("PGL_FEED_CA", ca.to_str().unwrap()),
    ])
    .await;
    let ids = scene.store(&["select 1"]).await;
    let statements = collector.wait_for("pglens.statement", 1).await;
    assert_eq!(statements[0].text("pglens.query_id"), ids[0].to_string());
}

#[tokio::test]
async fn what_happens_without_the_collector_comes_later_whoever_sends_it() {
    let place = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let endpoint = format!("http://{address}");
    let mut scene = Scene::with(&[("PGL_FEED_ENDPOINT", &endpoint)]).await;
    let texts: Vec<String> = (0..20).map(|number| format!("select {number}")).collect();
    for text in &texts[..10] {
        scene.store(&[text]).await;
    }
    eventually(DEADLINE, || async {
        let failed = "pglens_feed_requests_total{outcome=\"failed\"";
        scene.metric(failed).await.is_some_and(|count| count > 0.0)
            && scene
                .metric("pglens_feed_lag_seconds")
                .await
                .is_some_and(|lag| lag > 0.0)
    })
    .await;

    // The replica that was sending goes; another one takes what it has left, and what comes now.
    let fleet = scene.plane.fleet.clone();
    let second = fleet
        .start_plane_with(&[("PGL_FEED_ENDPOINT", &endpoint)])
        .await;
    let proxy = scene.proxy.over(&second, "proxy-1").await;
    scene.publisher = proxy.publish().await.unwrap();
    scene.plane = second;
    for text in &texts[10..] {
        scene.store(&[text]).await;
    }
    let collector = Collector::start_at(address, None).await;
    collector.wait_for("pglens.statement", texts.len()).await;
    scene.queue_is_empty().await;
    assert_eq!(collector.texts(), texts);
    all_differ(&collector.uids());
    eventually(DEADLINE, || async {
        scene.metric("pglens_feed_lag_seconds").await == Some(0.0)
            && scene
                .metric("pglens_feed_last_export_timestamp_seconds")
                .await
                .is_some_and(|at| at > 1.7e9)
    })
    .await;
}

#[tokio::test]
async fn replicas_send_nothing_twice() {
    let collector = Collector::start().await;
    let mut scene = Scene::towards(&collector).await;
    let settings = [("PGL_FEED_ENDPOINT", &*collector.endpoint())];
    let second = scene.plane.fleet.start_plane_with(&settings).await;
    let third = scene.plane.fleet.start_plane_with(&settings).await;
    for round in 0..10 {
        let texts: Vec<String> = (0..60).map(|n| format!("select {round}, {n}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        scene.store(&texts).await;
    }
    collector.wait_for("pglens.statement", 600).await;
    scene.queue_is_empty().await;
    assert_eq!(collector.named("pglens.statement").len(), 600);
    all_differ(&collector.uids());
    let mut instances = HashSet::new();
    for request in collector.requests() {
        let resource = request.resource_logs[0].resource.clone().unwrap();
        instances.insert(resource.text("service.instance.id"));
    }
    assert_eq!(instances.len(), 1, "one of them sends");
    drop((second, third));
}

#[tokio::test]
async fn what_commits_late_is_not_passed_over() {
    let collector = Collector::start().await;
    let mut scene = Scene::towards(&collector).await;
    let insert = "insert into audit_events (actor, action, subject_type, subject_id) values ('a', $1, 'b', 'c')";
    let mut late = scene.plane.fleet.storage.connect().await;
    let held = late.transaction().await.unwrap();
    held.execute(insert, &[&"held.back"]).await.unwrap();
    let early = scene.plane.fleet.storage.connect().await;
    early.execute(insert, &[&"went.ahead"]).await.unwrap();
    scene.store(&["select 'behind both'"]).await;
    let seen = |action: &str| {
        let events = collector.named("pglens.audit");
        let action = action.to_owned();
        events
            .iter()
            .filter(|event| event.text("pglens.action") == action)
            .count()
    };
    collector.wait_for("pglens.statement", 1).await;
    scene.queue_is_empty().await;
    assert_eq!((seen("went.ahead"), seen("held.back")), (1, 0));
    held.commit().await.unwrap();
    eventually(DEADLINE, || async { seen("held.back") == 1 }).await;
    scene.queue_is_empty().await;
    assert_eq!((seen("went.ahead"), seen("held.back")), (1, 1));
}

#[tokio::test]
async fn a_busy_collector_is_asked_again() {
    let collector = Collector::start().await;
    let mut scene = Scene::towards(&collector).await;
    collector.answer(Mode::Unavailable("busy"));
    let before = collector.texts().len();
    scene.store(&["select 1", "select 2"]).await;
    eventually(DEADLINE, || async { collector.refused() >= 2 }).await;
    assert_eq!(collector.texts().len(), before);
    collector.answer(Mode::Take);
    collector.wait_for("pglens.statement", 2).await;
    scene.queue_is_empty().await;
    assert_eq!(collector.texts(), ["select 1", "select 2"]);
}
