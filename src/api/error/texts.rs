//! What each error says in its problem document.

use chrono::NaiveTime;
use serde_json::Value;

use super::faults::invalid;
use super::{ApiError, NotFoundKind, ProblemCode, Repeat};
use crate::api::problem::{Cause, Problem};
use crate::api::rates::RateExceeded;
use crate::api::time::Timestamp;
use crate::domain::{BadUserToken, Scope};

impl ApiError {
    /// The problem document, without the request's id.
    pub fn problem(self) -> Problem {
        match self {
            Self::Invalid(faults) => invalid(faults),
            Self::Unauthenticated(fault) => Problem::new(ProblemCode::Unauthenticated, fault.in_words()),
            Self::MissingScope(needs) => {
                let names: Vec<_> = needs.iter().map(|scope| scope.as_str()).collect();
                let detail = match names.as_slice() {
                    [only] => format!("This needs a key with the scope {only}."),
                    names => format!("This needs a key with one of the scopes {}.", names.join(", ")),
                };
                Problem::new(ProblemCode::MissingScope, detail).with("scopes", names)
            }
            Self::UnseenEventTypes(types) => {
                let types: Vec<_> = types.iter().map(|each| each.as_str()).collect();
                let detail =
                    format!("Events of these types need a key with the scope admin: {}.", types.join(", "));
                let problem = Problem::new(ProblemCode::MissingScope, detail);
                problem.with("scopes", vec![Scope::Admin.as_str()]).with("types", types)
            }
            Self::CrossSite(detail) => Problem::new(ProblemCode::CrossSite, detail),
            Self::NotFound(kind) => {
                let problem = Problem::new(ProblemCode::NotFound, kind.in_words());
                match kind {
                    NotFoundKind::Lane(names) => problem.with("supported", names),
                    NotFoundKind::Path | NotFoundKind::Id | NotFoundKind::DeviceOfNotification => problem,
                }
            }
            Self::MethodNotAllowed => {
                Problem::new(ProblemCode::MethodNotAllowed, "This path takes only the methods in `Allow`.")
            }
            Self::UserTokensNotConfigured => Problem::new(
                ProblemCode::UserTokensNotConfigured,
                "The configuration has no keys to check this app's user tokens with.",
            ),
            Self::CleanupRunning => {
                let detail = "The app has a clean-up run, or its restoration, under way. Stop it, or wait for its end.";
                Problem::new(ProblemCode::CleanupRunning, detail)
            }
            Self::HostNotAllowed => {
                let detail = "The host is not in the app's webhook_hosts: only the configuration names hosts that \
                              webhooks go to.";
                Problem::new(ProblemCode::HostNotAllowed, detail)
            }
            Self::DeclaredInConfiguration => {
                let detail = "The configuration declares this webhook, so it is changed there.";
                Problem::new(ProblemCode::DeclaredInConfiguration, detail)
            }
            Self::WebhookExists => {
                let detail = "The app has a webhook of this name. Change that one, or choose another name.";
                Problem::new(ProblemCode::WebhookExists, detail)
            }
            Self::TooManyWebhooks(limit) => {
                let detail = format!("An app may have at most {limit} webhooks that this API made.");
                Problem::new(ProblemCode::TooManyWebhooks, detail).with("limit", limit)
            }
            Self::TooManySecrets { limit, expires_at } => {
                let ends = Timestamp(expires_at).to_string();
                let detail = format!(
                    "{limit} secrets sign already, and the first of the old ones ends at {ends}. `drop_oldest` ends the oldest \
                     now, `keep_old` `0s` all old ones."
                );
                Problem::new(ProblemCode::TooManySecrets, detail)
                    .with("limit", limit)
                    .with("expires_at", ends)
            }
            Self::NotRestorable => {
                let detail = "The run quarantined nothing: it was a dry run, or it was refused.";
                Problem::new(ProblemCode::NotRestorable, detail)
            }
            Self::UserTokenInvalid(BadUserToken { reason, detail }) => {
                let detail = format!("The user token is not valid: {detail}.");
                Problem::new(ProblemCode::UserTokenInvalid, detail).with("reason", reason.as_str())
            }
            other => other.of_request(),
        }
    }

