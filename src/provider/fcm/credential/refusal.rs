//! Decides whether a failed fetch of an access token concerns the credential or is temporary
//! (docs/providers.md#google-access-tokens).

use std::io;
use std::path::Path;

use http::StatusCode;
use yup_oauth2::error::{AuthErrorCode, Error};

use crate::domain::Reason;
use crate::provider::fcm::bearer::TokenError;

/// One of the requests that are needed for an access token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Fetches the subject token from `credential_source.url`.
    SubjectToken,
    /// Exchanges an assertion or a subject token for an access token.
    TokenEndpoint,
    /// Exchanges the access token for the access token of a service account.
    Impersonation,
    /// Fetches an access token from the metadata server.
    MetadataServer,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::SubjectToken => "subject token url",
            Self::TokenEndpoint => "token endpoint",
            Self::Impersonation => "impersonation",
            Self::MetadataServer => "metadata server",
        }
    }

    pub(super) fn unavailable(self, what: impl std::fmt::Display) -> TokenError {
        TokenError::Unavailable(Reason::new(&format!("{}: {what}", self.as_str())))
    }

    pub(super) fn rejected(self, what: impl std::fmt::Display) -> TokenError {
        TokenError::Rejected(Reason::new(&format!("{}: {what}", self.as_str())))
    }
}

/// Classifies a failed fetch. `statuses` has one element for each request that was begun, in the order of `steps`.
///
/// The error codes of RFC 6749 5.2 and 4xx statuses concern the credential. All other errors are temporary. The result
/// leaves out error descriptions, because they may quote secrets.
pub(super) fn token_error(error: &Error, steps: &[Step], statuses: &[Option<StatusCode>]) -> TokenError {
    let mut answers = steps.iter().copied().zip(statuses.iter().copied());
    // yup-oauth2 uses an error page as the subject token and goes on. The first failure is the one that counts.
    if let Some((step, Some(status))) = answers.clone().find(|(step, status)| {
        *step == Step::SubjectToken && status.is_some_and(|status| !status.is_success())
    }) {
        return of_status(step, status);
    }
    let Some((step, status)) = answers.next_back() else { return without_request(error) };
    match (error, status) {
        (Error::AuthError(said), _) => of_error_code(&said.error),
        (Error::HttpError(_) | Error::HttpClientError(_), _) => step.unavailable("connection failed"),
        (_, Some(status)) if !status.is_success() => of_status(step, status),
        (Error::CredentialSourceError(_), _) => step.rejected("no token in the answer"),
        (Error::JSONError(_), _) => step.unavailable("not an OAuth answer"),
        _ => step.unavailable("no token"),
    }
}

/// Classifies an error code of RFC 6749 5.2.
pub(super) fn of_error_code(word: &AuthErrorCode) -> TokenError {
    let reason = Reason::of_provider(word.as_str());
    match word {
        // RFC 8693 2.2.2: the audience is refused.
        AuthErrorCode::Other(word) if word == "invalid_target" => TokenError::Rejected(reason),
        AuthErrorCode::Other(_) | AuthErrorCode::ExpiredToken => TokenError::Unavailable(reason),
        _ => TokenError::Rejected(reason),
    }
}

/// Classifies an answer by its status alone.
pub(super) fn of_status(step: Step, status: StatusCode) -> TokenError {
    let may_pass =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    match status.is_client_error() && !may_pass {
        true => step.rejected(format_args!("status {}", status.as_u16())),
        false => step.unavailable(format_args!("status {}", status.as_u16())),
    }
}

/// Refuses an empty subject token file, because Google's answer `invalid_grant` would not name the file.
///
/// # Errors
/// Fails if the file is empty. An unreadable file is reported when the token is fetched.
pub(super) async fn check_subject_token(file: &Path) -> Result<(), TokenError> {
    match tokio::fs::read(file).await {
        Ok(token) if token.trim_ascii().is_empty() => {
            Err(TokenError::Rejected(Reason::new("subject token file: empty")))
        }
        _ => Ok(()),
    }
}

