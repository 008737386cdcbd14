//! Control planes and data planes as processes of their own over one storage database.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::api::Api;
use crate::balancer::Balancer;
use crate::client::{self, Login};
use crate::link::{Networks, route};
use crate::place::Place;
use crate::ports::free_ports;
use crate::process::Running;
use crate::program;
use crate::target::{Target, open_folder};
use crate::wait::eventually;

/// The first administrator's name and well-known password.
pub const ADMIN: (&str, &str) = ("admin", "admin");

/// Of the server that the target is on as well.
pub const STORAGE_DATABASE: &str = "pglens_storage";

/// What a fleet is made of.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    pub control_planes: usize,
    pub data_planes: usize,
    /// Further settings of control planes and data planes.
    pub control_settings: Vec<(&'static str, String)>,
    pub data_settings: Vec<(&'static str, String)>,
    /// Further settings of the target.
    pub target_settings: Vec<(String, String)>,
    /// Whether the planes, storage and the target reach each other over [`Networks`] that can be cut.
    pub networks: bool,
    /// Where the files of the storage database are instead of with the others; a folder of the user who runs
    /// PostgreSQL.
    pub storage_folder: Option<PathBuf>,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            control_planes: 2,
            data_planes: 2,
            control_settings: Vec::new(),
            data_settings: Vec::new(),
            target_settings: Vec::new(),
            networks: false,
            storage_folder: None,
        }
    }
}

/// A plane as a process that can be killed and started again with the same settings.
#[derive(Debug)]
struct Spec {
    folder: PathBuf,
    plane: &'static str,
    number: usize,
    environment: Vec<(&'static str, String)>,
    operations_port: u16,
}

impl Spec {
    fn start(&self) -> Running {
        start(&self.folder, self.plane, self.number, &self.environment)
    }
}

/// One control plane.
#[derive(Debug)]
pub struct ControlPlane {
    pub process: Running,
    pub api: Api,
    spec: Spec,
}

/// One data plane.
#[derive(Debug)]
pub struct DataPlane {
    pub process: Running,
    /// host:port for clients.
    pub proxy: String,
    spec: Spec,
}

impl ControlPlane {
    /// Starts it anew; it must have ended.
    pub fn restart(&mut self) {
        self.process = self.spec.start();
    }

    /// Its metrics.
    pub async fn metrics(&self) -> String {
        metrics(self.spec.operations_port).await
    }

    /// Waits until it serves.
    pub async fn ready(&self) {
        wait_until_ready(self.spec.operations_port).await;
    }
}

impl DataPlane {
    /// Starts it anew; it must have ended.
    pub fn restart(&mut self) {
        self.process = self.spec.start();
    }

    /// Removes its spool, as when the disk is lost with the machine; it must have ended.
    pub fn lose_spool(&self) {
        let mut environment = self.spec.environment.iter();
        let folder = environment.find(|(name, _)| *name == "PGL_SPOOL_DIR");
        let (_, folder) = folder.expect("it has a spool");
        std::fs::remove_dir_all(folder).expect("the spool can be removed");
    }

    /// Its metrics.
    pub async fn metrics(&self) -> String {
        metrics(self.spec.operations_port).await
    }

    /// The value of one of them, which has no labels; 0 as long as there was nothing to measure.
    pub async fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics().await;
        let lines = metrics.lines().filter_map(|line| line.split_once(' '));
        let mut values = lines.filter(|(found, _)| found.split('{').next() == Some(name));
        values.next().map_or(0.0, |(_, value)| {
            value
                .parse()
                .unwrap_or_else(|_| panic!("{name} is {value}"))
        })
    }

    /// Waits until it serves.
    pub async fn ready(&self) {
        wait_until_ready(self.spec.operations_port).await;
    }

    /// `login` at this proxy instead of at the balancer.
    pub fn login(&self, login: &Login) -> Login {
        let (host, port) = self.proxy.rsplit_once(':').expect("host:port");
        Login {
            host: host.to_owned(),
            port: port.parse().expect("a port"),
            ..login.clone()
        }
    }
}

/// All of them, with a load balancer in front of the proxies.
#[derive(Debug)]
pub struct Fleet {
    pub data_planes: Vec<DataPlane>,
    pub control_planes: Vec<ControlPlane>,
    pub balancer: Balancer,
    /// Present when they were asked for.
    pub networks: Option<Networks>,
    /// Through the balancer, with the first control plane's API.
    pub place: Place,
    // Removed last.
    _folder: TempDir,
}

impl Fleet {
    /// Starts everything; both control planes at once, over an empty storage database.
    pub async fn start() -> Self {
        Self::start_with(FleetOptions::default()).await
    }