    /// The problems of a request's size, type and rate.
    fn of_request(self) -> Problem {
        match self {
            Self::BodyTooSlow => Problem::new(ProblemCode::BodyTooSlow, "The body did not arrive in time."),
            Self::BodyTooLarge(limit) => {
                let detail = format!("A body may have at most {limit} bytes.");
                Problem::new(ProblemCode::BodyTooLarge, detail).with("limit", limit)
            }
            Self::TooManyTargets(limit) => {
                let detail = format!(
                    "A request may name at most {limit} devices, users, tokens and topics together, those in `except` included."
                );
                Problem::new(ProblemCode::TooManyTargets, detail).with("limit", limit)
            }
            Self::TooManyItems(limit) => {
                let detail = format!("One request may name at most {limit} items.");
                Problem::new(ProblemCode::TooManyItems, detail).with("limit", limit)
            }
            Self::LineTooLarge(limit) => {
                let detail = format!("A line may have at most {limit} bytes.");
                Problem::new(ProblemCode::LineTooLarge, detail).with("limit", limit)
            }
            Self::UnsupportedMediaType => unsupported_media_type("JSON", "application/json"),
            Self::NotNdjson => unsupported_media_type("NDJSON", "application/x-ndjson"),
            Self::UrlTooLong(limit) => {
                let detail = format!("Path and query may have at most {limit} bytes together.");
                Problem::new(ProblemCode::UrlTooLong, detail).with("limit", limit)
            }
            Self::HeadersTooLarge(limit) => {
                let detail =
                    format!("The headers may have at most {limit} bytes, names and values together.");
                Problem::new(ProblemCode::HeadersTooLarge, detail).with("limit", limit)
            }
            Self::IdempotencyKeyReused => {
                let detail =
                    "This app used the idempotency key for a request with another body. Nothing was stored.";
                Problem::new(ProblemCode::IdempotencyKeyReused, detail)
            }
            Self::IdempotencyKeyInUse => {
                let detail = "A request with the same idempotency key is under way. Repeat this one to get its answer.";
                Problem::new(ProblemCode::IdempotencyKeyInUse, detail)
            }
            Self::EventsOff => {
                let detail = "The configuration keeps no events: `[retention] events` is 0.";
                Problem::new(ProblemCode::EventsOff, detail)
            }
            Self::EventsExpired(first_day) => {
                let oldest = Timestamp(first_day.and_time(NaiveTime::MIN).and_utc()).to_string();
                let detail = "What follows this place in the log is not kept any more. Begin with `since` and the time `oldest`.";
                Problem::new(ProblemCode::EventsExpired, detail).with("oldest", oldest)
            }
            Self::RateLimited(RateExceeded { limit, scope, .. }) => {
                let plural = if limit == 1 { "" } else { "s" };
                let detail = format!("At most {limit} request{plural} {}.", scope.in_words());
                Problem::new(ProblemCode::RateLimited, detail)
                    .with("limit", limit)
                    .with("per", scope.as_str())
            }
            other => other.ours(),
        }
    }

    /// The problems that are not the client's fault.
    fn ours(self) -> Problem {
        match self {
            Self::Unavailable(cause) => Problem {
                cause,
                ..Problem::new(ProblemCode::Unavailable, "The database does not answer. Nothing was stored.")
            },
            Self::Contended(cause) => {
                let detail = "Other requests change the same devices at this moment. Nothing was stored.";
                Problem { cause: Some(cause), ..Problem::new(ProblemCode::Unavailable, detail) }
            }
            Self::Overdue(cause, repeat) => overdue(cause, repeat),
            Self::OutcomeUnknown(repeat) => {
                let detail = format!(
                    "The database's answer was lost, and it could not be found out whether this was stored. {}",
                    repeat.in_words()
                );
                Problem::new(ProblemCode::OutcomeUnknown, detail)
            }
            Self::QueueFull(limit) => {
                let full = Problem::new(ProblemCode::QueueFull, "Too much is waiting. Nothing was stored.");
                limit.into_iter().fold(full, |full, limit| full.with("limit", limit))
            }
            Self::TooManyStreams { limit, per } => {
                let detail = match per {
                    "key" => format!(
                        "The key has {limit} streams on this node already, which is as many as it may."
                    ),
                    _ => format!("This node serves {limit} streams already, which is as many as it may."),
                };
                Problem::new(ProblemCode::TooManyStreams, detail).with("limit", limit).with("per", per)
            }
            Self::Starting => {
                let detail = "This node is starting and waits for its database. Nothing was stored.";
                Problem::new(ProblemCode::Unavailable, detail)
            }
            Self::ShuttingDown => {
                Problem::new(ProblemCode::ShuttingDown, "This node is going away. Nothing was stored.")
            }
            Self::Unfinished { why, import } => unfinished(why.problem(), *import),
            Self::Internal(cause) => Problem { cause: Some(cause), ..internal() },
            _ => internal(),
        }
    }
}

fn unsupported_media_type(what: &str, media_type: &str) -> Problem {
    let detail = format!("Send {what} as `Content-Type: {media_type}`, without a content encoding.");
    Problem::new(ProblemCode::UnsupportedMediaType, detail)
}

/// Other endpoints store nothing when they fail; an import has stored the lines before.
fn unfinished(why: Problem, import: Value) -> Problem {
    let reason = why.detail.trim_end_matches(" Nothing was stored.");
    let line = import.get("stopped_at").cloned().unwrap_or_default();
    let detail = format!("{reason} What stands before line {line} is imported; go on from there.");
    Problem { detail, ..why }.with("import", import)
}

/// A request that did not come to its end in time. `repeat`: it writes.
fn overdue(cause: Cause, repeat: Option<Repeat>) -> Problem {
    let problem = match repeat {
        Some(repeat) => {
            let detail = format!(
                "This took too long, and it is not known whether it was stored. {}",
                repeat.in_words()
            );
            Problem::new(ProblemCode::OutcomeUnknown, detail)
        }
        None => Problem::new(ProblemCode::Unavailable, "This took too long. Nothing was stored."),
    };
    Problem { cause: Some(cause), ..problem }
}

fn internal() -> Problem {
    Problem::new(ProblemCode::Internal, "Something went wrong on our side.")
}
