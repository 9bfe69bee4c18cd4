//! An independent APNs, FCM and OAuth server over real TLS and HTTP/2, with a script and a ledger.
//!
//! It stands in for Apple and Google in the demo, the tests and the benches, and behind `pushpost simulate`.
//! It depends on nothing of pushpost: a sender that misread a provider's rules must not find the same
//! misreading here. What it enforces is docs/providers.md#apns, #apns-payload, #fcm, #connections; where those leave a
//! choice, the stricter one.
//!
//! | file | what it is |
//! |---|---|
//! | `listener`, `connection`, `account`, `stream`, `wire`, `http1` | ports, connections, streams, frames |
//! | `session` | what a provider decides about a request, with the script applied |
//! | `apns`, `apns_headers`, `apns_payload` | APNs' checks |
//! | `fcm`, `fcm_message`, `fcm_schema`, `quota`, `faults` | FCM's checks, its quota and error bodies |
//! | `oauth`, `federation`, `metadata` | access tokens: for an assertion, for a subject token, for the machine itself |
//! | `keyring` | the keys, service accounts and subject tokens that are good right now |
//! | `rule`, `rules` | scripts |
//! | `entry`, `ledger` | the record of all requests |
//! | `control`, `files`, `simulate` | the control port; what a sender needs on disk; the whole as a command |

#![cfg_attr(not(test), warn(unused_crate_dependencies))]

mod account;
mod apns;
mod apns_headers;
mod apns_payload;
mod clock;
mod connection;
mod control;
mod entry;
mod faults;
mod fcm;
mod fcm_message;
mod fcm_schema;
mod federation;
mod files;
mod http1;
mod jwt;
mod keyring;
mod ledger;
mod listener;
mod metadata;
mod oauth;
mod quota;
mod reply;
mod rule;
mod rules;
mod session;
mod settings;
mod simulate;
mod stream;
mod tls;
mod wire;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use entry::{Count, Duplicate, Ended, Entry, Environment, Filter, Provider};
pub use faults::FcmFault;
pub use ledger::{Ledger, LedgerMode};
pub use rule::{Action, Answer, ConnectionFault, H2Code, LastStream, Rule, ShareOf};
pub use settings::{ApnsSettings, FcmSettings, Overflow, Settings};
pub use simulate::run_simulate;

use listener::{Faces, Port};
use session::Shared;
use tls::Keys;

/// A connection that does not end within this time of [`Simulator::stop`] is left to the runtime.
const STOP: Duration = Duration::from_secs(5);

