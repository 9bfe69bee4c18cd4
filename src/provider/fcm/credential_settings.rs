//! The credential settings of `[apps.<name>.fcm]`: a service account's key, a workload identity or the metadata
//! server, and the Firebase project.

use std::collections::HashMap;

use http::Uri;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::error::Category;

use super::credential::ExternalAccount;
use crate::provider::Fingerprint;
use crate::settings::{Secret, Section};

/// The credential that a lane fetches access tokens with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GoogleCredential {
    /// Google's JSON of a service account, with its private key.
    ServiceAccount(Secret),
    /// Google's JSON of the type `external_account`, which holds no key.
    ExternalAccount {
        /// The text of the file. Its form was checked when the configuration was read.
        account: Secret,
        /// The fingerprint of the subject token file. `None` if the source is no file, or the file can't be read now.
        subject_token: Option<Fingerprint>,
    },
    /// The metadata server: Google's own for `None`, else the one at this `http://host:port`.
    MetadataServer(Option<String>),
}

impl GoogleCredential {
    /// The setting that gave the credential, with its file, variable or line.
    pub(super) fn setting(&self) -> &str {
        match self {
            Self::ServiceAccount(account) | Self::ExternalAccount { account, .. } => account.source(),
            Self::MetadataServer(_) => "credentials",
        }
    }
}

/// The members that a service account's file must have. The provider reads the whole file later.
#[derive(Deserialize)]
struct ServiceAccount {
    project_id: String,
    client_email: String,
    private_key: String,
    token_uri: String,
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: String,
}

/// Reads the credential and the id of its project.
pub(super) fn read(section: &mut Section<'_>) -> Option<(GoogleCredential, String)> {
    let secret = section.secret("service_account", "service_account_file");
    let by_default = section.parsed("credentials", default);
    let project_id = section.parsed("project_id", project_id);
    let endpoint = section.parsed("metadata_endpoint", metadata_endpoint);
    if !section.has("credentials") {
        if section.has("metadata_endpoint") {
            section.fault("metadata_endpoint", "takes effect only with credentials = \"default\"");
        }
        let secret = section.required("service_account", secret)?;
        let secret_key = if secret.file().is_some() { "service_account_file" } else { "service_account" };
        return match is_external_account(&secret) {
            true => external_account(section, secret_key, secret).zip(required(section, project_id)),
            false => service_account(section, secret_key, secret, project_id),
        };
    }
    if section.has("service_account") || section.has("service_account_file") {
        section.fault("credentials", "give either this or a service_account, not both");
        return None;
    }
    let project_id = required(section, project_id);
    by_default.map(|()| GoogleCredential::MetadataServer(endpoint)).zip(project_id)
}

fn required(section: &Section<'_>, project_id: Option<String>) -> Option<String> {
    section.required("project_id", project_id)
}

fn service_account(
    section: &Section<'_>,
    key: &str,
    secret: Secret,
    project_id: Option<String>,
) -> Option<(GoogleCredential, String)> {
    let named = match project_of(&secret) {
        Ok(named) => named,
        Err(message) => {
            section.fault(key, message);
            return None;
        }
    };
    if project_id.is_some_and(|given| given != named) {
        section.fault("project_id", "names another project than the service account: leave it out");
    }
    Some((GoogleCredential::ServiceAccount(secret), named))
}

fn external_account(section: &Section<'_>, key: &str, account: Secret) -> Option<GoogleCredential> {
    match ExternalAccount::parse(account.expose(), section.has("ca_file")) {
        Ok(parsed) => {
            let subject_token = parsed.subject_token_file().and_then(|file| section.file_read_later(file));
            let subject_token = subject_token.map(|text| Fingerprint::of(&[text.expose().as_bytes()]));
            Some(GoogleCredential::ExternalAccount { account, subject_token })
        }
        Err(error) => {
            section.fault(key, format!("can't be used: {error}"));
            None
        }
    }
}

