//! tokio-postgres: the extended protocol with all that a driver does with it.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt, future, pin_mut, stream};
use pglens_e2e::{Person, Place, Stack, StackOptions, client::db_error, step};
use tokio_postgres::{AsyncMessage, SimpleQueryMessage, error::SqlState};

use crate::compare::{contains_in_order, record_equals_target_log};
use crate::sample;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_a_driver_does_works_and_is_recorded() {
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;
    sample::create(&place).await;
    step("parameters", parameters(&place)).await;
    step("pipeline", pipeline(&place)).await;
    step("portals", portals(&place)).await;
    step("copy", copy(&place)).await;
    step("notifications", notifications(&place)).await;
}

pub(crate) async fn recorded(place: &Place, person: &Person) -> Vec<pglens_e2e::Recorded> {
    let recorded = place.api.recorded(person, 1).await;
    record_equals_target_log(place, person, &recorded);
    recorded
}

async fn parameters(place: &Place) {
    let (person, login) = place.reader("parameters").await;
    let client = login.connect().await;
    let statement = client
        .prepare("select $1::int4 + 1, $2::text, $3::bool, $4::int8")
        .await
        .unwrap();
    for n in [41_i32, -1] {
        let row = client
            .query_one(&statement, &[&n, &"wörd", &true, &None::<i64>])
            .await
            .unwrap();
        let seen: (i32, &str, bool, Option<i64>) = (row.get(0), row.get(1), row.get(2), row.get(3));
        assert_eq!(seen, (n + 1, "wörd", true, None));
    }
    let wrong = client
        .query_one(
            "select 1 / count(*) from customers where id < $1",
            &[&1_i32],
        )
        .await
        .unwrap_err();
    assert_eq!(db_error(&wrong).code(), &SqlState::DIVISION_BY_ZERO);
    let simple = client
        .simple_query("select 1 as a; select 'x' as b, null as c")
        .await
        .unwrap();
    let rows = simple
        .iter()
        .filter(|message| matches!(message, SimpleQueryMessage::Row(_)));
    assert_eq!(rows.count(), 2);
    drop(client);

    let recorded = recorded(place, &person).await;
    let sql = "select $1::int4 + 1, $2::text, $3::bool, $4::int8";
    let ids = recorded
        .iter()
        .filter(|record| record.sql == sql)
        .map(|record| record.id.as_str());
    let mut seen = Vec::new();
    for id in ids {
        let query = place.api.get(&format!("/api/queries/{id}")).await;
        seen.push((query["parameters"].clone(), query["result_rows"].clone()));
    }
    let expected = [
        (
            serde_json::json!([41, "wörd", true, null]),
            serde_json::json!([[42, "wörd", true, null]]),
        ),
        (
            serde_json::json!([-1, "wörd", true, null]),
            serde_json::json!([[0, "wörd", true, null]]),
        ),
    ];
    assert_eq!(
        seen, expected,
        "parameters and rows of binary format, decoded"
    );
    contains_in_order(
        &recorded,
        &[
            (
                "select 1 / count(*) from customers where id < $1",
                "",
                0,
                "22012",
            ),
            ("select 1 as a", "SELECT 1", 1, ""),
            ("select 'x' as b, null as c", "SELECT 1", 1, ""),
        ],
    );
}

async fn pipeline(place: &Place) {
    let (person, login) = place.reader("pipeline").await;
    let client = login.connect().await;
    let good = client.prepare("select $1::int4").await.unwrap();
    let bad = client
        .prepare("select 1 / (id - 50) from customers where id = $1")
        .await
        .unwrap();
    // All 100 are on the way before the first answer is; one in the middle fails.
    let answers = future::join_all((0..100_i32).map(|n| {
        let (client, statement) = (&client, if n == 50 { &bad } else { &good });
        async move {
            client
                .query_one(statement, &[&n])
                .await
                .map(|row| row.get::<_, i32>(0))
        }
    }))
    .await;
    for (n, answer) in (0_i32..).zip(&answers) {
        match answer {
            Ok(value) => assert_eq!(*value, n),
            Err(error) => assert_eq!(
                (n, db_error(error).code()),
                (50, &SqlState::DIVISION_BY_ZERO)
            ),
        }
    }
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
    drop((good, bad, client));
    let recorded = recorded(place, &person).await;
    let counts = ["", "22012"].map(|state| {
        recorded
            .iter()
            .filter(|record| record.sqlstate == state)
            .count()
    });
    assert_eq!(counts, [99, 1], "{recorded:?}");
}

