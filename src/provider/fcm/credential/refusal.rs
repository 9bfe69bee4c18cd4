//! Why there is no access token: is the credential wrong, or may it pass? (docs/providers.md#google-access-tokens)

use std::io;
use std::path::Path;

use http::StatusCode;
use yup_oauth2::error::{AuthErrorCode, Error};

use crate::domain::Reason;
use crate::provider::fcm::bearer::TokenError;

/// A request on the way to an access token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// `credential_source.url`, which answers a subject token.
    SubjectToken,
    /// An assertion or a subject token is exchanged for an access token.
    TokenEndpoint,
    /// The access token is exchanged for a service account's.
    Impersonation,
    /// The metadata server.
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

    fn unavailable(self, what: impl std::fmt::Display) -> TokenError {
        TokenError::Unavailable(Reason::new(&format!("{}: {what}", self.as_str())))
    }

    fn rejected(self, what: impl std::fmt::Display) -> TokenError {
        TokenError::Rejected(Reason::new(&format!("{}: {what}", self.as_str())))
    }
}

/// What `error` means. `statuses` has an element for each request that was begun, of `steps` the first ones.
///
/// The words of RFC 6749 5.2 concern the credential, and so does a status of a client's fault; anything else may pass.
/// Descriptions are left out: they quote.
pub(super) fn token_error(error: &Error, steps: &[Step], statuses: &[Option<StatusCode>]) -> TokenError {
    let mut answers = steps.iter().copied().zip(statuses.iter().copied());
    // yup-oauth2 goes on with an error page as the subject token: what is said of that is beside the point.
    if let Some((step, Some(status))) = answers.clone().find(|(step, status)| {
        *step == Step::SubjectToken && status.is_some_and(|status| !status.is_success())
    }) {
        return of_status(step, status);
    }
    let Some((step, status)) = answers.next_back() else { return without_request(error) };
    match (error, status) {
        (Error::AuthError(said), _) => of_word(&said.error),
        (Error::HttpError(_) | Error::HttpClientError(_), _) => step.unavailable("connection failed"),
        (_, Some(status)) if !status.is_success() => of_status(step, status),
        (Error::CredentialSourceError(_), _) => step.rejected("no token in the answer"),
        (Error::JSONError(_), _) => step.unavailable("not an OAuth answer"),
        _ => step.unavailable("no token"),
    }
}

fn of_word(word: &AuthErrorCode) -> TokenError {
    let reason = Reason::of_provider(word.as_str());
    match word {
        // RFC 8693 2.2.2: the audience.
        AuthErrorCode::Other(word) if word == "invalid_target" => TokenError::Rejected(reason),
        AuthErrorCode::Other(_) | AuthErrorCode::ExpiredToken => TokenError::Unavailable(reason),
        _ => TokenError::Rejected(reason),
    }
}

fn of_status(step: Step, status: StatusCode) -> TokenError {
    let may_pass =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    match status.is_client_error() && !may_pass {
        true => step.rejected(format_args!("status {}", status.as_u16())),
        false => step.unavailable(format_args!("status {}", status.as_u16())),
    }
}

/// Refuses an empty file with a subject token: Google would answer `invalid_grant`, which does not name the file.
///
/// # Errors
/// The file is empty. One that can't be read is told when the token is fetched.
pub(super) async fn check_subject_token(file: &Path) -> Result<(), TokenError> {
    match tokio::fs::read(file).await {
        Ok(token) if token.trim_ascii().is_empty() => {
            Err(TokenError::Rejected(Reason::new("subject token file: empty")))
        }
        _ => Ok(()),
    }
}

/// Before any request there is only the file with the subject token.
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
    fn the_words_of_oauth_concern_the_credential_and_all_else_may_pass() {
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
    fn a_status_says_what_a_page_does_not() {
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
    fn an_error_page_in_place_of_a_subject_token_is_what_is_told() {
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
    fn a_file_that_can_not_be_read_is_named() {
        let file = |kind: io::ErrorKind| token_error(&Error::LowLevelError(kind.into()), &WORKLOAD[1..], &[]);
        assert_eq!(file(io::ErrorKind::NotFound), rejected("subject token file: not found"));
        assert_eq!(file(io::ErrorKind::PermissionDenied), rejected("subject token file: permission denied"));
        assert_eq!(file(io::ErrorKind::Interrupted), unavailable("subject token file: unreadable"));
    }
}
