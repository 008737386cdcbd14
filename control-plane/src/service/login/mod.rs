//! One login through a proxy, from the user's name to the decision. The proxy relays; everything is decided here.
//!
//! Nothing about the user, the database or the grant is told before the proof. Whoever does not have it always gets the
//! same answer, after the same steps and the same work.

mod admission;
mod exchange;
mod proof;
mod refusal;
mod target;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pglens_core::{ErrorCode, RunId};
use pglens_rpc::status::status;
use pglens_rpc::v1::login_response::Step;
use pglens_rpc::v1::{AuthMethod, ClientTls, LoginRequest, LoginResponse, LoginStart};
use pglens_rpc::{convert, v1};
use pglens_runtime::Chain;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio_stream::Stream;
use tonic::Status;

use crate::app::App;
use crate::crypto::keyring::{KeyRing, SealContext};
use crate::fleet::cancel::Cancels;
use crate::ingest::text::bounded;
use admission::Admission;
use exchange::Exchange;
use refusal::Refusal;

/// From the start of the stream to the decision. A person may be typing a password in between.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Logins in progress; each holds little more than its stream.
const MAX_LOGINS: usize = 2048;
/// Names of users and databases, addresses and names of applications are kept up to this length.
const MAX_WORD_BYTES: usize = 255;

/// What logins need besides the app: the key of made-up verifiers, and the places for logins in progress.
#[derive(Debug)]
pub struct Logins {
    places: Arc<Semaphore>,
    mock_key: [u8; 32],
    decoy_sealed: Vec<u8>,
}

impl Logins {
    /// Derives what is needed from the master keys.
    #[must_use]
    pub fn new(keys: &KeyRing) -> Self {
        let decoy = pglens_wire::scram::ScramVerifier::mock(&keys.derive("scram decoy"), "");
        Self {
            places: Arc::new(Semaphore::new(MAX_LOGINS)),
            mock_key: keys.derive("scram mock"),
            decoy_sealed: keys.seal(DECOY, decoy.to_string().as_bytes()),
        }
    }
}

/// Opened in place of the verifier of a user that does not exist.
const DECOY: SealContext<'_> = SealContext {
    table: "users",
    column: "scram_verifier_sealed",
    row: "decoy",
};

/// Who wants in, where to, and by which way.
#[derive(Debug)]
struct Attempt {
    proxy_name: String,
    run_id: RunId,
    user: String,
    database: String,
    client_address: String,
    tls: Option<ClientTls>,
    application_name: String,
    method: AuthMethod,
    /// As storage keeps it.
    cancel_key: Option<[u8; 32]>,
}

impl Attempt {
    fn read(proxy_name: String, start: LoginStart, cancels: &Cancels) -> Result<Self, Status> {
        let method = match start.method() {
            AuthMethod::Unspecified => {
                return Err(status(
                    ErrorCode::InvalidArgument,
                    "field method: is unspecified",
                ));
            }
            method => method,
        };
        Ok(Self {
            proxy_name,
            run_id: convert::run_id(&start.run_id)?,
            user: start.user,
            database: start.database,
            client_address: bounded(&start.client_address, MAX_WORD_BYTES).into_owned(),
            tls: start.tls,
            application_name: bounded(&start.application_name, MAX_WORD_BYTES).into_owned(),
            method,
            cancel_key: cancels.stored(&start.cancel_key_digest),
        })
    }

    fn client_ip(&self) -> Option<IpAddr> {
        let with_port = self
            .client_address
            .parse::<SocketAddr>()
            .map(|address| address.ip());
        with_port.or_else(|_| self.client_address.parse()).ok()
    }
}

