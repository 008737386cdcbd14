//! Real clients: programs of the machine, and tokio-postgres.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio_postgres::{Client, Config, Connection, NoTls, Socket, tls::NoTlsStream};

use crate::program;

/// Longer than any client program needs.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(120);

/// Where to connect to, and as whom.
#[derive(Debug, Clone)]
pub struct Login {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    pub database: String,
    /// More libpq keywords, such as `sslmode=disable`; programs of libpq only.
    pub options: String,
}

impl Login {
    /// The same place for somebody else.
    pub fn with_user(&self, user: &str, password: &str) -> Self {
        let (user, password) = (user.to_owned(), password.to_owned());
        Self {
            user,
            password,
            ..self.clone()
        }
    }

    /// The same place, another database.
    pub fn with_database(&self, database: &str) -> Self {
        Self {
            database: database.to_owned(),
            ..self.clone()
        }
    }

    /// The same with other libpq keywords.
    pub fn with_options(&self, options: &str) -> Self {
        Self {
            options: options.to_owned(),
            ..self.clone()
        }
    }

    /// For tokio-postgres; without TLS.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .password(&self.password)
            .dbname(&self.database)
            .connect_timeout(Duration::from_secs(20));
        config
    }

    /// A plain connection whose other half runs in the background.
    pub async fn connect(&self) -> Client {
        self.try_connect()
            .await
            .unwrap_or_else(|error| panic!("{} cannot connect: {error:?}", self.user))
    }

    /// A plain connection, or why there is none.
    ///
    /// # Errors
    /// The server's answer to the login.
    pub async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.try_connect_parts().await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Both halves of a plain connection.
    ///
    /// # Errors
    /// The server's answer to the login.
    pub async fn try_connect_parts(
        &self,
    ) -> Result<(Client, Connection<Socket, NoTlsStream>), tokio_postgres::Error> {
        self.config().connect(NoTls).await
    }

    /// A libpq connection string without the password, which goes into the environment.
    pub fn conninfo(&self) -> String {
        let Self {
            host,
            port,
            user,
            database,
            options,
            ..
        } = self;
        format!(
            "host={host} port={port} user={user} dbname={database} connect_timeout=20 {options}"
        )
    }

    /// Runs `script` in psql, with its standard error as a part of the answer.
    pub async fn psql(&self, script: &str) -> Ran {
        self.psql_with(&[], script).await
    }

    /// The same with more arguments.
    pub async fn psql_with(&self, arguments: &[&str], script: &str) -> Ran {
        let conninfo = self.conninfo();
        let all = [&["-X", "-w", "-d", &conninfo][..], arguments].concat();
        self.run("psql", &all, script).await
    }

    /// Runs a client program with the password in its environment.
    pub async fn run(
        &self,
        name: impl AsRef<std::ffi::OsStr>,
        arguments: &[&str],
        stdin: &str,
    ) -> Ran {
        run(name, arguments, &[("PGPASSWORD", &self.password)], stdin).await
    }
}

/// What a program did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Standard output of a program that must have succeeded.
    pub fn success(&self, what: &str) -> &str {
        assert_eq!(self.code, Some(0), "{what}: {self:?}");
        &self.stdout
    }

    /// The only line on standard error of a program that must have ended with `code`.
    pub fn only_error_line(&self, code: i32, what: &str) -> &str {
        assert_eq!(self.code, Some(code), "{what}: {self:?}");
        let mut lines = self.stderr.lines();
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("{what}: nothing on stderr: {self:?}"));
        assert_eq!(lines.next(), None, "{what}: more than one line: {self:?}");
        line
    }
}

/// Runs a program to its end with nothing in its environment but what is given.
pub async fn run(
    name: impl AsRef<std::ffi::OsStr>,
    arguments: &[&str],
    environment: &[(&str, &str)],
    stdin: &str,
) -> Ran {
    Started::new(name, arguments, environment, stdin)
        .finish()
        .await
}

/// A client program that runs.
#[derive(Debug)]
pub struct Started {
    what: String,
    child: tokio::process::Child,
    feeding: tokio::task::JoinHandle<()>,
}

impl Started {
    /// Starts a program with nothing in its environment but what is given.
    pub fn new(
        name: impl AsRef<std::ffi::OsStr>,
        arguments: &[&str],
        environment: &[(&str, &str)],
        stdin: &str,
    ) -> Self {
        let name = name.as_ref();
        let mut command = tokio::process::Command::from(program::command(name));
        command
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let what = format!("{} {arguments:?}", name.display());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {what}: {error}"));
        let mut pipe = child.stdin.take().expect("a pipe was asked for");
        let stdin = stdin.to_owned();
        let feeding = tokio::spawn(async move {
            // A program that ends without reading all of it is not an error here.
            let _broken_pipe = pipe.write_all(stdin.as_bytes()).await;
        });
        Self {
            what,
            child,
            feeding,
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("nobody waited for it yet")
    }

    /// Waits until it ends.
    pub async fn finish(self) -> Ran {
        let output = tokio::time::timeout(CLIENT_TIMEOUT, self.child.wait_with_output())
            .await
            .unwrap_or_else(|_| panic!("{} did not end in {CLIENT_TIMEOUT:?}", self.what))
            .expect("output");
        self.feeding.abort();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The server's part of an error, which must be there.
pub fn db_error(error: &tokio_postgres::Error) -> &tokio_postgres::error::DbError {
    error
        .as_db_error()
        .unwrap_or_else(|| panic!("not an answer of the server: {error:?}"))
}