/// What can go wrong in starting a simulator or writing its files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port could not be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// Why that failed.
        source: std::io::Error,
    },
    /// The cryptographic library made no key or certificate.
    #[error("cannot make keys and certificates")]
    Keys(#[from] rcgen::Error),
    /// A key just made could not be read back for checking signatures.
    #[error("cannot use the keys just made")]
    PublicKey(#[from] jsonwebtoken::errors::Error),
    /// TLS refused the certificate just made.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why that failed.
        source: std::io::Error,
    },
    /// The thread that makes keys died.
    #[error("key generation did not finish")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// A running simulator. Dropping it stops it without waiting; [`Simulator::stop`] waits.
pub struct Simulator {
    shared: Arc<Shared>,
    addresses: Addresses,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Where the servers listen.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The port of production APNs.
    pub apns: SocketAddr,
    /// The port of sandbox APNs.
    pub sandbox: Option<SocketAddr>,
    /// The port of FCM and OAuth.
    pub fcm: SocketAddr,
    /// The control port.
    pub control: Option<SocketAddr>,
}

impl Simulator {
    /// Makes keys, binds all ports and serves.
    ///
    /// # Errors
    /// [`Error::Bind`] where a port is taken; the others where cryptography fails.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let keys = tokio::task::spawn_blocking(Keys::generate).await??;
        let (apns, apns_address) = bind(&settings, settings.apns_port).await?;
        let (fcm, fcm_address) = bind(&settings, settings.fcm_port).await?;
        let sandbox = bind_optional(&settings, settings.sandbox_port).await?;
        let control = bind_optional(&settings, settings.control_port).await?;
        let addresses = Addresses {
            apns: apns_address,
            sandbox: sandbox.as_ref().map(|(_, address)| *address),
            fcm: fcm_address,
            control: control.as_ref().map(|(_, address)| *address),
        };
        let token_uri = format!("{}{}", endpoint(fcm_address), oauth::PATH);
        let shared = Arc::new(Shared::new(settings, keys, token_uri));
        let simulator = Self { shared, addresses, tasks: TaskTracker::new(), stop: CancellationToken::new() };
        simulator.serve(apns, Port::Apns(Environment::Production))?;
        simulator.serve(fcm, Port::Fcm)?;
        if let Some((listener, _)) = sandbox {
            simulator.serve(listener, Port::Apns(Environment::Sandbox))?;
        }
        if let Some((listener, _)) = control {
            simulator.serve_control(listener);
        }
        Ok(simulator)
    }

    fn serve(&self, listener: TcpListener, port: Port) -> Result<(), Error> {
        let tls = Faces::of(&self.shared.keys, port)?;
        let (shared, tasks, stop) = (self.shared.clone(), self.tasks.clone(), self.stop.clone());
        self.tasks.spawn(listener::accept(listener, port, tls, shared, tasks, stop));
        Ok(())
    }

    fn serve_control(&self, listener: TcpListener) {
        let router = control::router(self.shared.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            // A kept-alive client must not hold up the stop, so the server is dropped rather than drained.
            tokio::select! {
                _ = axum::serve(listener, router) => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// The settings that it was started with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// `https://localhost:PORT` of production APNs.
    pub fn apns_endpoint(&self) -> String {
        endpoint(self.addresses.apns)
    }

    /// `https://localhost:PORT` of sandbox APNs.
    pub fn sandbox_endpoint(&self) -> Option<String> {
        self.addresses.sandbox.map(endpoint)
    }

    /// `https://localhost:PORT` of FCM.
    pub fn fcm_endpoint(&self) -> String {
        endpoint(self.addresses.fcm)
    }

    /// The token endpoint: `https://localhost:PORT/token`.
    pub fn token_uri(&self) -> &str {
        &self.shared.token_uri
    }

    /// `http://127.0.0.1:PORT` of the control port.
    pub fn control_url(&self) -> Option<String> {
        self.addresses.control.map(|address| format!("http://{address}"))
    }

    /// `http://127.0.0.1:PORT` of the metadata server. It knows the first service account, as long as that is good.
    pub fn metadata_endpoint(&self) -> Option<String> {
        self.control_url()
    }

    /// The certificate to trust.
    pub fn ca_pem(&self) -> &str {
        &self.shared.keys.ca_pem
    }

    /// The text of the `.p8` file.
    pub fn p8_pem(&self) -> &str {
        &self.shared.keys.p8_pem
    }

    /// The service account's private key.
    pub fn service_account_key_pem(&self) -> &str {
        &self.shared.keys.rsa_pem
    }

    /// Writes `ca.pem`, `AuthKey_<key id>.p8`, `service-account.json` and `pushpost.toml` into `dir`, which is
    /// made where it is missing; files from an earlier run are replaced.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_files(&self, dir: &Path) -> Result<(), Error> {
        let failed = |source| Error::File { path: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        files::write(self, &dir.canonicalize().map_err(failed)?)
    }

    /// Appends a rule; the first that matches wins.
    pub fn add_rule(&self, rule: Rule) {
        self.shared.rules.add(rule);
    }

    /// Ends all rules of this name.
    pub fn remove_rules(&self, name: &str) {
        self.shared.rules.remove(name);
    }

    /// Forgets all rules.
    pub fn clear_rules(&self) {
        self.shared.rules.clear();
    }

    /// The record of all requests.
    pub fn ledger(&self) -> Arc<Ledger> {
        self.shared.ledger.clone()
    }

    /// Sets the stream limit of all connections, told to living ones by SETTINGS; APNs connections keep to
    /// one until their first valid provider token.
    pub fn set_streams(&self, streams: u32) {
        self.shared.set_streams(streams);
    }

    /// From now on the project may send so many messages in each span of time, which begins with the first
    /// message after the last one; what exceeds it gets 429 and how long to wait. 0 messages: no limit.
    pub fn set_fcm_quota(&self, messages: u64, per: Duration) {
        self.shared.fcm_quota.set(messages, per);
    }

    /// Drops all connections without a word.
    pub fn close_connections(&self) {
        self.shared.close_connections();
    }

    /// Makes another provider key of the same team, good from now on beside those there are; answers its `.p8`.
    ///
    /// # Errors
    /// [`Error::Keys`].
    pub fn issue_provider_key(&self, key_id: &str) -> Result<String, Error> {
        self.shared.keyring.issue_provider_key(key_id)
    }

    /// Refuses a provider key from now on, on connections that have shown it too.
    pub fn revoke_provider_key(&self, key_id: &str) {
        self.shared.keyring.revoke_provider_key(key_id);
    }

    /// Makes another service account of the project, good from now on beside those there are; answers its file.
    pub fn issue_service_account(&self, client_email: &str) -> String {
        self.shared.keyring.issue_account(client_email);
        files::service_account(self, client_email)
    }

    /// Gives a service account no more access tokens; those that it has stay good.
    pub fn revoke_service_account(&self, client_email: &str) {
        self.shared.keyring.revoke_account(client_email);
    }

    /// Makes a token of another issuer, good from now on, for a workload identity to exchange.
    pub fn issue_subject_token(&self) -> String {
        self.shared.keyring.issue_subject_token()
    }

    /// Exchanges a subject token no more.
    pub fn revoke_subject_token(&self, token: &str) {
        self.shared.keyring.revoke_subject_token(token);
    }

    /// The file of a workload identity. Its subject token comes from `source`, a `credential_source`. It sends as the
    /// service account `impersonated`, or as itself.
    pub fn external_account(&self, source: &serde_json::Value, impersonated: Option<&str>) -> String {
        files::external_account(self, source, impersonated)
    }

    /// Makes all access tokens issued so far invalid.
    pub fn revoke_access_tokens(&self) {
        self.shared.access_tokens.revoke();
    }

    /// Stops listening, drops all connections and waits for their tasks.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        // Tasks end at their next await; one that does not is no reason to hang the caller.
        let _ = tokio::time::timeout(STOP, self.tasks.wait()).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn endpoint(address: SocketAddr) -> String {
    format!("https://localhost:{}", address.port())
}

async fn bind(settings: &Settings, port: u16) -> Result<(TcpListener, SocketAddr), Error> {
    let address = SocketAddr::new(settings.bind, port);
    let failed = |source| Error::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn bind_optional(
    settings: &Settings,
    port: Option<u16>,
) -> Result<Option<(TcpListener, SocketAddr)>, Error> {
    match port {
        Some(port) => Ok(Some(bind(settings, port).await?)),
        None => Ok(None),
    }
}
