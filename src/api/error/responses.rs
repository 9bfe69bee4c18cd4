//! The problems that each operation can be answered with, as OpenAPI's responses. Handlers name one of these sets in
//! their `#[utoipa::path]`.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::ProblemCode;
use super::ProblemCode::{
    BodyTooLarge, BodyTooSlow, CleanupRunning, DeclaredInConfiguration, EventsExpired, EventsOff,
    ForbiddenField, HeadersTooLarge, HostNotAllowed, IdempotencyKeyInUse, IdempotencyKeyReused, Internal,
    InvalidRequest, MissingScope, NotFound, NotRestorable, OutcomeUnknown, QueueFull, RateLimited,
    ShuttingDown, TooManyItems, TooManySecrets, TooManyStreams, TooManyTargets, TooManyWebhooks, TopicClosed,
    Unauthenticated, Unavailable, Unprocessable, UnsupportedMediaType, UrlTooLong, UserTokenInvalid,
    UserTokensNotConfigured, WebhookExists,
};
use crate::api::problem::Problem;

/// Of every operation that needs a key.
const WITH_KEY: &[ProblemCode] = &[
    InvalidRequest,
    Unauthenticated,
    MissingScope,
    UrlTooLong,
    RateLimited,
    HeadersTooLarge,
    Internal,
    Unavailable,
];
/// Of every operation that reads its body, also if the body may only be empty.
const WITH_BODY: &[ProblemCode] = &[BodyTooSlow, BodyTooLarge, UnsupportedMediaType];

macro_rules! problem_sets {
    ($($(#[$doc:meta])* $name:ident: $($codes:expr),+;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(in crate::api) enum $name {}

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                responses_of(&[$($codes),+])
            }
        }
    )*};
}

