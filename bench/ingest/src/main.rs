//! `pglens-bench-ingest`: how many statements a second go through `Events.Publish` into storage, and what one costs.
//!
//! Starts a durable PostgreSQL server and a control plane, each in processes of their own, plays the proxies itself, and
//! tells the CPU time of the three apart. Everything runs on this machine's cores.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark answers on standard output"
)]

mod collector;
mod plane;
mod proxy;
mod records;
mod usage;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use collector::Collector;
use pglens_pgserver::{Options as ServerOptions, Orphaned, PgBinaries, PgServer};
use plane::Plane;
use proxy::{Pace, Proxy, Published};
use tokio_postgres::NoTls;

/// Measures how the record is taken in.
#[derive(Debug, Parser)]
struct Options {
    /// The `pglens` program, as `cargo build --release` makes it.
    #[arg(long, env = "PGLENS_BIN", default_value = "target/release/pglens")]
    program: PathBuf,
    /// How long each round publishes.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Rounds, on one storage that grows.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Proxies, each with a run and a stream of its own.
    #[arg(long, default_value_t = 2)]
    proxies: usize,
    /// Sessions of each proxy.
    #[arg(long, default_value_t = 16)]
    sessions: usize,
    /// Records of a batch; three make a statement with rows.
    #[arg(long, default_value_t = 1000)]
    batch_records: usize,
    /// Batches of one proxy under way at once.
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// With a feed to a collector, which counts what it gets; a round then lasts until it has everything.
    #[arg(long)]
    feed: bool,
    /// A `-c` setting of the storage server, for example `max_wal_size=4GB`; may be given again.
    #[arg(long)]
    storage_setting: Vec<String>,
}

/// Readings of everything that is compared before and after.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    generator_s: f64,
    control_plane_s: f64,
    storage_s: f64,
    stored_bytes: f64,
    wal_bytes: f64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(run(&options))
}

async fn run(options: &Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = options.storage_setting.iter().map(|setting| {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        (name.to_owned(), value.to_owned())
    });
    let server = PgServer::start(ServerOptions {
        settings: settings.collect(),
        orphaned: Orphaned::StopAndRemove,
        ..ServerOptions::new(PgBinaries::find(None)?, server_folder())
    })
    .await?;
    let (storage, connection) = server.config("postgres").connect(NoTls).await?;
    tokio::spawn(connection);
    let dsn = format!(
        "postgres://{}:{}@127.0.0.1:{}/postgres",
        server.superuser(),
        server.superuser_password().expose(),
        server.port()
    );
    let collector = match options.feed {
        true => Some(Collector::start().await?),
        false => None,
    };
    let endpoint = collector.as_ref().map(|one| one.endpoint.as_str());
    let plane = Plane::start(&options.program, &dsn, folder.path(), endpoint).await?;
    println!(
        "round  statements/s  CPU us per statement: control plane, storage, generator  bytes per statement: stored, WAL  ack p50/p99 ms"
    );
    for round in 1..=options.rounds {
        let before = read(&storage, &plane, &server).await?;
        let told = collector.as_ref().map_or(0, Collector::received);
        let published = publish(options, &plane).await?;
        let lag = match &collector {
            Some(collector) => Some(collector.drained(&storage).await?),
            None => None,
        };
        let after = read(&storage, &plane, &server).await?;
        report(round, &published, before, after);
        if let (Some(collector), Some(lag)) = (&collector, lag) {
            println!(
                "       {} log records, the last of them {:.1} s behind the last statement",
                collector.received() - told,
                lag.as_secs_f64()
            );
        }
    }
    println!(
        "control plane: {:.0} MiB at most",
        usage::peak_mib(plane.pid())
    );
    drop(plane);
    server.stop().await;
    Ok(())
}

/// A folder that whoever runs PostgreSQL can reach, of this process alone.
fn server_folder() -> PathBuf {
    std::env::temp_dir().join(format!("pglens-bench-ingest-{}", std::process::id()))
}

async fn publish(options: &Options, plane: &Plane) -> Result<Published> {
    let pace = Pace {
        sessions: options.sessions,
        batch_records: options.batch_records,
        in_flight: options.in_flight,
    };
    let mut proxies = Vec::new();
    for number in 1..=options.proxies {
        proxies.push(Proxy::start(plane, &format!("proxy-{number}"), pace).await?);
    }
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let running: Vec<_> = proxies
        .into_iter()
        .map(|proxy| tokio::spawn(proxy.publish(end)))
        .collect();
    let mut all = Published::default();
    for proxy in running {
        let published = proxy.await.context("a proxy ended early")??;
        all.statements += published.statements;
        all.records += published.records;
        all.acknowledge.extend(published.acknowledge);
    }
    Ok(all)
}

async fn read(
    storage: &tokio_postgres::Client,
    plane: &Plane,
    server: &PgServer,
) -> Result<Reading> {
    const SIZES: &str = "select pg_database_size(current_database())::float8, \
         pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8";
    let sizes = storage.query_one(SIZES, &[]).await?;
    Ok(Reading {
        at: Instant::now(),
        generator_s: usage::of_process(std::process::id()),
        control_plane_s: usage::of_process(plane.pid()),
        storage_s: usage::of_tree(server.pid()),
        stored_bytes: sizes.try_get(0)?,
        wal_bytes: sizes.try_get(1)?,
    })
}

fn report(round: u32, published: &Published, before: Reading, after: Reading) {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let statements = published.statements as f64;
    let per_statement = |value: fn(&Reading) -> f64| (value(&after) - value(&before)) / statements;
    let mut times = published.acknowledge.clone();
    times.sort_unstable();
    let quantile = |of_hundred: usize| {
        let index = times.len().saturating_sub(1) * of_hundred / 100;
        times.get(index).map_or(0.0, Duration::as_secs_f64) * 1e3
    };
    println!(
        "{round:<5}  {:>12.0}  {:.2}, {:.2}, {:.2}  {:.0}, {:.0}  {:.1}/{:.1}",
        statements / (after.at - before.at).as_secs_f64(),
        per_statement(|reading| reading.control_plane_s) * 1e6,
        per_statement(|reading| reading.storage_s) * 1e6,
        per_statement(|reading| reading.generator_s) * 1e6,
        per_statement(|reading| reading.stored_bytes),
        per_statement(|reading| reading.wal_bytes),
        quantile(50),
        quantile(99),
    );
}
