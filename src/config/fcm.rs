//! `[apps.<name>.fcm]`: a service account and its project's quota.

use serde::Deserialize;
use serde_json::error::Category;

use super::endpoint::Endpoint;
use super::secret::{CaFile, Secret};
use super::section::Section;

/// FCM's default quota of a project, in messages a minute (docs/providers.md 3.8).
const MESSAGES_PER_MINUTE: u64 = 600_000;

/// `[apps.<name>.fcm]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FcmSettings {
    /// The service account: Google's JSON, with the private key.
    pub service_account: Secret,
    /// The project that the service account names.
    pub project_id: String,
    /// The Android channel where a notification names none.
    pub channel: Option<String>,
    /// The project's quota, in messages a minute.
    pub messages_per_minute: u32,
    /// Instead of Google's host.
    pub endpoint: Option<Endpoint>,
    /// Trusted besides the system's, for the service account's `token_uri` too.
    pub ca_file: Option<CaFile>,
}

/// What must be in a service account; the provider reads it whole.
#[derive(Deserialize)]
struct ServiceAccount {
    project_id: String,
    client_email: String,
    private_key: String,
    token_uri: String,
}

impl FcmSettings {
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let secret = section.secret("service_account", "service_account_file");
        let secret = section.required("service_account", secret);
        let project_id = secret.as_ref().and_then(|secret| match project_id(secret) {
            Ok(project_id) => Some(project_id),
            Err(message) => {
                let key = if secret.file().is_some() { "service_account_file" } else { "service_account" };
                section.fault(key, message);
                None
            }
        });
        let channel = section.text("channel");
        let quota = section.integer("messages_per_minute", 1..=u32::MAX.into(), MESSAGES_PER_MINUTE);
        let endpoint = section.parsed("endpoint", Endpoint::parse);
        let ca_file = section.ca_file("ca_file");
        section.finish();
        Some(Self {
            service_account: secret?,
            project_id: project_id?,
            channel,
            messages_per_minute: u32::try_from(quota).unwrap_or(u32::MAX),
            endpoint,
            ca_file,
        })
    }
}

fn project_id(secret: &Secret) -> Result<String, String> {
    // The parser's own message could quote the file.
    let account: ServiceAccount = serde_json::from_str(secret.expose()).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let why = match error.classify() {
            Category::Syntax => "not JSON: ",
            Category::Eof => "cut off: ",
            Category::Data | Category::Io => "a member is missing or of another type: ",
        };
        format!(
            "is no service account: JSON with project_id, client_email, private_key and token_uri \
             ({why}line {line}, column {column})"
        )
    })?;
    let project = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.');
    if account.project_id.is_empty() || !account.project_id.bytes().all(project) {
        return Err("has no usable project_id".to_owned());
    }
    if account.client_email.is_empty() {
        return Err("has no client_email".to_owned());
    }
    if !account.private_key.contains("PRIVATE KEY-----") {
        return Err("has no private_key in PEM".to_owned());
    }
    if !account.token_uri.starts_with("https://") {
        return Err("has a token_uri that does not begin with https://".to_owned());
    }
    Ok(account.project_id)
}
