//! `[apps.<name>.fcm]`: a credential, its project, and the project's quota.

use super::endpoint::Endpoint;
use super::google::{self, GoogleCredential};
use super::secret::CaFile;
use super::section::Section;

/// FCM's default quota of a project, in messages a minute (docs/providers.md#fcm-quotas).
const MESSAGES_PER_MINUTE: u64 = 600_000;

/// `[apps.<name>.fcm]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FcmSettings {
    /// How it comes by access tokens.
    pub credential: GoogleCredential,
    /// The project that is sent through.
    pub project_id: String,
    /// The Android channel where a notification names none.
    pub channel: Option<String>,
    /// The project's quota, in messages a minute.
    pub messages_per_minute: u32,
    /// Instead of Google's host.
    pub endpoint: Option<Endpoint>,
    /// Trusted besides the system's, for what gives access tokens too.
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
