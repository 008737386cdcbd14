//! The two databases of the private server: the storage, and the sample target.

use pglens_core::Secret;
use pglens_pgserver::PgServer;
use tokio_postgres::{Client, Config, NoTls};

use super::DevError;

/// Rows for people to look at, written as a migration would be.
const SAMPLE: &str = include_str!("../../seed/sample.sql");

/// A database of the private server, owned by a login of its own that is no superuser. Both have one name.
#[derive(Debug, Clone)]
pub(super) struct OwnedDatabase {
    pub(super) name: &'static str,
    pub(super) password: Secret<String>,
    pub(super) port: u16,
}

impl OwnedDatabase {
    /// Where and as whom to connect. Passwords are letters and digits, nothing to escape.
    pub(super) fn url(&self) -> String {
        let Self { name, port, .. } = self;
        format!(
            "postgresql://{name}:{}@127.0.0.1:{port}/{name}",
            self.password.expose()
        )
    }

    /// Makes login and database if they are not there, and sets the password in any case.
    pub(super) async fn create(
        postgres: &PgServer,
        name: &'static str,
        password: Secret<String>,
    ) -> Result<Self, DevError> {
        let failed = |source| DevError::Database {
            what: format!("cannot make the database {name}"),
            source,
        };
        let admin = connect(&postgres.config("postgres"))
            .await
            .map_err(failed)?;
        let exists = |catalog: &'static str| {
            let admin = &admin;
            async move {
                let found = admin.query_opt(catalog, &[&name]).await;
                Ok::<_, tokio_postgres::Error>(found?.is_some())
            }
        };
        // The names are ours and need no quotes; the password is letters and digits.
        let role = "select from pg_catalog.pg_roles where rolname = $1";
        if !exists(role).await.map_err(failed)? {
            let statement = format!("create role {name} login");
            admin.batch_execute(&statement).await.map_err(failed)?;
        }
        let statement = format!("alter role {name} password '{}'", password.expose());
        admin.batch_execute(&statement).await.map_err(failed)?;
        let database = "select from pg_catalog.pg_database where datname = $1";
        if !exists(database).await.map_err(failed)? {
            let statement = format!("create database {name} owner {name}");
            admin.batch_execute(&statement).await.map_err(failed)?;
        }
        let statement = format!("revoke connect on database {name} from public");
        admin.batch_execute(&statement).await.map_err(failed)?;
        Ok(Self {
            name,
            password,
            port: postgres.port(),
        })
    }

    /// Fills the database with the sample, once; as its owner, so that the owner owns the tables.
    pub(super) async fn fill(&self) -> Result<(), DevError> {
        let failed = |source| DevError::Database {
            what: "cannot make the sample tables".to_owned(),
            source,
        };
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user(self.name)
            .password(self.password.expose())
            .dbname(self.name);
        let mut client = connect(&config).await.map_err(failed)?;
        let known = client.query_one("select to_regclass('public.customers') is not null", &[]);
        let is_filled: bool = known.await.and_then(|row| row.try_get(0)).map_err(failed)?;
        if is_filled {
            return Ok(());
        }
        // In PostgreSQL 15 and later only the database's owner may make tables in public; before, everyone may.
        let transaction = client.transaction().await.map_err(failed)?;
        transaction.batch_execute(SAMPLE).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        client.batch_execute("analyze").await.map_err(failed)
    }
}

async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection); // ends with the client
    Ok(client)
}
