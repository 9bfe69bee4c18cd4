//! A workload identity: Google's JSON file of the type `external_account`, which has no key. The subject token, which
//! another issuer signed, is exchanged for an access token of Google (RFC 8693;
//! docs/providers.md#google-access-tokens).

use std::collections::HashMap;
use std::path::Path;

use http::{HeaderName, HeaderValue, Uri};
use serde::Deserialize;
use serde::de::IgnoredAny;
use yup_oauth2::external_account::{
    CredentialSource, ExternalAccountSecret, UrlCredentialSourceFormat as Format,
};

use crate::provider::Fingerprint;

/// The value of `type` in the file.
const TYPE: &str = "external_account";
/// Without `ca_file`, tokens are exchanged on hosts below this domain only.
const GOOGLE: &str = ".googleapis.com";

/// An `external_account` file that can't be used. The text never quotes the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExternalAccountError {
    /// The file is not JSON, or a member is missing or of another type.
    #[error("it is not JSON of the type external_account: line {line}, column {column}")]
    Form {
        /// The line where parsing failed, from 1.
        line: usize,
        /// The column where parsing failed, from 1.
        column: usize,
    },
    /// A URL that receives the subject token or Google's token is not a host of Google.
    #[error("{0} must be an https URL on *.googleapis.com (on another host only with ca_file)")]
    NotGoogle(&'static str),
    /// The kind of `credential_source` is not supported.
    #[error("a credential_source of the kind {0} is not supported: only file and url are")]
    Source(&'static str),
    /// `credential_source` has neither `file` nor `url`, or both.
    #[error("credential_source must have either file or url")]
    NoSource,
    /// `credential_source.url` is not an http or https URL.
    #[error("credential_source.url must be an http or https URL")]
    SourceUrl,
    /// `credential_source.headers` has an invalid name or value.
    #[error("credential_source.headers must be names and values of HTTP headers")]
    Headers,
    /// `credential_source.format` is unknown, or lacks the name of the field.
    #[error(
        "credential_source.format must be of the type text or, for a url, json with subject_token_field_name"
    )]
    Format,
}

/// The content of an `external_account` file, checked.
pub(crate) struct ExternalAccount {
    secret: ExternalAccountSecret,
}

#[derive(Deserialize)]
struct Account {
    #[serde(rename = "type")]
    kind: String,
    audience: String,
    subject_token_type: String,
    token_url: String,
    service_account_impersonation_url: Option<String>,
    credential_source: Source,
}

#[derive(Deserialize)]
struct Source {
    file: Option<String>,
    url: Option<String>,
    headers: Option<HashMap<String, String>>,
    format: Option<SourceFormat>,
    executable: Option<IgnoredAny>,
    certificate: Option<IgnoredAny>,
    /// Only sources for AWS have this member. They are not supported.
    environment_id: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct SourceFormat {
    #[serde(rename = "type")]
    kind: Option<String>,
    subject_token_field_name: Option<String>,
}

impl ExternalAccount {
    /// Parses the text of the file. Unless `any_host`, tokens may be sent to hosts of Google only.
    ///
    /// # Errors
    /// Returns the first fault of the file.
    pub(crate) fn parse(json: &str, any_host: bool) -> Result<Self, ExternalAccountError> {
        let form = |line, column| ExternalAccountError::Form { line, column };
        let account: Account =
            serde_json::from_str(json).map_err(|error| form(error.line(), error.column()))?;
        if account.kind != TYPE {
            return Err(form(1, 1));
        }
        for (name, url) in [
            ("token_url", Some(&account.token_url)),
            ("service_account_impersonation_url", account.service_account_impersonation_url.as_ref()),
        ] {
            if url.is_some_and(|url| !is_google(url, any_host)) {
                return Err(ExternalAccountError::NotGoogle(name));
            }
        }
        let secret = ExternalAccountSecret {
            audience: account.audience,
            subject_token_type: account.subject_token_type,
            service_account_impersonation_url: account.service_account_impersonation_url,
            token_url: account.token_url,
            credential_source: account.credential_source.check()?,
            key_type: account.kind,
        };
        Ok(Self { secret })
    }

