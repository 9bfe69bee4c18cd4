//! The codes of whole problems, each with the reply status and the title that it always has. Codes of single faults in a
//! request are [`crate::domain::InputCode`]. `docs/errors.md` describes both; `tests/layers.rs` compares it with them.

use http::StatusCode;

macro_rules! problem_codes {
    ($($(#[$doc:meta])* $variant:ident $text:literal $status:ident $title:literal,)*) => {
        /// What kind of problem ended a request. The words are public and stable.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum ProblemCode { $($(#[$doc])* $variant,)* }

        impl ProblemCode {
            /// Every code, ordered by status.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in the answer's `code`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The reply status.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// The operator's next step, for the log; none: the operator has none. Sections are those of docs/runbook.md.
            pub fn operator_hint(self) -> Option<&'static str> {
                match self {
                    Self::QueueFull => Some(
                        "`pushpost queue` shows the lane that holds the devices; see docs/runbook.md#queue-full",
                    ),
                    Self::Unavailable | Self::OutcomeUnknown => Some(
                        "Postgres is away or slow: see docs/runbook.md#postgres-down and #postgres-slow",
                    ),
                    Self::Internal => Some("this is a fault of Pushpost: report this line"),
                    _ => None,
                }
            }

            /// Is the request refused for the caller's key or rate, for its size, or because the node can't take it now?
            pub fn is_refusal(self) -> bool {
                matches!(
                    self.status(),
                    StatusCode::UNAUTHORIZED
                        | StatusCode::FORBIDDEN
                        | StatusCode::PAYLOAD_TOO_LARGE
                        | StatusCode::TOO_MANY_REQUESTS
                        | StatusCode::SERVICE_UNAVAILABLE
                )
            }

            /// The answer's `title`: the code in words for people.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

problem_codes! {
    /// Faults of form; `errors` lists them.
    InvalidRequest "invalid_request" BAD_REQUEST "The request is not well formed",
    /// No key, or a key that is unknown or revoked.
    Unauthenticated "unauthenticated" UNAUTHORIZED "No valid key",
    /// A user token that proves nothing; `reason` says why.
    UserTokenInvalid "user_token_invalid" UNAUTHORIZED "The user token is not valid",
    /// The key has none of the scopes that the operation needs.
    MissingScope "missing_scope" FORBIDDEN "The key may not do this",
    /// A change that does not come from a page of the dashboard.
    CrossSite "cross_site" FORBIDDEN "The request does not come from the dashboard",
    /// A field that the key may not set.
    ForbiddenField "forbidden_field" FORBIDDEN "The key may not set this",
    /// A topic that apps may not subscribe to.
    TopicClosed "topic_closed" FORBIDDEN "The key may not set this",
    /// A host that the app's configuration does not name for webhooks.
    HostNotAllowed "host_not_allowed" FORBIDDEN "The host is not allowed",
    /// A user token, but the app's configuration has no keys to check it with.
    UserTokensNotConfigured "user_tokens_not_configured" FORBIDDEN "No user tokens here",
    /// An unknown path, or an id that is unknown or belongs to another app.
    NotFound "not_found" NOT_FOUND "Not found",
    /// The path exists, but not with this method.
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "Method not allowed",
    /// The body did not arrive in time.
    BodyTooSlow "body_too_slow" REQUEST_TIMEOUT "The body took too long",
    /// The app has a clean-up run, or its restoration, under way.
    CleanupRunning "cleanup_running" CONFLICT "A clean-up run is under way",
    /// The clean-up run quarantined nothing that could be restored.
    NotRestorable "not_restorable" CONFLICT "There is nothing to restore",
    /// The configuration keeps no events.
    EventsOff "events_off" CONFLICT "No events are kept",
    /// The configuration has this, so the API does not change it.
    DeclaredInConfiguration "declared_in_configuration" CONFLICT "The configuration declares this",
    /// The app has as many webhooks of the API as it may.
    TooManyWebhooks "too_many_webhooks" CONFLICT "Too many webhooks",
    /// The app has a webhook of this name.
    WebhookExists "webhook_exists" CONFLICT "The webhook exists",
    /// The webhook has as many secrets that sign as it may.
    TooManySecrets "too_many_secrets" CONFLICT "Too many secrets",
    /// A request with the same idempotency key is under way.
    IdempotencyKeyInUse "idempotency_key_in_use" CONFLICT "The idempotency key is in use",
    /// A place in the event log that retention has passed.
    EventsExpired "events_expired" GONE "These events are not kept any more",
    /// The body has more bytes than the limit.
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE "The body is too large",
    /// A line of an import has more bytes than the limit.
    LineTooLarge "line_too_large" PAYLOAD_TOO_LARGE "The line is too large",
    /// `to` names more devices, users, tokens and topics than the limit.
    TooManyTargets "too_many_targets" PAYLOAD_TOO_LARGE "Too many targets",
    /// The request names more items than the limit.
    TooManyItems "too_many_items" PAYLOAD_TOO_LARGE "Too many items",
    /// Path and query have more bytes than the limit.
    UrlTooLong "url_too_long" URI_TOO_LONG "The URL is too long",
    /// The body's `Content-Type` is not the expected one, or the body is compressed.
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "Unsupported media type",
    /// Well formed, but it can't be sent or stored; `errors` lists why.
    Unprocessable "unprocessable" UNPROCESSABLE_ENTITY "The request can't be carried out",
    /// The idempotency key was used for a request with another body.
    IdempotencyKeyReused "idempotency_key_reused" UNPROCESSABLE_ENTITY "The idempotency key was used before",
    /// More requests than the rate limit.
    RateLimited "rate_limited" TOO_MANY_REQUESTS "Too many requests",
    /// The headers have more bytes than the limit.
    HeadersTooLarge "headers_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE "The headers are too large",
    /// A fault of Pushpost.
    Internal "internal" INTERNAL_SERVER_ERROR "Internal fault",
    /// The database is out of reach, or the node is starting.
    Unavailable "unavailable" SERVICE_UNAVAILABLE "Unavailable",
    /// A commit's answer was lost: it may have been stored.
    OutcomeUnknown "outcome_unknown" SERVICE_UNAVAILABLE "Outcome unknown",
    /// Too many devices, or too many requests, wait already.
    QueueFull "queue_full" SERVICE_UNAVAILABLE "The queue is full",
    /// The node, or the key, has as many streams as it may.
    TooManyStreams "too_many_streams" SERVICE_UNAVAILABLE "Too many streams",
    /// This node is being shut down.
    ShuttingDown "shutting_down" SERVICE_UNAVAILABLE "Shutting down",
}
