//! pg_dump through the proxy, under a grant that only reads, against pg_dump at the target itself.

use pglens_e2e::{Login, Stack, StackOptions};
use pglens_testkit::client_program;

use crate::compare::record_equals_target_log;
use crate::sample;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_through_the_proxy_equals_a_direct_one() {
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;
    sample::create(&place).await;
    for variant in [
        &[][..],
        &["--schema-only", "--create"],
        &["--inserts", "--serializable-deferrable"],
    ] {
        let (person, login) = place.reader("dumper").await;
        let direct = pg_dump(place.target.login(), variant).await;
        let proxied = pg_dump(&login, variant).await;
        assert!(
            direct.contains("CREATE TABLE public.customers"),
            "{variant:?}: {direct}"
        );
        for (number, (one, other)) in direct.lines().zip(proxied.lines()).enumerate() {
            assert_eq!(
                one,
                other,
                "{variant:?}: line {}; left is direct",
                number + 1
            );
        }
        assert!(
            direct == proxied,
            "{variant:?}: {} and {} bytes",
            direct.len(),
            proxied.len()
        );
        let recorded = place.api.recorded(&person, 1).await;
        record_equals_target_log(&place, &person, &recorded);
        let failed: Vec<_> = recorded
            .iter()
            .filter(|record| !record.sqlstate.is_empty())
            .collect();
        assert!(failed.is_empty(), "{variant:?}: {failed:?}");
    }
}

/// Newer minor versions of pg_dump write a random key with `\restrict`, so that two dumps differ in these lines.
async fn pg_dump(login: &Login, arguments: &[&str]) -> String {
    let conninfo = login.conninfo();
    let all = [arguments, &["-w", "-d", &conninfo]].concat();
    let ran = login.run(client_program("pg_dump"), &all, "").await;
    let lines = ran.success(&format!("pg_dump {arguments:?}")).lines();
    let kept: Vec<&str> = lines
        .filter(|line| !line.starts_with("\\restrict ") && !line.starts_with("\\unrestrict "))
        .collect();
    kept.join("\n")
}
