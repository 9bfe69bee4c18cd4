//! What a person is told where the service is out of reach or refuses a request.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use super::{KEY, ServiceAnswer};
use crate::cli::command_error::CommandError;

/// The paths that `server.internal_listen` moves to an address of their own.
const ADMIN: &str = "/v1/admin";
const NAME_THE_SERVICE: &str = "--url or PUSHPOST_URL names the service";

/// What the client reads of a problem document.
#[derive(Deserialize)]
struct ProblemAnswer {
    code: String,
    detail: String,
    request_id: Option<String>,
    /// The names that there are, in place of an unknown one.
    supported: Option<Vec<String>>,
    #[serde(default)]
    errors: Vec<ProblemFault>,
}

#[derive(Deserialize)]
struct ProblemFault {
    pointer: Option<String>,
    parameter: Option<String>,
    header: Option<String>,
    detail: Option<String>,
    code: String,
}

/// The service did not answer in time. A request that changes something may have been carried out.
pub(super) fn overdue(base: &str, after: Duration) -> CommandError {
    CommandError::unavailable(format_args!("{base} does not answer within {} s", after.as_secs()))
}

/// No connection, or one that ended before the whole answer.
pub(super) fn unreachable(base: &str, error: Box<dyn Error + Send + Sync>) -> CommandError {
    if is_refused(error.as_ref()) {
        let message = format_args!("connection refused: nothing listens at {base}");
        return CommandError::unavailable(message).hint(NAME_THE_SERVICE);
    }
    let is_tls = has_source::<rustls::Error>(error.as_ref());
    let failure = CommandError::unavailable(format_args!("{base}: {}", chain(error.as_ref())));
    failure.hint(if is_tls { "SSL_CERT_FILE names a file of authorities to trust" } else { NAME_THE_SERVICE })
}

/// An answer that Pushpost would not give.
pub(super) fn foreign(base: &str, answer: &ServiceAnswer) -> CommandError {
    let message =
        format_args!("{base} is not the API of Pushpost: {} without a JSON document", answer.status);
    CommandError::failed(message).hint(NAME_THE_SERVICE)
}

/// An answer that is no success.
pub(super) fn refusal(base: &str, path: &str, answer: &ServiceAnswer) -> CommandError {
    if let Some(location) = answer.location() {
        let message = format_args!("{base} answers {} with the location {location}", answer.status);
        return CommandError::failed(message)
            .hint("redirects are not followed; name the URL itself by --url");
    }
    let Ok(problem) = serde_json::from_slice::<ProblemAnswer>(&answer.body) else {
        return match answer.status {
            // A load balancer without a service behind it.
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                CommandError::unavailable(format_args!("{base} answers {}", answer.status))
            }
            _ => foreign(base, answer),
        };
    };
    let said = problem.in_words();
    match answer.status {
        StatusCode::UNAUTHORIZED => {
            CommandError::key_refused(format_args!("the key in {KEY} is refused: {said}"))
                .hint("pushpost keys list shows the keys of the service's database")
        }
        StatusCode::FORBIDDEN => {
            CommandError::key_refused(format_args!("the key in {KEY} may not do this: {said}"))
                .hint("pushpost keys create --scope makes a key that may")
        }
        StatusCode::NOT_FOUND if path.starts_with(ADMIN) && problem.supported.is_none() => {
            CommandError::failed(&said)
                .hint("with server.internal_listen set, /v1/admin answers only at that address")
        }
        StatusCode::SERVICE_UNAVAILABLE => CommandError::unavailable(&said).hint(retry_hint(answer)),
        StatusCode::TOO_MANY_REQUESTS => CommandError::failed(&said).hint(retry_hint(answer)),
        _ => CommandError::failed(&said),
    }
}

impl ProblemAnswer {
    /// The detail, the place of each fault in a line of its own, and the request's id where the log says more.
    fn in_words(&self) -> String {
        let mut words = self.detail.clone();
        for fault in &self.errors {
            let place = fault.pointer.as_ref().or(fault.parameter.as_ref()).or(fault.header.as_ref());
            let detail = fault.detail.as_ref().unwrap_or(&fault.code);
            words += &match place {
                Some(place) => format!("\n  {place}: {detail}"),
                None => format!("\n  {detail}"),
            };
        }
        if let Some(id) = self.request_id.as_ref().filter(|_| self.code == "internal") {
            words += &format!(" (request {id})");
        }
        words
    }
}

fn retry_hint(answer: &ServiceAnswer) -> String {
    match answer.retry_after() {
        Some(seconds) => format!("try again in {seconds} s"),
        None => "try again soon".to_owned(),
    }
}

fn is_refused(error: &(dyn Error + 'static)) -> bool {
    let is_this =
        error.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == ErrorKind::ConnectionRefused);
    is_this || error.source().is_some_and(is_refused)
}

fn has_source<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    // An error of the network may carry the error of TLS as its inner error, which is not its source.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<E>()
        || inner.is_some_and(|inner| has_source::<E>(inner))
        || error.source().is_some_and(has_source::<E>)
}

/// The error and its causes in one line, each once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}
