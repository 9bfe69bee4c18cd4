//! The provider of a made-up push service, as small as the port allows, and unlike the built-in ones: a target has two
//! parts, each target has its own origin, and each message is sealed for its target.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::CONTENT_TYPE;
use http::uri::Authority;
use http::{Request, StatusCode, Uri, Version};
use pushpost::domain::{
    App, BadToken, Certainty, Content, DeviceToken, Environment, Environments, ErrorLocation, FailureDomain,
    InputCode, Kind, MinDelay, NotificationId, OperatorAdvice, Outcome, Platform, PlatformFacts,
    ProviderDefaults, Reason, ValidationError,
};
use pushpost::provider::transport::{Pool, PoolStats};
use pushpost::provider::{
    AnySettings, Attempt, Fingerprint, LaneOptions, PAYLOAD_LIMIT_MIN, Provider, ProviderClient,
    ProviderSettings, Sender, SetupError, exchange, origin, pool_settings, unanswered,
};
use pushpost::settings::{CaFile, Endpoint, Section};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// Targets at `localhost`, of which there are several origins.
pub(super) const NAMED: Environment = Environment::new(1, "named");
/// Targets at an address.
pub(super) const NUMBERED: Environment = Environment::new(2, "numbered");

/// The platform. A token is `{"endpoint": "https://HOST:PORT/ID", "key": "…"}`.
pub(super) const PLATFORM: Platform = Platform::new(&PlatformFacts {
    name: "beacon",
    title: "Beacon",
    token_title: "a Beacon token",
    code: 77,
    environments: Environments::InToken { all: &[NAMED, NUMBERED], of: environment },
    kinds: &[Kind::Alert],
    parse_token,
    has_object_tokens: true,
    names_messages: false,
    other_environment_reason: None,
    advice: OperatorAdvice::GENERAL,
});

const BAD_TOKEN: BadToken = BadToken("a Beacon token is an object with an https endpoint and a key");

/// Takes the object that an app has, and the stored form.
fn parse_token(text: &str) -> Result<String, BadToken> {
    let object: Option<Map<String, Value>> = serde_json::from_str(text).ok();
    let part = |name: &str| object.as_ref()?.get(name)?.as_str();
    let (endpoint, key) = part("endpoint").zip(part("key")).or(text.split_once(' ')).ok_or(BAD_TOKEN)?;
    let is_endpoint = endpoint.parse().is_ok_and(|uri: Uri| uri.scheme_str() == Some("https"));
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_endpoint && is_key { Ok(format!("{endpoint} {key}")) } else { Err(BAD_TOKEN) }
}

fn environment(token: &DeviceToken) -> Environment {
    environment_at(token.identity())
}

fn environment_at(url: &str) -> Environment {
    if url.starts_with("https://localhost:") { NAMED } else { NUMBERED }
}

/// Its statements about requests and settings.
#[derive(Debug)]
pub(super) struct Beacon;

impl Provider for Beacon {
    fn platform(&self) -> Platform {
        PLATFORM
    }

    fn read_settings(&self, mut section: Section<'_>) -> Option<AnySettings> {
        let origins = section.parsed_list("origins", Endpoint::parse);
        let origins = section.required("origins", origins);
        let ca_file = section.ca_file("ca_file");
        section.finish();
        Some(AnySettings::new(BeaconSettings { origins: origins?, ca_file }))
    }

    fn override_members(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn check_overrides(&self, content: &Content, _: &App) -> Vec<ValidationError> {
        let unknown = content.overrides.of(PLATFORM).keys().filter(|name| *name != "color");
        let fault = |name: &String| {
            let place = ErrorLocation::member("#/beacon", name);
            ValidationError::at(place, InputCode::NotOverridable, "a beacon has a color only")
        };
        unknown.map(fault).collect()
    }

    fn check_size(&self, content: &Content, _: &App) -> Vec<ValidationError> {
        let is_too_large = message(content).len() > PAYLOAD_LIMIT_MIN;
        let fault = || ValidationError::at("#", InputCode::PayloadTooLarge, "larger than Beacon takes");
        is_too_large.then(fault).into_iter().collect()
    }
}

/// The part of a message that all targets share.
fn message(content: &Content) -> String {
    let mut message = Map::new();
    message.insert("title".to_owned(), json!(content.title));
    message.extend(content.overrides.of(PLATFORM).clone());
    Value::Object(message).to_string()
}

/// The seal of a message for one target.
pub(super) fn seal(key: &str, message: &str) -> String {
    hex::encode(Sha256::digest(format!("{key}:{message}")))
}

/// The section `[apps.<name>.beacon]`.
#[derive(PartialEq, Eq, Debug)]
struct BeaconSettings {
    /// The origins that a token may name. No message goes elsewhere.
    origins: Vec<Endpoint>,
    ca_file: Option<CaFile>,
}

impl ProviderSettings for BeaconSettings {
    fn defaults(&self) -> ProviderDefaults {
        ProviderDefaults::default()
    }