    /// The file with the subject token, if the source is a file.
    pub(crate) fn subject_token_file(&self) -> Option<&Path> {
        match &self.secret.credential_source {
            CredentialSource::File { file } => Some(Path::new(file)),
            CredentialSource::Url { .. } => None,
        }
    }

    /// Whether the exchanged token is used to impersonate a service account.
    pub(super) fn impersonates(&self) -> bool {
        self.secret.service_account_impersonation_url.is_some()
    }

    pub(super) fn into_secret(self) -> ExternalAccountSecret {
        self.secret
    }

    /// Identifies the workload identity. The subject token is left out, because each node may have a different one.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let secret = &self.secret;
        let impersonation = secret.service_account_impersonation_url.as_deref().unwrap_or_default();
        let (source, headers) = match &secret.credential_source {
            CredentialSource::File { file } => (format!("file {file}"), String::new()),
            CredentialSource::Url { url, headers, format } => {
                let mut headers: Vec<_> = headers.iter().flatten().collect();
                headers.sort_unstable();
                (format!("url {url} {format:?}"), format!("{headers:?}"))
            }
        };
        let parts = [
            &secret.audience,
            &secret.subject_token_type,
            &secret.token_url,
            impersonation,
            &source,
            &headers,
        ];
        Fingerprint::of(&parts.map(str::as_bytes))
    }
}

impl Source {
    fn check(self) -> Result<CredentialSource, ExternalAccountError> {
        let unsupported = [
            (self.executable.is_some(), "executable"),
            (self.environment_id.is_some(), "aws"),
            (self.certificate.is_some(), "certificate"),
        ];
        if let Some((_, kind)) = unsupported.into_iter().find(|(given, _)| *given) {
            return Err(ExternalAccountError::Source(kind));
        }
        let format = match self.format {
            None => Format::Text,
            Some(SourceFormat { kind, subject_token_field_name }) => {
                match (kind.as_deref(), subject_token_field_name) {
                    (None | Some("text"), _) => Format::Text,
                    (Some("json"), Some(subject_token_field_name)) => {
                        Format::Json { subject_token_field_name }
                    }
                    _ => return Err(ExternalAccountError::Format),
                }
            }
        };
        match (self.file, self.url) {
            // yup-oauth2 would use the whole JSON file as the token.
            (Some(_), None) if !matches!(format, Format::Text) => Err(ExternalAccountError::Format),
            (Some(file), None) if !file.is_empty() => Ok(CredentialSource::File { file }),
            (None, Some(url)) => {
                if !is_http(&url) {
                    return Err(ExternalAccountError::SourceUrl);
                }
                let is_header = |(name, value): (&String, &String)| {
                    HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok()
                };
                if !self.headers.iter().flatten().all(is_header) {
                    return Err(ExternalAccountError::Headers);
                }
                Ok(CredentialSource::Url { url, headers: self.headers, format })
            }
            _ => Err(ExternalAccountError::NoSource),
        }
    }
}

/// Whether a token may be sent to this URL.
fn is_google(url: &str, any_host: bool) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    let authority = url.authority().filter(|authority| !authority.as_str().contains('@'));
    let host = authority.map(|authority| authority.host().to_ascii_lowercase()).unwrap_or_default();
    url.scheme_str() == Some("https") && !host.is_empty() && (any_host || host.ends_with(GOOGLE))
}

