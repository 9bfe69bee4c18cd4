//! `[apps.<name>.fcm]`: the credential, the Firebase project and the project's quota of an app's FCM lane.

use super::google::{self, GoogleCredential};
use crate::settings::{CaFile, Endpoint, Section};

/// FCM's default quota of a project, in messages a minute (docs/providers.md#fcm-quotas).
const MESSAGES_PER_MINUTE: u64 = 600_000;

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
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let credential = google::read(&mut section);
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