    /// The same with other parts.
    pub async fn start_with(options: FleetOptions) -> Self {
        let folder = open_folder();
        let target = Target::start_with(options.target_settings.clone()).await;
        create_storage(&target, options.storage_folder.as_deref()).await;
        let files = certificates_for(folder.path(), options.data_planes).await;
        let key = client::run(program::pglens(), &["key", "generate"], &[], "").await;
        let key = key.success("pglens key generate").trim().to_owned();

        let count = options.control_planes;
        let ports = free_ports(3 * count + 2 * options.data_planes);
        let (control_ports, data_ports) = ports.split_at(3 * count);
        let grpc = control_ports.chunks(3).map(|ports| ports[1]);
        let networks = match options.networks {
            true => Some(Networks::start(grpc.clone(), target.login().port).await),
            false => None,
        };
        let storage = storage_dsn(&target, networks.as_ref());
        let mut control_planes = Vec::new();
        for (index, ports) in control_ports.chunks(3).enumerate() {
            let [api, grpc, operations] = ports else {
                unreachable!("chunks of three")
            };
            let mut environment = vec![
                ("PGL_DSN", storage.clone()),
                ("PGL_KEY", key.clone()),
                ("PGL_API_ADDR", local(*api)),
                ("PGL_GRPC_ADDR", local(*grpc)),
                ("PGL_OPS_ADDR", local(*operations)),
                ("PGL_GRPC_TLS_CERT", path(&files, "control-plane.pem")),
                ("PGL_GRPC_TLS_KEY", path(&files, "control-plane-key.pem")),
                ("PGL_GRPC_CLIENT_CA", path(&files, "ca.pem")),
            ];
            environment.extend(options.control_settings.clone());
            let spec = Spec {
                folder: folder.path().to_owned(),
                plane: "control-plane",
                number: index + 1,
                environment,
                operations_port: *operations,
            };
            control_planes.push(ControlPlane {
                process: spec.start(),
                api: Api::new(&format!("http://{}", local(*api)), ADMIN.0, ADMIN.1),
                spec,
            });
        }

        let urls: Vec<String> = match &networks {
            Some(networks) => networks
                .control
                .iter()
                .map(|link| url(link.port()))
                .collect(),
            None => grpc.map(url).collect(),
        };
        let mut data_planes = Vec::new();
        for (index, ports) in data_ports.chunks(2).enumerate() {
            let number = index + 1;
            let mut urls = urls.clone();
            // Each prefers another control plane.
            urls.rotate_left(index % count);
            let mut environment = vec![
                ("PGL_LISTEN_ADDR", local(ports[0])),
                ("PGL_OPS_ADDR", local(ports[1])),
                ("PGL_SPOOL_DIR", path(&files, &format!("spool-{number}"))),
                ("PGL_CONTROL_URLS", urls.join(",")),
                ("PGL_CONTROL_CA", path(&files, "ca.pem")),
                // Good for any server on this machine.
                ("PGL_TLS_CERT", path(&files, "control-plane.pem")),
                ("PGL_TLS_KEY", path(&files, "control-plane-key.pem")),
                (
                    "PGL_CONTROL_CERT",
                    path(&files, &format!("proxy-{number}.pem")),
                ),
                (
                    "PGL_CONTROL_KEY",
                    path(&files, &format!("proxy-{number}-key.pem")),
                ),
            ];
            environment.extend(options.data_settings.clone());
            let spec = Spec {
                folder: folder.path().to_owned(),
                plane: "data-plane",
                number,
                environment,
                operations_port: ports[1],
            };
            data_planes.push(DataPlane {
                process: spec.start(),
                proxy: local(ports[0]),
                spec,
            });
        }
        for plane in &control_planes {
            plane.ready().await;
        }
        for plane in &data_planes {
            plane.ready().await;
        }
        let proxies = data_planes.iter().map(|plane| plane.proxy.clone());
        let balancer = Balancer::start(proxies.collect()).await;
        let (proxy, api) = (
            balancer.address().to_string(),
            control_planes[0].api.clone(),
        );
        let route = route(
            target.login(),
            networks.as_ref().map(|networks| &networks.target),
        );
        let place = Place::with_route(&proxy, api, target, &route).await;
        Self {
            data_planes,
            control_planes,
            balancer,
            networks,
            place,
            _folder: folder,
        }
    }
}

async fn metrics(operations_port: u16) -> String {
    let url = format!("http://{}/metrics", local(operations_port));
    let response = reqwest::get(&url).await.expect("metrics");
    response.text().await.expect("metrics")
}

/// Starts a plane in `folder` with these settings and no others.
fn start(
    folder: &Path,
    plane: &str,
    number: usize,
    environment: &[(&'static str, String)],
) -> Running {
    let mut command = program::command(program::pglens());
    command
        .arg(plane)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("PGL_SHUTDOWN_GRACE_SECONDS", "1")
        .current_dir(folder);
    let name = format!("{plane}-{number}");
    Running::spawn(&name, command, &folder.join(format!("{name}.log")))
}

/// Certificates as `pglens certificates` makes them, for two proxies; the folder they are in.
pub async fn certificates(folder: &Path) -> PathBuf {
    certificates_for(folder, 2).await
}

async fn certificates_for(folder: &Path, data_planes: usize) -> PathBuf {
    let out = folder.join("certificates");
    let arguments = ["certificates", "--out", out.to_str().expect("UTF-8")];
    let names: Vec<String> = (1..=data_planes).map(|n| format!("proxy-{n}")).collect();
    let identities = names
        .iter()
        .flat_map(|name| ["--data-plane", name.as_str()]);
    let arguments: Vec<&str> = arguments.into_iter().chain(identities).collect();
    let made = client::run(program::pglens(), &arguments, &[], "").await;
    made.success("pglens certificates");
    out
}

/// The storage database is not the subject of the target's statement log.
async fn create_storage(target: &Target, folder: Option<&Path>) {
    let tablespace = match folder {
        Some(folder) => {
            let folder = folder.to_str().expect("UTF-8");
            let sql = format!("create tablespace storage location '{folder}'");
            target.execute(&sql).await;
            "tablespace storage"
        }
        None => "",
    };
    let sql = format!("create database {STORAGE_DATABASE} {tablespace}");
    target.execute(&sql).await;
    let sql = format!("alter database {STORAGE_DATABASE} set log_statement = 'none'");
    target.execute(&sql).await;
}

fn url(port: u16) -> String {
    format!("https://{}", local(port))
}

fn storage_dsn(target: &Target, networks: Option<&Networks>) -> String {
    let login = route(target.login(), networks.map(|networks| &networks.storage));
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

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("UTF-8").to_owned()
}