    fn changes_for_restart(&self, _: &Self) -> Vec<&'static str> {
        Vec::new()
    }

    fn connections_max(&self, _: u32) -> usize {
        2 * self.origins.len()
    }

    async fn open(&self, lane: LaneOptions) -> Result<Sender, SetupError> {
        let is_of_lane =
            |origin: &&Endpoint| lane.key.environment() == Some(environment_at(&origin.to_string()));
        let mut pools = Vec::new();
        for endpoint in self.origins.iter().filter(is_of_lane) {
            let (destination, authority) =
                origin(Some(endpoint), "", self.ca_file.as_ref(), lane.proxy.as_deref())?;
            pools.push((authority, Pool::new(destination, pool_settings(1, 100))));
        }
        Ok(Sender::further(BeaconClient { pools }))
    }
}

/// The connections of a lane: a pool for each of its origins.
struct BeaconClient {
    pools: Vec<(Authority, Pool<()>)>,
}

impl ProviderClient for BeaconClient {
    type Message = String;

    fn provider(&self) -> &'static dyn Provider {
        &Beacon
    }

    fn prepare(&self, _: NotificationId, content: &Content) -> String {
        message(content)
    }

    async fn send(&self, message: &String, attempt: &Attempt<'_>) -> Outcome {
        let (endpoint, key) = attempt.token.expose().split_once(' ').unwrap();
        let uri: Uri = endpoint.parse().unwrap();
        let own = self.pools.iter().find(|(authority, _)| uri.authority() == Some(authority));
        let Some((_, pool)) = own else { return Outcome::Rejected { reason: Reason::new("ForeignOrigin") } };
        let body = Bytes::from(json!({"message": message, "seal": seal(key, message)}).to_string());
        let head = |_: &_| {
            let request = Request::post(uri.clone()).version(Version::HTTP_2);
            request.header(CONTENT_TYPE, "application/json").body(()).unwrap()
        };
        match exchange(pool, attempt.deadline, attempt.validity, head, &body).await {
            Ok(response) => outcome(response.status),
            Err(error) => unanswered(&error),
        }
    }

    async fn reach(&self, _now: DateTime<Utc>, deadline: Instant) -> Result<(), Outcome> {
        for (_, pool) in &self.pools {
            pool.reserve(deadline).await.map_err(|error| unanswered(&error))?;
        }
        Ok(())
    }

    fn fingerprint(&self) -> Fingerprint {
        let origins: Vec<&[u8]> =
            self.pools.iter().map(|(authority, _)| authority.as_str().as_bytes()).collect();
        Fingerprint::of(&origins)
    }

    fn origins(&self) -> Vec<Authority> {
        self.pools.iter().map(|(authority, _)| authority.clone()).collect()
    }

    fn stats(&self) -> PoolStats {
        self.pools.iter().map(|(_, pool)| pool.stats()).sum()
    }

    async fn shutdown(&self) {
        for (_, pool) in &self.pools {
            pool.shutdown().await;
        }
    }
}

/// What an answer means.
fn outcome(status: StatusCode) -> Outcome {
    match status {
        StatusCode::CREATED => Outcome::Accepted { provider_id: None },
        StatusCode::GONE => {
            let (reason, certainty) = (Reason::new("Gone"), Certainty::Certain);
            Outcome::TokenDead { reason, since: None, certainty }
        }
        _ => Outcome::RetryTarget {
            reason: Reason::new(status.as_str()),
            min_delay: MinDelay::ServerError,
            failure_domain: FailureDomain::Provider,
        },
    }
}
