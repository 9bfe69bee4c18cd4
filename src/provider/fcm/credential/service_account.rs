//! A Google service account: parses the JSON file with the private key.

use http::Uri;
use serde::Deserialize;

use super::{CredentialError, is_project_id};
use crate::domain::pem;
use crate::provider::Fingerprint;

/// What an access token is asked for with.
#[derive(Deserialize)]
pub(super) struct ServiceAccountKey {
    /// An RSA key in PKCS#8 PEM.
    pub(super) private_key: String,
    pub(super) client_email: String,
    /// The token endpoint.
    pub(super) token_uri: String,
    project_id: Option<String>,
}

/// The content of a service account's file, checked.
pub(super) struct ServiceAccount {
    /// The id of the Firebase project.
    pub(super) project_id: String,
    /// Identifies the credential. Equal on all nodes with the same file.
    pub(super) fingerprint: Fingerprint,
    pub(super) key: ServiceAccountKey,
}

impl ServiceAccount {
    /// Parses the text of the file.
    pub(super) fn parse(json: &str) -> Result<Self, CredentialError> {
        let mut key: ServiceAccountKey = serde_json::from_str(json)
            .map_err(|error| CredentialError::File { line: error.line(), column: error.column() })?;
        let project_id = key.project_id.clone().filter(|id| is_project_id(id));
        let project_id = project_id.ok_or(CredentialError::Field("project_id"))?;
        let uri: Option<Uri> = key.token_uri.parse().ok();
        // Google's URL is https. http is allowed for an emulator on the same machine.
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some())
        {
            return Err(CredentialError::Field("token_uri"));
        }
        key.private_key = pem::with_line_ends(&key.private_key).into_owned();
        let parts = [&key.client_email, &key.private_key, &project_id, &key.token_uri];
        let fingerprint = Fingerprint::of(&parts.map(String::as_bytes));
        Ok(Self { project_id, fingerprint, key })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::pem::PemFault;
    use crate::provider::fcm::GoogleCredential;
    use crate::provider::fcm::credential::FcmCredential;
    use crate::settings::Secret;

    fn file(change: impl FnOnce(&mut Value)) -> String {
        let mut json = json!({
            "type": "service_account", "project_id": "shop-1", "private_key": "KEY",
            "client_email": "push@shop-1.iam.gserviceaccount.com", "token_uri": "https://oauth2.googleapis.com/token"
        });
        change(&mut json);
        json.to_string()
    }

    fn print(change: impl FnOnce(&mut Value)) -> Fingerprint {
        ServiceAccount::parse(&file(change)).expect("a usable file").fingerprint
    }

    #[test]
    fn the_fingerprint_covers_the_credential() {
        let base = print(|_| {});
        assert_eq!(base, print(|json| json["type"] = "other".into()));
        for name in ["project_id", "private_key", "client_email", "token_uri"] {
            let changed =
                print(|json| json[name] = format!("{}x", json[name].as_str().expect("text")).into());
            assert_ne!(base, changed, "{name}");
        }
    }

    #[test]
    fn a_private_key_with_escaped_line_ends_is_the_same_key() {
        let with = |key: &'static str| print(move |json| json["private_key"] = key.into());
        assert_eq!(with("-----BEGIN PRIVATE KEY-----\nKEY\n"), with(r"-----BEGIN PRIVATE KEY-----\nKEY\n"));
    }

    #[test]
    fn an_incomplete_file_is_refused_by_field_and_never_quoted() {
        let refused =
            |change: fn(&mut Value)| ServiceAccount::parse(&file(change)).err().expect("refused").to_string();
        assert!(refused(|json| json["project_id"] = Value::Null).ends_with("project_id"));
        assert!(refused(|json| json["project_id"] = "a/b".into()).ends_with("project_id"));
        assert!(refused(|json| json["token_uri"] = "not a uri".into()).ends_with("token_uri"));
        assert!(refused(|json| json["token_uri"] = "file:///x".into()).ends_with("token_uri"));
        let quoted = ServiceAccount::parse("\"secret\"").err().expect("refused").to_string();
        assert!(!quoted.contains("secret"), "{quoted}");
    }

    #[tokio::test]
    async fn an_invalid_private_key_is_refused_at_setup() {
        let tls = crate::provider::transport::tls(None).expect("roots");
        let settings = GoogleCredential::ServiceAccount(Secret::inline(file(|_| {})));
        let credential = FcmCredential::new(&settings, "shop-1", false).expect("a usable file");
        let error = credential.fetch(&tls, None).await.err().expect("refused");
        assert!(matches!(error, CredentialError::Key(PemFault::Missing(_))), "{error}");
    }
}