fn is_http(url: &str) -> bool {
    let url: Option<Uri> = url.parse().ok();
    url.is_some_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|h| !h.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn file(change: impl FnOnce(&mut Value)) -> String {
        let mut json = json!({
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/k8s",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "service_account_impersonation_url":
                "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken",
            "credential_source": {"file": "/var/run/token"},
        });
        change(&mut json);
        json.to_string()
    }

    fn read(change: impl FnOnce(&mut Value)) -> Result<ExternalAccount, ExternalAccountError> {
        ExternalAccount::parse(&file(change), false)
    }

    fn refused(change: impl FnOnce(&mut Value)) -> ExternalAccountError {
        read(change).err().expect("refused")
    }

    #[test]
    fn tokens_are_sent_to_google_only_unless_a_ca_file_is_configured() {
        for name in ["token_url", "service_account_impersonation_url"] {
            for url in [
                "http://sts.googleapis.com/v1/token",
                "https://sts.googleapis.com.example/v1/token",
                "https://evilgoogleapis.com/v1/token",
                "https://googleapis.com/v1/token",
                "https://sts.googleapis.com@evil.example/v1/token",
                "https://a@sts.googleapis.com/v1/token",
                "sts.googleapis.com",
                "",
            ] {
                assert_eq!(
                    refused(|json| json[name] = url.into()),
                    ExternalAccountError::NotGoogle(name),
                    "{url}"
                );
            }
            let elsewhere = file(|json| json[name] = "https://localhost:1/token".into());
            assert!(ExternalAccount::parse(&elsewhere, true).is_ok());
            let plain = file(|json| json[name] = "http://localhost:1/token".into());
            assert!(ExternalAccount::parse(&plain, true).is_err(), "never without TLS");
        }
        assert!(read(|json| json["token_url"] = "https://STS.eu.googleapis.com:443/v1/token".into()).is_ok());
    }

    #[test]
    fn only_file_and_url_sources_are_accepted() {
        let source = |source: Value| read(|json| json["credential_source"] = source);
        let refused = |value: Value| source(value).err().expect("refused");
        assert_eq!(
            refused(json!({"executable": {"command": "x"}})),
            ExternalAccountError::Source("executable")
        );
        let aws =
            json!({"environment_id": "aws1", "url": "http://169.254.169.254/x", "region_url": "http://y"});
        assert_eq!(refused(aws), ExternalAccountError::Source("aws"));
        assert_eq!(refused(json!({"certificate": {}})), ExternalAccountError::Source("certificate"));
        for none in [json!({}), json!({"file": ""}), json!({"file": "/a", "url": "http://b"})] {
            assert_eq!(refused(none), ExternalAccountError::NoSource);
        }
        for url in ["ftp://a/b", "http://", "/relative", "http://a b"] {
            assert_eq!(refused(json!({"url": url})), ExternalAccountError::SourceUrl, "{url}");
        }
        for headers in [json!({"a b": "c"}), json!({"a": "b\nc"})] {
            assert_eq!(
                refused(json!({"url": "http://a", "headers": headers})),
                ExternalAccountError::Headers
            );
        }
        let json_format = json!({"type": "json", "subject_token_field_name": "value"});
        for wrong in [
            json!({"url": "http://a", "format": {"type": "json"}}),
            json!({"url": "http://a", "format": {"type": "xml"}}),
            json!({"file": "/a", "format": json_format}),
        ] {
            assert_eq!(refused(wrong), ExternalAccountError::Format);
        }
        let good = json!({"url": "http://a", "headers": {"Metadata": "True"}, "format": json_format});
        assert_eq!(source(good).expect("a URL").subject_token_file(), None);
        let good = source(json!({"file": "/a", "format": {"type": "text"}})).expect("a file");
        assert_eq!(good.subject_token_file(), Some(Path::new("/a")));
    }

    #[test]
    fn an_invalid_file_is_never_quoted() {
        for wrong in [
            file(|json| json["type"] = "hunter2".into()),
            file(|json| json["audience"] = 7.into()),
            "\"hunter2\"".to_owned(),
        ] {
            let told = ExternalAccount::parse(&wrong, false).err().expect("refused").to_string();
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn the_fingerprint_covers_the_identity() {
        let print = |change: fn(&mut Value)| read(change).expect("a usable file").fingerprint();
        let base = print(|_| {});
        assert_eq!(base, print(|json| json["universe_domain"] = "googleapis.com".into()));
        for change in [
            (|json| json["audience"] = "//other".into()) as fn(&mut Value),
            |json| json["subject_token_type"] = "urn:other".into(),
            |json| json["token_url"] = "https://sts.eu.googleapis.com/v1/token".into(),
            |json| json["service_account_impersonation_url"] = Value::Null,
            |json| json["credential_source"] = json!({"file": "/var/run/other"}),
            |json| json["credential_source"] = json!({"url": "http://a"}),
            |json| json["credential_source"] = json!({"url": "http://a", "headers": {"a": "b"}}),
        ] {
            assert_ne!(base, print(change));
        }
    }
}
