//! Two control planes and two data planes as processes of their own over one storage database.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::api::Api;
use crate::balancer::Balancer;
use crate::client;
use crate::place::Place;
use crate::process::Running;
use crate::program;
use crate::target::{Target, open_folder};
use crate::wait::eventually;

/// The first administrator's name and well-known password.
pub const ADMIN: (&str, &str) = ("admin", "admin");

const STORAGE_DATABASE: &str = "pglens_storage";

/// One control plane.
#[derive(Debug)]
pub struct ControlPlane {
    pub process: Running,
    pub api: Api,
}

/// One data plane.
#[derive(Debug)]
pub struct DataPlane {
    pub process: Running,
    /// host:port for clients.
    pub proxy: String,
}

/// All of them, with a load balancer in front of the proxies.
#[derive(Debug)]
pub struct Fleet {
    pub data_planes: Vec<DataPlane>,
    pub control_planes: Vec<ControlPlane>,
    pub balancer: Balancer,
    /// Through the balancer, with the first control plane's API.
    pub place: Place,
    // Removed last.
    _folder: TempDir,
}

impl Fleet {
    /// Starts everything; both control planes at once, over an empty storage database.
    pub async fn start() -> Self {
        let folder = open_folder();
        let target = Target::start().await;
        target
            .execute(&format!("create database {STORAGE_DATABASE}"))
            .await;
        let files = certificates(folder.path()).await;
        let key = client::run(program::pglens(), &["key", "generate"], &[], "").await;
        let key = key.success("pglens key generate").trim().to_owned();
        let storage = storage_dsn(&target);

        let ports = free_ports::<6>();
        let [api_1, grpc_1, ops_1, api_2, grpc_2, ops_2] = ports;
        let start_control = |number: usize, api: u16, grpc: u16, operations: u16| {
            let environment = [
                ("PGL_DSN", storage.clone()),
                ("PGL_KEY", key.clone()),
                ("PGL_API_ADDR", local(api)),
                ("PGL_GRPC_ADDR", local(grpc)),
                ("PGL_OPS_ADDR", local(operations)),
                ("PGL_GRPC_TLS_CERT", path(&files, "control-plane.pem")),
                ("PGL_GRPC_TLS_KEY", path(&files, "control-plane-key.pem")),
                ("PGL_GRPC_CLIENT_CA", path(&files, "ca.pem")),
            ];
            let process = start(folder.path(), "control-plane", number, &environment);
            let api = Api::new(&format!("http://{}", local(api)), ADMIN.0, ADMIN.1);
            ControlPlane { process, api }
        };
        let control_planes = vec![
            start_control(1, api_1, grpc_1, ops_1),
            start_control(2, api_2, grpc_2, ops_2),
        ];

        let urls = [grpc_1, grpc_2].map(|port| format!("https://{}", local(port)));
        let [proxy_1, proxy_ops_1, proxy_2, proxy_ops_2] = free_ports::<4>();
        let start_data = |number: usize, proxy: u16, operations: u16, urls: String| {
            let environment = [
                ("PGL_LISTEN_ADDR", local(proxy)),
                ("PGL_OPS_ADDR", local(operations)),
                ("PGL_SPOOL_DIR", path(&files, &format!("spool-{number}"))),
                ("PGL_CONTROL_URLS", urls),
                ("PGL_CONTROL_CA", path(&files, "ca.pem")),
                (
                    "PGL_CONTROL_CERT",
                    path(&files, &format!("proxy-{number}.pem")),
                ),
                (
                    "PGL_CONTROL_KEY",
                    path(&files, &format!("proxy-{number}-key.pem")),
                ),
            ];
            let process = start(folder.path(), "data-plane", number, &environment);
            DataPlane {
                process,
                proxy: local(proxy),
            }
        };
        let data_planes = vec![
            start_data(1, proxy_1, proxy_ops_1, format!("{},{}", urls[0], urls[1])),
            start_data(2, proxy_2, proxy_ops_2, format!("{},{}", urls[1], urls[0])),
        ];
        for operations in [ops_1, ops_2, proxy_ops_1, proxy_ops_2] {
            wait_until_ready(operations).await;
        }
        let balancer = Balancer::start(vec![local(proxy_1), local(proxy_2)]).await;
        let place = Place::new(
            &balancer.address().to_string(),
            control_planes[0].api.clone(),
            target,
        )
        .await;
        Self {
            data_planes,
            control_planes,
            balancer,
            place,
            _folder: folder,
        }
    }
}

/// Starts a plane in `folder` with these settings and no others.
fn start(folder: &Path, plane: &str, number: usize, environment: &[(&str, String)]) -> Running {
    let mut command = program::command(program::pglens());
    command
        .arg(plane)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("PGL_SHUTDOWN_GRACE_SECONDS", "1")
        .current_dir(folder);
    let name = format!("{plane}-{number}");
    Running::spawn(&name, command, &folder.join(format!("{name}.log")))
}

/// Certificates as `pglens certificates` makes them; the folder they are in.
pub async fn certificates(folder: &Path) -> PathBuf {
    let out = folder.join("certificates");
    let arguments = ["certificates", "--out", out.to_str().expect("UTF-8")];
    let identities = ["--data-plane", "proxy-1", "--data-plane", "proxy-2"];
    let made = client::run(
        program::pglens(),
        &[&arguments[..], &identities].concat(),
        &[],
        "",
    )
    .await;
    made.success("pglens certificates");
    out
}

fn storage_dsn(target: &Target) -> String {
    let login = target.login();
    format!(
        "postgres://{}:{}@{}:{}/{STORAGE_DATABASE}",
        login.user, login.password, login.host, login.port
    )
}

async fn wait_until_ready(operations_port: u16) {
    let url = format!("http://{}/readyz", local(operations_port));
    eventually(&format!("{url} answers 200"), || async {
        let response = reqwest::get(&url)
            .await
            .map_err(|error| format!("{error:?}"))?;
        let status = response.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("{status} {:?}", response.text().await))
        }
    })
    .await;
}

/// Ports that nobody listens on. They are all held until all are chosen, so that they differ.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|listener| listener.local_addr().expect("bound").port())
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("UTF-8").to_owned()
}