fn is_external_account(secret: &Secret) -> bool {
    serde_json::from_str::<Typed>(secret.expose()).is_ok_and(|typed| typed.kind == "external_account")
}

fn project_of(secret: &Secret) -> Result<String, String> {
    if let Some(other) = other_file(secret.expose()) {
        return Err(format!(
            "is {other}, and no service account: in the Firebase console, Project settings, Service accounts, \
             \"Generate new private key\" gives its file"
        ));
    }
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
    if project_id(&account.project_id).is_err() {
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

/// Describes another file of Google's that is often given instead of a service account's. Each is recognised by a
/// member that only this kind of file has.
fn other_file(json: &str) -> Option<&'static str> {
    let file: HashMap<String, IgnoredAny> = serde_json::from_str(json).ok()?;
    let others = [
        ("project_info", "a google-services.json, which is an Android app's configuration"),
        ("installed", "the file of an OAuth client"),
        ("web", "the file of an OAuth client"),
    ];
    others.into_iter().find(|(member, _)| file.contains_key(*member)).map(|(_, name)| name)
}

fn default(text: &str) -> Result<(), &'static str> {
    (text == "default").then_some(()).ok_or("must be \"default\", which is Google's metadata server")
}

fn project_id(text: &str) -> Result<String, &'static str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.');
    let good = !text.is_empty() && text.bytes().all(known);
    good.then(|| text.to_owned()).ok_or("must be the id of a project, such as \"shop-1\"")
}

