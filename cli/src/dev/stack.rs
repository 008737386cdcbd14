//! The stack: PostgreSQL, control plane, data plane, in this order; stopped in the reverse one.

use std::path::PathBuf;
use std::time::Duration;

use pglens_pgserver::{Options, PgServer, StartError};

use super::DevError;
use super::api::{Api, wait_until_ready};
use super::databases::OwnedDatabase;
use super::folder::DataFolder;
use super::inside::InsidePlane;
use super::options::{DevOptions, Pairs, Wanted};
use super::ports::Held;
use super::processes::ProcessPlane;
use super::ready::{DEMO_USER, Facts, Pids};
use crate::files;
use crate::planes::{CONTROL_PLANE, DATA_PLANE};

/// How long a plane may take until it is ready: migrations, and a connection to the other plane.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const STORAGE_NAME: &str = "pglens";
const SAMPLE_NAME: &str = "shop";
/// Connections for the storage pool, the sample target and people who look.
const MAX_CONNECTIONS: &str = "200";

/// Everything that runs. Fields drop in the order they have to end in.
pub(super) struct Stack {
    data_plane: Plane,
    control_plane: Plane,
    postgres: PgServer,
    facts: Facts,
    ready_file: Option<PathBuf>,
    _folder: DataFolder,
}

/// A plane, in this process or in its own.
enum Plane {
    Inside(InsidePlane),
    Process(ProcessPlane),
}

/// Ports of the planes, taken early so that a clash shows before anything is started.
struct Ports {
    proxy: Held,
    api: Held,
    grpc: Held,
    control_plane_operations: Held,
    data_plane_operations: Held,
}

impl Stack {
    /// Starts everything, makes the sample user, database and grant, and says so.
    pub(super) async fn start(options: DevOptions) -> Result<Self, DevError> {
        if let Some(path) = &options.wishes.ready_file {
            files::remove_if_there(path)?; // of an earlier start
        }
        let postgres_port = Held::take(&options.postgres).await?;
        tell_if_moved("PostgreSQL server", &options.postgres, &postgres_port);
        let ports = Ports::take(&options).await?;
        let folder = DataFolder::open(&options)?;
        println!(
            "Starting PostgreSQL ({}) ...",
            options.binaries.folder().display()
        );
        let postgres = start_postgres(&options, &folder, postgres_port).await?;
        let storage_password = folder.password("storage-password")?;
        let storage = OwnedDatabase::create(&postgres, STORAGE_NAME, storage_password).await?;
        let sample_password = folder.password("shop-password")?;
        let sample = OwnedDatabase::create(&postgres, SAMPLE_NAME, sample_password).await?;
        sample.fill().await?;

        let admin_password = folder.password("admin-password")?;
        let demo_password = folder.password("demo-password")?;
        let facts = Facts {
            proxy: ports.proxy.address().to_string(),
            api: format!("http://{}", ports.api.address()),
            control_plane_operations: format!(
                "http://{}",
                ports.control_plane_operations.address()
            ),
            data_plane_operations: format!("http://{}", ports.data_plane_operations.address()),
            admin_password: admin_password.clone(),
            demo_password: demo_password.clone(),
            demo_database: sample.name,
            target_url: sample.url().into(),
            storage_url: storage.url().into(),
        };
        println!("Starting the planes ...");
        let api = Api::new(ports.api.address(), admin_password.clone())?;
        let (control_plane, data_plane) = start_planes(&options, &folder, ports, &facts).await?;
        let user = api.ensure_user(DEMO_USER, &demo_password).await?;
        let database = api.ensure_database(&sample).await?;
        api.ensure_read_grant(user, database).await?;

        let stack = Self {
            data_plane,
            control_plane,
            postgres,
            facts,
            ready_file: options.wishes.ready_file,
            _folder: folder,
        };
        println!("{}", stack.facts.announcement(&options.data_dir));
        stack.write_ready_file()?;
        Ok(stack)
    }

    fn write_ready_file(&self) -> Result<(), DevError> {
        let Some(path) = &self.ready_file else {
            return Ok(());
        };
        let pids = Pids {
            control_plane: self.control_plane.pid(),
            data_plane: self.data_plane.pid(),
            postgres: self.postgres.pid(),
        };
        Ok(self.facts.write(path, pids)?)
    }

    /// Waits until something fails that is not started again. The ready file follows the process ids meanwhile.
    pub(super) async fn failed(&mut self) -> DevError {
        loop {
            let changed = tokio::select! {
                changed = self.control_plane.changed() => changed,
                changed = self.data_plane.changed() => changed,
                status = self.postgres.exited() => Err(DevError::PostgresEnded {
                    status: status.map_or_else(|error| error.to_string(), |status| status.to_string()),
                    log: self.postgres.log_file().display().to_string(),
                }),
            };
            if let Err(error) = changed.and_then(|()| self.write_ready_file()) {
                return error;
            }
        }
    }

    /// The proxy first, since its sessions' last records go through the control plane into PostgreSQL.
    pub(super) async fn stop(mut self) {
        if let Some(path) = &self.ready_file {
            let _kept = files::remove_if_there(path);
        }
        self.data_plane.stop().await;
        self.control_plane.stop().await;
        self.postgres.stop().await;
    }
}

impl Plane {
    /// Waits until the plane is another process, or cannot be kept running. Cancel safe.
    async fn changed(&mut self) -> Result<(), DevError> {
        match self {
            Self::Inside(plane) => Err(plane.failed().await),
            Self::Process(plane) => plane.changed().await,
        }
    }