async fn portals(place: &Place) {
    let (person, login) = place.reader("portals").await;
    let mut client = login.connect().await;
    let transaction = client.transaction().await.unwrap();
    let portal = transaction
        .bind("select id from customers order by id", &[])
        .await
        .unwrap();
    let mut seen = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 150).await.unwrap();
        if rows.is_empty() {
            break;
        }
        seen.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
    }
    assert_eq!(seen, (1..=500).collect::<Vec<_>>());
    drop(portal);
    transaction.commit().await.unwrap();
    drop(client);
    let recorded = place.api.recorded(&person, 1).await;
    let fetched: Vec<_> = recorded
        .iter()
        .filter(|record| record.sql.starts_with("select id from customers"))
        .map(|record| record.row_count)
        .collect();
    // One record per Execute: three suspended, the fourth at the end, one more that finds nothing.
    assert_eq!(fetched.iter().sum::<i64>(), 500, "{fetched:?}");
    assert_eq!(
        fetched.len(),
        place.target.executed(&person).len() - 2,
        "BEGIN and COMMIT aside: {fetched:?}"
    );
}

async fn copy(place: &Place) {
    let (person, login) = place.writer("copy").await;
    let client = login.connect().await;
    client
        .batch_execute("create temp table t (n int, w text)")
        .await
        .unwrap();
    let sink = client.copy_in("copy t from stdin").await.unwrap();
    pin_mut!(sink);
    for n in 0..1000 {
        sink.send(Bytes::from(format!("{n}\tword {n}\n")))
            .await
            .unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 1000);
    let out = client
        .copy_out("copy (select n, w from t order by n) to stdout")
        .await
        .unwrap();
    let chunks: Vec<Bytes> = out.try_collect().await.unwrap();
    assert_eq!(chunks.len(), 1000);
    assert_eq!(chunks[999], "999\tword 999\n");
    // The client gives up: CopyFail.
    {
        let sink = client
            .copy_in::<_, Bytes>("copy t from stdin")
            .await
            .unwrap();
        pin_mut!(sink);
        sink.send(Bytes::from_static(b"1\tx\n")).await.unwrap();
    }
    let count: i64 = client
        .query_one("select count(*) from t", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 1000);
    drop(client);
    let recorded = recorded(place, &person).await;
    let copies: Vec<_> = recorded
        .iter()
        .filter(|record| record.sql.starts_with("copy"))
        .map(|record| (record.command_tag.as_str(), record.sqlstate.as_str()))
        .collect();
    assert_eq!(
        copies,
        [("COPY 1000", ""), ("COPY 1000", ""), ("", "57014")]
    );
}

async fn notifications(place: &Place) {
    let (_person, login) = place.writer("listener").await;
    let (listener, mut connection) = login.try_connect_parts().await.unwrap();
    let (sender, mut heard) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message {
                sender.send(notification).await.unwrap();
            }
        }
    });
    listener.batch_execute("listen news").await.unwrap();
    let own_pid: i32 = listener
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);

    let (_person, login) = place.writer("notifier").await;
    let notifier = login.connect().await;
    notifier
        .batch_execute("notify news, 'from another session'")
        .await
        .unwrap();
    let pid: i32 = notifier
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let first = heard.recv().await.unwrap();
    let seen = (first.channel(), first.payload(), first.process_id());
    assert_eq!(seen, ("news", "from another session", pid));
    listener
        .batch_execute("select pg_notify('news', 'to myself')")
        .await
        .unwrap();
    assert_eq!(heard.recv().await.unwrap().process_id(), own_pid);
}