/// The URL is plain HTTP, because the metadata server belongs to this machine and has no TLS.
fn metadata_endpoint(text: &str) -> Result<String, &'static str> {
    let wrong = "must be http:// and a host, perhaps with a port, such as \"http://127.0.0.1:9445\"";
    let url: Uri = text.parse().map_err(|_| wrong)?;
    let bare = matches!(url.path(), "" | "/") && url.query().is_none();
    let authority =
        url.authority().filter(|authority| bare && !authority.as_str().contains('@')).ok_or(wrong)?;
    match url.scheme_str() {
        Some("http") if !authority.host().is_empty() => Ok(format!("http://{authority}")),
        _ => Err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::fcm::FcmSettings;
    use crate::provider::section_folder::SectionFolder;

    const EXTERNAL: &str = r#"{"type":"external_account","audience":"//iam.googleapis.com/x","subject_token_type":"urn:x",
        "token_url":"https://sts.googleapis.com/v1/token","credential_source":{"file":"FILE"}}"#;

    const ACCOUNT: &str = r#"{"type":"service_account","project_id":"shop-1","client_email":"a@b","private_key":"-----BEGIN PRIVATE KEY-----x","token_uri":"https://oauth2.example/token"}"#;

    /// A section with these lines, and the credential files that the lines may name.
    fn folder(lines: &str) -> SectionFolder {
        let folder = SectionFolder::new(lines);
        folder.write("firebase.json", ACCOUNT);
        folder.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
        folder.write("external.json", &EXTERNAL.replace("FILE", &folder.path("token")));
        folder.write(
            "executable.json",
            &EXTERNAL.replace(r#""file":"FILE""#, r#""executable":{"command":"x"}"#),
        );
        folder.write("google-services.json", r#"{"project_info":{"project_id":"shop-1"},"client":[]}"#);
        folder.write("installed.json", r#"{"installed":{"client_id":"x","client_secret":"hunter2"}}"#);
        folder.write("web.json", r#"{"web":{"client_id":"x","client_secret":"hunter2"}}"#);
        folder.write("elsewhere.json", &EXTERNAL.replace("sts.googleapis.com", "localhost:1"));
        folder
    }

    fn settings(folder: &SectionFolder) -> FcmSettings {
        folder.read(FcmSettings::read).expect("it is right")
    }

    #[test]
    fn google_credentials_without_a_key_are_accepted() {
        let default = settings(&folder("credentials = \"default\"\nproject_id = \"shop-1\""));
        assert_eq!(default.credential, GoogleCredential::MetadataServer(None));
        assert_eq!(default.project_id, "shop-1");
        let lines =
            "credentials = \"default\"\nproject_id = \"shop-1\"\nmetadata_endpoint = \"http://[::1]:9445/\"";
        let elsewhere = settings(&folder(lines)).credential;
        assert_eq!(elsewhere, GoogleCredential::MetadataServer(Some("http://[::1]:9445".to_owned())));
        let external = settings(&folder("service_account_file = \"external.json\"\nproject_id = \"shop-1\""));
        assert!(matches!(external.credential, GoogleCredential::ExternalAccount { subject_token: None, .. }));
        let lines =
            "service_account_file = \"elsewhere.json\"\nproject_id = \"shop-1\"\nca_file = \"ca.pem\"";
        assert!(matches!(settings(&folder(lines)).credential, GoogleCredential::ExternalAccount { .. }));
        let same = settings(&folder("service_account_file = \"firebase.json\"\nproject_id = \"shop-1\""));
        assert!(matches!(same.credential, GoogleCredential::ServiceAccount(_)));
    }

    #[test]
    fn a_changed_subject_token_changes_the_configuration() {
        let folder = folder("service_account_file = \"external.json\"\nproject_id = \"shop-1\"");
        let missing = settings(&folder);
        folder.write("token", "a");
        let first = settings(&folder);
        folder.write("token", "b");
        let second = settings(&folder);
        assert!(missing != first && first != second && second == settings(&folder));
        assert!(!format!("{second:?}").contains("sts.googleapis.com"), "the file is a secret");
    }

    #[test]
    fn contradictory_settings_are_reported() {
        let faults = |lines: &str| {
            let faults = folder(lines).read(FcmSettings::read).expect_err("wrong");
            let faults = faults.iter().map(|fault| format!("{}: {}", fault.key, fault.message));
            faults.collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(
            [
                "credentials = \"default\"",
                "credentials = \"metadata\"\nproject_id = \"shop-1\"",
                "credentials = \"default\"\nproject_id = \"shop-1\"\nservice_account_file = \"firebase.json\"",
                "credentials = \"default\"\nproject_id = \"a/b\"\nmetadata_endpoint = \"https://u:p@h\"",
                "service_account_file = \"firebase.json\"\nproject_id = \"other\"",
                "service_account_file = \"firebase.json\"\nmetadata_endpoint = \"http://localhost\"",
                "service_account_file = \"external.json\"",
                "service_account_file = \"executable.json\"\nproject_id = \"shop-1\"",
                "service_account_file = \"elsewhere.json\"\nproject_id = \"shop-1\"",
                "project_id = \"shop-1\"",
                "service_account_file = \"google-services.json\"",
                "service_account_file = \"installed.json\"",
                "service_account_file = \"web.json\"",
            ]
            .map(faults)
            .join("\n"),
            @r#"
        project_id: is missing
        credentials: must be "default", which is Google's metadata server
        credentials: give either this or a service_account, not both
        project_id: must be the id of a project, such as "shop-1"
        metadata_endpoint: must be http:// and a host, perhaps with a port, such as "http://127.0.0.1:9445"
        project_id: names another project than the service account: leave it out
        metadata_endpoint: takes effect only with credentials = "default"
        project_id: is missing
        service_account_file: can't be used: a credential_source of the kind executable is not supported: only file and url are
        service_account_file: can't be used: token_url must be an https URL on *.googleapis.com (on another host only with ca_file)
        service_account: is missing (or service_account_file)
        service_account_file: is a google-services.json, which is an Android app's configuration, and no service account: in the Firebase console, Project settings, Service accounts, "Generate new private key" gives its file
        service_account_file: is the file of an OAuth client, and no service account: in the Firebase console, Project settings, Service accounts, "Generate new private key" gives its file
        service_account_file: is the file of an OAuth client, and no service account: in the Firebase console, Project settings, Service accounts, "Generate new private key" gives its file
        "#
        );
    }
}