/// Classifies an error before the first request. Only reading the subject token file can fail there.
fn without_request(error: &Error) -> TokenError {
    let rejected = |text| TokenError::Rejected(Reason::new(text));
    let Error::LowLevelError(error) = error else {
        return Step::TokenEndpoint.unavailable("no token");
    };
    match error.kind() {
        io::ErrorKind::NotFound => rejected("subject token file: not found"),
        io::ErrorKind::PermissionDenied => rejected("subject token file: permission denied"),
        io::ErrorKind::InvalidData => rejected("subject token file: not a text"),
        _ => TokenError::Unavailable(Reason::new("subject token file: unreadable")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use yup_oauth2::error::{AuthError, CredentialSourceError};

    use super::*;

    const SERVICE_ACCOUNT: &[Step] = &[Step::TokenEndpoint];
    const WORKLOAD: &[Step] = &[Step::SubjectToken, Step::TokenEndpoint, Step::Impersonation];

    fn said(word: &str) -> Error {
        Error::AuthError(AuthError { error: word.into(), error_description: None, error_uri: None })
    }

    fn html() -> Error {
        Error::JSONError(serde_json::from_str::<Value>("<html>").expect_err("not JSON"))
    }

    fn answered(statuses: &[u16]) -> Vec<Option<StatusCode>> {
        statuses.iter().map(|status| StatusCode::from_u16(*status).ok()).collect()
    }

    fn rejected(text: &str) -> TokenError {
        TokenError::Rejected(Reason::new(text))
    }

    fn unavailable(text: &str) -> TokenError {
        TokenError::Unavailable(Reason::new(text))
    }

    #[test]
    fn oauth_error_codes_concern_the_credential_and_other_errors_are_temporary() {
        let said = |word: &str| token_error(&said(word), SERVICE_ACCOUNT, &answered(&[400]));
        for word in [
            "invalid_grant",
            "invalid_client",
            "unauthorized_client",
            "invalid_scope",
            "access_denied",
            "invalid_target",
        ] {
            assert_eq!(said(word), rejected(word));
        }
        for word in ["internal_failure", "temporarily_unavailable", "server_error"] {
            assert_eq!(said(word), unavailable(word));
        }
        let no_token = token_error(&Error::MissingAccessToken, SERVICE_ACCOUNT, &answered(&[200]));
        assert_eq!(no_token, unavailable("token endpoint: no token"));
    }

    #[test]
    fn an_html_answer_is_classified_by_its_status() {
        let page = |statuses: &[u16]| token_error(&html(), WORKLOAD, &answered(statuses));
        assert_eq!(page(&[200, 200]), unavailable("token endpoint: not an OAuth answer"));
        assert_eq!(page(&[200, 404]), rejected("token endpoint: status 404"));
        assert_eq!(page(&[200, 200, 403]), rejected("impersonation: status 403"));
        assert_eq!(page(&[200, 200, 503]), unavailable("impersonation: status 503"));
        assert_eq!(page(&[200, 200, 429]), unavailable("impersonation: status 429"));
        let metadata = token_error(&html(), &[Step::MetadataServer], &answered(&[404]));
        assert_eq!(metadata, rejected("metadata server: status 404"));
        let silent = token_error(&html(), SERVICE_ACCOUNT, &[None]);
        assert_eq!(silent, unavailable("token endpoint: not an OAuth answer"));
    }

    #[test]
    fn an_error_page_in_place_of_a_subject_token_is_reported() {
        let told = |statuses: &[u16]| token_error(&said("invalid_grant"), WORKLOAD, &answered(statuses));
        assert_eq!(told(&[500, 400]), unavailable("subject token url: status 500"));
        assert_eq!(told(&[401, 400]), rejected("subject token url: status 401"));
        assert_eq!(told(&[200, 400]), rejected("invalid_grant"));
        let nothing =
            Error::CredentialSourceError(CredentialSourceError::MissingJsonField("value".to_owned()));
        let nothing = token_error(&nothing, WORKLOAD, &answered(&[200]));
        assert_eq!(nothing, rejected("subject token url: no token in the answer"));
    }

    #[test]
    fn an_unreadable_subject_token_file_is_reported() {
        let file = |kind: io::ErrorKind| token_error(&Error::LowLevelError(kind.into()), &WORKLOAD[1..], &[]);
        assert_eq!(file(io::ErrorKind::NotFound), rejected("subject token file: not found"));
        assert_eq!(file(io::ErrorKind::PermissionDenied), rejected("subject token file: permission denied"));
        assert_eq!(file(io::ErrorKind::Interrupted), unavailable("subject token file: unreadable"));
    }
}
