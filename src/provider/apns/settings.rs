//! `[apps.<name>.apns]`: the signing key, the bundle id and the endpoints of an app's APNs lanes.

use super::client::ApnsClient;
use super::platform::{self, PRODUCTION, SANDBOX};
use crate::domain::{Environment, ProviderDefaults};
use crate::provider::built_in::Sender;
use crate::provider::provider_settings::{LaneOptions, ProviderSettings};
use crate::provider::setup::{OTHER_CONNECTIONS, SetupError};
use crate::settings::{CaFile, Endpoint, Secret, Section};

/// Most connections per lane. One carries some thousand requests a second, and Apple asks for few, long-lived connections
/// (docs/providers.md#apns-http2, #connection-failures).
const CONNECTIONS: usize = 4;
/// Lanes of an app: production and sandbox.
const LANES: usize = 2;

/// The settings of `[apps.<name>.apns]`, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApnsSettings {
    /// The text of Apple's `.p8` file: a PKCS #8 private key in PEM.
    pub key: Secret,
    /// The key's id: the `kid` of the provider tokens.
    pub key_id: String,
    /// The team's id: the `iss` of the provider tokens.
    pub team_id: String,
    /// The app's bundle id, the `apns-topic` without a suffix.
    pub topic: String,
    /// The environment of devices that are registered without one.
    pub environment: Environment,
    /// The host for both environments, instead of Apple's hosts.
    pub endpoint: Option<Endpoint>,
    /// The host for the sandbox environment. It takes precedence over `endpoint`.
    pub sandbox_endpoint: Option<Endpoint>,
    /// A CA that is trusted in addition to the system's.
    pub ca_file: Option<CaFile>,
}

impl ApnsSettings {
    /// The configured host of an environment; `None` means Apple's own host.
    pub fn endpoint_of(&self, environment: Environment) -> Option<&Endpoint> {
        let sandbox = self.sandbox_endpoint.as_ref().filter(|_| environment == SANDBOX);
        sandbox.or(self.endpoint.as_ref())
    }

    /// Reads the section. None: it has faults.
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let key = section.secret("key", "key_file").map(Secret::into_pem);
        if key.as_ref().is_some_and(|key| !key.expose().contains("-----BEGIN PRIVATE KEY-----")) {
            let place = if section.has("key_file") { "key_file" } else { "key" };
            section.fault(place, "holds no private key in PEM, as in Apple's .p8 files");
        }
        let key_id = section.parsed("key_id", apple_id);
        let team_id = section.parsed("team_id", apple_id);
        let topic = section.parsed("topic", bundle_id);
        let environment = section.parsed("environment", environment).unwrap_or(PRODUCTION);
        let endpoint = section.parsed("endpoint", Endpoint::parse);
        let sandbox_endpoint = section.parsed("sandbox_endpoint", Endpoint::parse);
        let ca_file = section.ca_file("ca_file");
        let settings = (
            section.required("key", key),
            section.required("key_id", key_id),
            section.required("team_id", team_id),
            section.required("topic", topic),
        );
        section.finish();
        let (key, key_id, team_id, topic) = (settings.0?, settings.1?, settings.2?, settings.3?);
        Some(Self { key, key_id, team_id, topic, environment, endpoint, sandbox_endpoint, ca_file })
    }
}

impl ProviderSettings for ApnsSettings {
    fn defaults(&self) -> ProviderDefaults {
        platform::defaults(self.environment, &self.topic)
    }

    fn changes_for_restart(&self, new: &Self) -> Vec<&'static str> {
        let environment = (self.environment != new.environment).then_some("environment");
        let topic = (self.topic != new.topic).then_some("topic (for requests that name one)");
        environment.into_iter().chain(topic).collect()
    }

    fn connections_max(&self, _: u32) -> usize {
        LANES * (CONNECTIONS + OTHER_CONNECTIONS)
    }

    async fn open(&self, lane: LaneOptions) -> Result<Sender, SetupError> {
        let environment = lane.key.environment().unwrap_or(self.environment);
        ApnsClient::new(self, environment, CONNECTIONS, lane.proxy.as_deref()).map(Sender::from)
    }
}

fn apple_id(text: &str) -> Result<String, &'static str> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then(|| text.to_owned()).ok_or("must be letters and digits, as Apple shows it")
}

fn bundle_id(text: &str) -> Result<String, &'static str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let good = !text.is_empty() && text.bytes().all(known);
    good.then(|| text.to_owned()).ok_or("must be a bundle id, such as \"com.example.shop\"")
}

fn environment(text: &str) -> Result<Environment, &'static str> {
    let named = [PRODUCTION, SANDBOX].into_iter().find(|environment| environment.as_str() == text);
    named.ok_or("must be \"production\" or \"sandbox\"")
}