problem_sets! {
    /// Problems of lists without filters.
    ListProblems: WITH_KEY;
    /// Problems of lists with filters.
    FilteredListProblems: WITH_KEY, &[Unprocessable];
    /// Problems of `GET /v1/notifications/{id}/deliveries`.
    DeliveryListProblems: WITH_KEY, &[NotFound, Unprocessable];
    /// Problems of `GET /v1/notifications/{id}/why`.
    WhyProblems: WITH_KEY, &[NotFound, Unprocessable];
    /// Problems of `GET /v1/events`.
    EventListProblems: WITH_KEY, &[EventsOff, EventsExpired, TooManyStreams, ShuttingDown];
    /// Problems of reading one thing by its id.
    ReadProblems: WITH_KEY, &[NotFound];
    /// Problems of changing or removing one thing by its id.
    ChangeProblems: WITH_KEY, WITH_BODY, &[NotFound, OutcomeUnknown];
    /// Problems of `POST /v1/notifications`.
    SendProblems: WITH_KEY, WITH_BODY,
        &[IdempotencyKeyInUse, TooManyTargets, Unprocessable, IdempotencyKeyReused, OutcomeUnknown, QueueFull, ShuttingDown];
    /// Problems of `POST /v1/notifications/preview`. What a notification would be refused for with 422 is in the answer, but
    /// for a faulty header.
    PreviewProblems: WITH_KEY, WITH_BODY, &[TooManyTargets, Unprocessable];
    /// Problems of `POST /v1/notifications/batch` as a whole.
    BatchProblems: WITH_KEY, WITH_BODY, &[TooManyItems, OutcomeUnknown, ShuttingDown];
    /// Problems of `POST /v1/notifications/cancel`.
    CancelLabelProblems: WITH_KEY, WITH_BODY, &[Unprocessable, OutcomeUnknown];
    /// Problems of `PUT /v1/devices`.
    RegisterProblems: WITH_KEY, WITH_BODY,
        &[UserTokenInvalid, ForbiddenField, TopicClosed, UserTokensNotConfigured, Unprocessable, OutcomeUnknown];
    /// Problems of `POST /v1/devices/unregister`.
    UnregisterProblems: WITH_KEY, WITH_BODY,
        &[UserTokenInvalid, UserTokensNotConfigured, Unprocessable, OutcomeUnknown];
    /// Problems of `PATCH /v1/devices/{id}`.
    DescribeProblems: WITH_KEY, WITH_BODY, &[NotFound, Unprocessable, OutcomeUnknown];
    /// Problems of `POST /v1/devices/lookup`.
    LookupProblems: WITH_KEY, WITH_BODY, &[TooManyItems, Unprocessable];
    /// Problems of `POST /v1/topics/{topic}/subscribe` and `…/unsubscribe`.
    SubscribeProblems: WITH_KEY, WITH_BODY, &[NotFound, TooManyTargets, Unprocessable, OutcomeUnknown];
    /// Problems of `DELETE /v1/topics/{topic}` and `DELETE /v1/users/{user}`.
    NamedDeletionProblems: WITH_KEY, WITH_BODY, &[NotFound, Unprocessable, OutcomeUnknown];
    /// Problems of `GET /v1/users/{user}`.
    UserProblems: WITH_KEY, &[NotFound, Unprocessable];
    /// Problems of `POST /v1/admin/cleanups`.
    StartCleanupProblems: WITH_KEY, WITH_BODY, &[CleanupRunning, Unprocessable, OutcomeUnknown];
    /// Problems of `POST /v1/admin/cleanups/{id}/restore`.
    RestoreCleanupProblems: WITH_KEY, WITH_BODY, &[NotFound, CleanupRunning, NotRestorable, OutcomeUnknown];
    /// Problems of `POST /v1/admin/webhooks`.
    CreateWebhookProblems: WITH_KEY, WITH_BODY,
        &[HostNotAllowed, EventsOff, TooManyWebhooks, WebhookExists, Unprocessable, OutcomeUnknown];
    /// Problems of changing a webhook that the API made.
    ChangeWebhookProblems: WITH_KEY, WITH_BODY,
        &[HostNotAllowed, NotFound, DeclaredInConfiguration, Unprocessable, OutcomeUnknown];
    /// Problems of deleting a webhook that the API made.
    DeleteWebhookProblems: WITH_KEY, WITH_BODY, &[NotFound, DeclaredInConfiguration, OutcomeUnknown];
    /// Problems of giving such a webhook a new secret.
    RotateWebhookProblems: WITH_KEY, WITH_BODY,
        &[NotFound, DeclaredInConfiguration, TooManySecrets, Unprocessable, OutcomeUnknown];
    /// Problems of sending events to a webhook again.
    ReplayWebhookProblems: WITH_KEY, WITH_BODY, &[NotFound, EventsExpired, Unprocessable, OutcomeUnknown];
    /// Problems of `POST /v1/devices/import`.
    ImportProblems: WITH_KEY, &[BodyTooSlow, UnsupportedMediaType, OutcomeUnknown, ShuttingDown];
    /// Problems of `GET /healthz`.
    NoKeyProblems: &[UrlTooLong, HeadersTooLarge, Internal];
    /// Problems of `GET /metrics`.
    MetricsProblems: &[NotFound, UrlTooLong, HeadersTooLarge, Internal];
    /// Problems of `GET /readyz`.
    ReadyProblems: &[UrlTooLong, HeadersTooLarge, Internal, Unavailable, ShuttingDown];
}

/// One response per status, with an example per code.
fn responses_of(sets: &[&[ProblemCode]]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<ProblemCode>> = BTreeMap::new();
    for code in sets.iter().copied().flatten() {
        by_status.entry(code.status().as_u16()).or_default().push(*code);
    }
    let responses =
        by_status.into_iter().map(|(status, codes)| (status.to_string(), response(&codes).into()));
    responses.collect()
}

fn response(codes: &[ProblemCode]) -> Response {
    let words: Vec<String> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
    let examples = codes.iter().map(|code| {
        let example = Ref::new(format!("#/components/examples/{}", code.as_str()));
        (code.as_str(), RefOr::<Example>::Ref(example))
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build();
    ResponseBuilder::new()
        .description(format!("A problem with the code {}.", words.join(" or ")))
        .content("application/problem+json", content)
        .build()
}

/// An example of a problem of each code, for the document's components. It has the members that every problem has.
pub(in crate::api) fn problem_examples() -> impl Iterator<Item = (String, RefOr<Example>)> {
    ProblemCode::ALL.iter().map(|code| {
        let problem = Problem::new(*code, code.title());
        let value = serde_json::to_value(problem.document(Some("0198a2f1c3d47e5f8a9b0c1d2e3f4a5b")));
        let example = ExampleBuilder::new().summary(code.title()).value(value.ok()).build();
        (code.as_str().to_owned(), RefOr::T(example))
    })
}