    async fn stop(&mut self) {
        match self {
            Self::Inside(plane) => plane.stop().await,
            Self::Process(plane) => plane.stop().await,
        }
    }

    fn pid(&self) -> Option<u32> {
        match self {
            Self::Inside(_) => Some(std::process::id()),
            Self::Process(plane) => plane.pid(),
        }
    }

    /// Waits until the plane says that it is ready, or has failed.
    async fn ready(
        &mut self,
        name: &str,
        operations: std::net::SocketAddr,
    ) -> Result<(), DevError> {
        let mut ready = std::pin::pin!(wait_until_ready(name, operations, READY_TIMEOUT));
        loop {
            tokio::select! {
                changed = self.changed() => changed?,
                ready = &mut ready => return ready,
            }
        }
    }
}

impl Ports {
    async fn take(options: &DevOptions) -> Result<Self, DevError> {
        let proxy = Held::take(&options.proxy).await?;
        let api = Held::take(&options.api).await?;
        for (what, wanted, held) in [
            ("proxy", &options.proxy, &proxy),
            ("API", &options.api, &api),
        ] {
            tell_if_moved(what, wanted, held);
        }
        Ok(Self {
            proxy,
            api,
            grpc: Held::take(&options.internal).await?,
            control_plane_operations: Held::take(&options.internal).await?,
            data_plane_operations: Held::take(&options.internal).await?,
        })
    }
}

fn tell_if_moved(what: &str, wanted: &Wanted, held: &Held) {
    let (usual, port) = (wanted.setting.addr.port(), held.port());
    if usual != 0 && usual != port {
        println!("Port {usual} is in use; the {what} is on {port} instead.");
    }
}

async fn start_postgres(
    options: &DevOptions,
    folder: &DataFolder,
    held: Held,
) -> Result<PgServer, DevError> {
    let port = held.port();
    drop(held.release());
    let settings = vec![("max_connections".to_owned(), MAX_CONNECTIONS.to_owned())];
    let started = PgServer::start(Options {
        port,
        settings,
        ..Options::new(options.binaries.clone(), folder.postgres())
    });
    started.await.map_err(|error| match error {
        // Where the folder is, is a setting; and the folder was at fault.
        StartError::Cluster(error) => options.data_dir_origin.error(error).into(),
        error => error.into(),
    })
}

/// Starts both planes with certificates of the folder's own authority and waits until both are ready.
async fn start_planes(
    options: &DevOptions,
    folder: &DataFolder,
    ports: Ports,
    facts: &Facts,
) -> Result<(Plane, Plane), DevError> {
    const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
    let (authority, ca) = folder.authority()?;
    let server = folder.certificate("control-plane", || authority.server(&LOCAL_NAMES))?;
    let client = folder.certificate("data-plane", || authority.client("dev"))?;
    let proxy = folder.certificate("proxy", || authority.server(&LOCAL_NAMES))?;
    let (key, _value) = folder.secret("key", crate::keys::generate)?;
    let path = |path: &PathBuf| path.display().to_string();

    let control_operations = ports.control_plane_operations.address();
    let data_operations = ports.data_plane_operations.address();
    let control_url = format!("https://{}", ports.grpc.address());
    let mut control_pairs: Pairs = vec![
        ("PGL_DSN", facts.storage_url.expose().clone()),
        ("PGL_KEYFILE", path(&key)),
        ("PGL_ADMIN_PASSWORD", facts.admin_password.expose().clone()),
        ("PGL_GRPC_TLS_CERT", path(&server.certificate)),
        ("PGL_GRPC_TLS_KEY", path(&server.key)),
        ("PGL_GRPC_CLIENT_CA", path(&ca)),
        ("PGL_API_ADDR", ports.api.release()),
        ("PGL_GRPC_ADDR", ports.grpc.release()),
        ("PGL_OPS_ADDR", ports.control_plane_operations.release()),
    ];
    control_pairs.extend(options.control_plane.iter().cloned());
    let mut control_plane = if options.wishes.processes {
        let grace = options.shutdown_grace;
        Plane::Process(ProcessPlane::start(
            "control plane",
            CONTROL_PLANE,
            control_pairs,
            grace,
        ))
    } else {
        Plane::Inside(InsidePlane::control_plane("control plane", &control_pairs)?)
    };
    control_plane
        .ready("the control plane", control_operations)
        .await?;

    let mut data_pairs: Pairs = vec![
        ("PGL_CONTROL_URLS", control_url),
        ("PGL_CONTROL_CA", path(&ca)),
        ("PGL_CONTROL_CERT", path(&client.certificate)),
        ("PGL_CONTROL_KEY", path(&client.key)),
        ("PGL_TLS_CERT", path(&proxy.certificate)),
        ("PGL_TLS_KEY", path(&proxy.key)),
        ("PGL_SPOOL_DIR", path(&folder.spool())),
        ("PGL_LISTEN_ADDR", ports.proxy.release()),
        ("PGL_OPS_ADDR", ports.data_plane_operations.release()),
    ];
    data_pairs.extend(options.data_plane.iter().cloned());
    let mut data_plane = if options.wishes.processes {
        let grace = options.shutdown_grace;
        Plane::Process(ProcessPlane::start(
            "data plane",
            DATA_PLANE,
            data_pairs,
            grace,
        ))
    } else {
        Plane::Inside(InsidePlane::data_plane("data plane", &data_pairs)?)
    };
    data_plane.ready("the data plane", data_operations).await?;
    Ok((control_plane, data_plane))
}
