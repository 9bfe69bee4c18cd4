//! `[apps.<name>.fcm]`: the credential, the Firebase project and the project's quota of an app's FCM lane.

use super::client::{FcmClient, STREAMS_MAX};
use super::credential_settings::{self, GoogleCredential};
use super::platform;
use crate::domain::ProviderDefaults;
use crate::provider::built_in::Sender;
use crate::provider::provider_settings::{LaneOptions, ProviderSettings, SharedQuota};
use crate::provider::setup::{OTHER_CONNECTIONS, SetupError};
use crate::settings::{CaFile, Endpoint, Section};

/// FCM's default quota of a project, in messages a minute (docs/providers.md#fcm-quotas).
const MESSAGES_PER_MINUTE: u64 = 600_000;

/// Least and most connections per lane. [`connections`] chooses a number between the two.
const CONNECTIONS: (usize, usize) = (2, 64);

/// The settings of `[apps.<name>.fcm]`, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FcmSettings {
    /// The credential that access tokens are fetched with.
    pub credential: GoogleCredential,
    /// The Firebase project that messages are sent through.
    pub project_id: String,
    /// The Android channel of notifications that name none.
    pub channel: Option<String>,
    /// The project's quota, in messages a minute.
    pub messages_per_minute: u32,
    /// The host for messages, instead of Google's host.
    pub endpoint: Option<Endpoint>,
    /// A CA that is trusted in addition to the system's, also for the servers that issue access tokens.
    pub ca_file: Option<CaFile>,
}

impl FcmSettings {
    /// Reads the section. None: it has faults.
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let credential = credential_settings::read(&mut section);
        let channel = section.text("channel");
        let quota = section.integer("messages_per_minute", 1..=u32::MAX.into(), MESSAGES_PER_MINUTE);
        let endpoint = section.parsed("endpoint", Endpoint::parse);
        let ca_file = section.ca_file("ca_file");
        section.finish();
        let (credential, project_id) = credential?;
        Some(Self {
            credential,
            project_id,
            channel,
            messages_per_minute: u32::try_from(quota).unwrap_or(u32::MAX),
            endpoint,
            ca_file,
        })
    }
}

impl ProviderSettings for FcmSettings {
    fn defaults(&self) -> ProviderDefaults {
        platform::defaults(self.channel.clone())
    }

    fn changes_for_restart(&self, _new: &Self) -> Vec<&'static str> {
        Vec::new()
    }

    fn connections_max(&self, max_in_flight: u32) -> usize {
        connections(max_in_flight) + OTHER_CONNECTIONS
    }

    fn quota(&self) -> Option<SharedQuota> {
        let (owner, messages_per_minute) = (self.project_id.clone(), self.messages_per_minute);
        Some(SharedQuota { owner, messages_per_minute })
    }

    async fn open(&self, lane: LaneOptions) -> Result<Sender, SetupError> {
        let client = FcmClient::new(self, connections(lane.max_in_flight), lane.proxy);
        client.await.map(Sender::from)
    }
}

/// Connections that `max_in_flight` requests need.
fn connections(max_in_flight: u32) -> usize {
    let in_flight = usize::try_from(max_in_flight).unwrap_or(usize::MAX);
    in_flight.div_ceil(STREAMS_MAX).clamp(CONNECTIONS.0, CONNECTIONS.1)
}
