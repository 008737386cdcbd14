//! COPY in both directions.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};

use crate::harness::Stack;

#[tokio::test(flavor = "multi_thread")]
async fn copy_goes_in_and_out_and_is_recorded() {
    let stack = Stack::start().await;
    let client = stack.connect().await;
    client.batch_execute("create table t(a int)").await.unwrap();
    let sink = client
        .copy_in::<_, Bytes>("copy t from stdin")
        .await
        .unwrap();
    let mut sink = pin!(sink);
    for number in 0..100 {
        sink.send(Bytes::from(format!("{number}\n"))).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 100);
    let out = client.copy_out("copy t to stdout").await.unwrap();
    let lines: Vec<_> = out.map(Result::unwrap).collect().await;
    assert_eq!(lines.concat().len(), 290);
    let statements = stack.control.ended_statements(3).await;
    let (inward, outward) = (statements[1].end(), statements[2].end());
    assert_eq!(
        (inward.command_tag.as_str(), outward.command_tag.as_str()),
        ("COPY 100", "COPY 100")
    );
    assert_eq!((inward.row_count, outward.row_count), (100, 100));
    assert!(inward.bytes_in > 290 && inward.bytes_out == 0);
    assert_eq!(outward.bytes_out, 290 + 5 * 100);
    assert_eq!(statements[1].started.kind, "COPY");
    assert!(!statements[1].rows().is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_leaves_the_session_usable() {
    let stack = Stack::start().await;
    let client = stack.connect().await;
    client.batch_execute("create table t(a int)").await.unwrap();
    let sink = client
        .copy_in::<_, Bytes>("copy t from stdin")
        .await
        .unwrap();
    let mut sink = pin!(sink);
    sink.send(Bytes::from_static(b"not a number\n"))
        .await
        .unwrap();
    sink.finish().await.unwrap_err();
    assert_eq!(client.query_one("select 1", &[]).await.unwrap().len(), 1);
    let statements = stack.control.ended_statements(3).await;
    assert_eq!(statements[1].end().sqlstate, "22P02");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_copies_from_a_file() {
    let stack = Stack::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "1\n2\n3\n").unwrap();
    let copy = format!("\\copy t from '{}'", file.path().display());
    let arguments = [
        "-c",
        "create table t(a int)",
        "-c",
        &copy,
        "-Atc",
        "select sum(a) from t",
    ];
    let output = stack.psql(&arguments).await;
    assert!(
        crate::harness::text(&output.stdout).ends_with("6\n"),
        "{output:?}"
    );
    stack.stop().await;
}