/// Why a login ended without being allowed.
enum Ended {
    /// The client is told why.
    Refused(Refusal),
    /// The stream is broken, or not one of the contract.
    Broken(Status),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Serves one `Login` stream of the proxy `proxy_name`.
pub async fn run<S>(
    app: Arc<App>,
    proxy_name: String,
    inbound: S,
    outbound: Sender<Result<LoginResponse, Status>>,
) where
    S: Stream<Item = Result<LoginRequest, Status>> + Unpin + Send,
{
    let Ok(_place) = Arc::clone(&app.logins.places).try_acquire_owned() else {
        let _ = outbound.try_send(Err(status(
            ErrorCode::Overloaded,
            "too many logins in progress",
        )));
        return;
    };
    let mut exchange = Exchange::new(inbound, outbound);
    let decided = tokio::time::timeout(LOGIN_TIMEOUT, login(&app, proxy_name, &mut exchange));
    let answer = match decided.await {
        Ok(answer) => answer,
        Err(_) => {
            app.metrics.login("timed_out");
            Err(Status::deadline_exceeded("the login took too long"))
        }
    };
    exchange.end(answer).await;
}

async fn login<S>(app: &App, proxy_name: String, exchange: &mut Exchange<S>) -> Result<(), Status>
where
    S: Stream<Item = Result<LoginRequest, Status>> + Unpin + Send,
{
    let attempt = Attempt::read(proxy_name, exchange.start().await?, &app.cancels)?;
    let decided = match check_run(app, &attempt).await {
        Ok(()) => decide(app, &attempt, exchange).await,
        Err(ended) => Err(ended),
    };
    match decided {
        Ok((admission, sasl_final)) => {
            app.metrics.login("allowed");
            tell_watchers(app, &attempt, &admission);
            let session_id = admission.session_id;
            let allow = admission.into_allow(app, sasl_final);
            if exchange.send(Step::Allow(allow)).await.is_err() {
                admission::abandon(app, session_id).await;
            }
            Ok(())
        }
        Err(Ended::Refused(refusal)) => {
            refuse(app, &attempt, &refusal).await;
            exchange.send(Step::Deny(refusal.deny(&attempt))).await
        }
        Err(Ended::Broken(status)) => Err(status),
    }
}

async fn decide<S>(
    app: &App,
    attempt: &Attempt,
    exchange: &mut Exchange<S>,
) -> Result<(Admission, Vec<u8>), Ended>
where
    S: Stream<Item = Result<LoginRequest, Status>> + Unpin + Send,
{
    let proven = proof::prove(app, attempt, exchange).await?;
    let admission = admission::admit(app, attempt, &proven.user).await?;
    Ok((admission, proven.sasl_final))
}

/// Only a run that attached may log users in: what it does is recorded under that run.
async fn check_run(app: &App, attempt: &Attempt) -> Result<(), Ended> {
    if app.fleet.is_attached(attempt.run_id, &attempt.proxy_name) {
        return Ok(());
    }
    let known = app
        .storage
        .login_run_check(attempt.run_id, &attempt.proxy_name);
    match known.await.map_err(Refusal::storage)? {
        true => Ok(()),
        false => Err(Ended::Broken(status(
            ErrorCode::Conflict,
            "the run is not one of this proxy, attach first",
        ))),
    }
}

async fn refuse(app: &App, attempt: &Attempt, refusal: &Refusal) {
    app.metrics.login(refusal.reason());
    tracing::debug!(
        proxy.name = attempt.proxy_name,
        reason = refusal.reason(),
        "login refused"
    );
    if refusal.is_unavailable() {
        return; // storage, where the event would go, is what is missing
    }
    let entry = refusal.audit_entry(attempt);
    if let Err(error) = app.storage.audit_insert(&entry).await {
        tracing::warn!(error = %Chain(&error), "refused login not recorded");
    }
}

fn tell_watchers(app: &App, attempt: &Attempt, admission: &Admission) {
    app.live.connection_started(|| {
        json!({
            "id": admission.session_id,
            "user_id": admission.user_id,
            "username": attempt.user,
            "database_id": admission.database.id,
            "database": attempt.database,
            "grant_id": admission.grant.id,
            "client_address": attempt.client_address,
            "application_name": attempt.application_name,
            "proxy": attempt.proxy_name,
            "started_at": chrono::Utc::now(),
        })
    });
}

/// The steps as the contract has them.
type Request = v1::login_request::Step;
