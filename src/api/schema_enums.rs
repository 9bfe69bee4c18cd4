//! Enumerations in the OpenAPI document. Their words are taken from the domain's own lists, so that the document can't
//! name other words than requests and answers have.

use std::borrow::Cow;

use serde_json::Value;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::error::ProblemCode;
use crate::domain;
use crate::events;
use crate::notifications::{history, why};
use crate::provider::built_in_platforms;
use crate::registry::registration;

/// States of a device: not quarantined, quarantined.
pub(super) const DEVICE_STATUSES: [&str; 2] = ["active", "quarantined"];
/// What an import does after a failure: go on, end there.
pub(super) const ON_ERROR: [&str; 2] = ["skip", "stop"];
/// States of a lane's pruning: not braked, braked.
pub(super) const PRUNING_STATES: [&str; 2] = ["on", "braked"];
/// What makes a webhook: the configuration, the API.
pub(super) const WEBHOOK_SOURCES: [&str; 2] = ["config", "api"];
/// States of a webhook.
pub(super) const WEBHOOK_STATES: [&str; 4] = ["active", "failing", "paused", "disabled"];
/// What an attempt came to.
pub(super) const ATTEMPT_RESULTS: [&str; 2] = ["failed", "succeeded"];
/// What a node does: both, answer requests, send.
pub(super) const NODE_ROLES: [&str; 3] = ["all", "api", "worker"];

macro_rules! enumerations {
    ($($(#[$doc:meta])* $name:ident: $words:expr;)*) => {$(
        $(#[$doc])*
        pub(super) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some($words)).build().into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )*};
}

enumerations! {
    /// A service that issues tokens.
    Platform: built_in_platforms().names();
    /// An environment of APNs.
    Environment: built_in_platforms().stated_environments().into_iter().map(domain::Environment::as_str);
    /// What a token is for.
    Kind: domain::Kind::ALL.iter().map(|kind| kind.as_str());
    /// A place in the queue.
    Priority: domain::Priority::DESCENDING.map(domain::Priority::as_str);
    /// What becomes of a request with a token that no device can have.
    OnBadToken: super::notifications::request::ON_BAD_TOKEN;
    /// Where a notification stands.
    NotificationStatus: domain::NotificationStatus::ALL.iter().map(|status| status.as_str());
    /// What became of a device of a notification.
    DeliveryStatus: domain::DeliveryStatus::ALL.iter().map(|status| status.as_str());
    /// What came of an attempt: a status that is final, or what allowed another attempt.
    AttemptOutcome: history::AttemptOutcome::ALL.iter().copied();
    /// What a device waited for before an attempt.
    WaitCause: history::WaitCause::ALL.iter().copied();
    /// What a part of a device's time went to.
    DelayCause: why::DelayCause::ALL.iter().copied();
    /// What the times are those of: the device alone, or a receipt that it shares.
    Precision: why::Precision::ALL.iter().copied();
    /// Whether a device is sent to.
    DeviceStatus: DEVICE_STATUSES;
    /// How a device became known.
    Source: domain::Source::ALL.iter().map(|source| source.as_str());
    /// Why a part of a registration was left out.
    IgnoredReason: registration::IgnoredReason::ALL.iter().map(|reason| reason.as_str());
    /// What an import does after a failure.
    OnError: ON_ERROR;
    /// Whether a lane sends.
    LaneState: domain::LaneState::ALL.iter().map(|state| state.as_str());
    /// Whether a lane prunes dead tokens.
    PruningState: PRUNING_STATES;
    /// What a node does.
    NodeRole: NODE_ROLES;
    /// What a key may do.
    Scope: domain::Scope::ALL.iter().map(|scope| scope.as_str());
    /// How a clean-up run stands.
    CleanupStatus: domain::CleanupStatus::ALL.iter().map(|status| status.as_str());
    /// Why a clean-up run changed nothing.
    CleanupProblemWord: domain::CleanupProblem::ALL.iter().map(|problem| problem.as_str());
    /// What is wrong with a user token.
    UserTokenReason: domain::UserTokenReason::ALL.iter().map(|reason| reason.as_str());
    /// What an event tells.
    EventType: domain::EventType::ALL.iter().map(|each| each.as_str());
    /// A type of events, or all types of a thing.
    EventTypePattern: domain::EventTypes::patterns();
    /// Which devices an event lists.
    DeviceDetail: events::DeviceDetail::ALL.iter().map(|detail| detail.as_str());
    /// What made a webhook.
    WebhookSource: WEBHOOK_SOURCES;
    /// How a webhook stands.
    WebhookState: WEBHOOK_STATES;
    /// What an attempt of a webhook came to.
    AttemptResult: ATTEMPT_RESULTS;
    /// Why devices were quarantined.
    QuarantineCause: domain::QuarantineCause::ALL.iter().map(|cause| cause.as_str());
    /// What devices were restored or corrected by.
    CorrectionCause: domain::CorrectionCause::ALL.iter().map(|cause| cause.as_str());
    /// What became of a credential.
    CredentialResult: domain::CredentialResult::ALL.iter().map(|result| result.as_str());
    /// The code of a problem.
    ProblemWord: ProblemCode::ALL.iter().map(|code| code.as_str());
    /// The code of a fault in a request.
    FaultWord: domain::InputCode::ALL.iter().map(|code| code.as_str());
}

/// The types that parameters alone refer to, by their names. The document takes in those of bodies by itself.
pub(super) fn schemas_of_parameters() -> [(String, RefOr<Schema>); 4] {
    fn named<T: ToSchema>() -> (String, RefOr<Schema>) {
        (T::name().into_owned(), T::schema())
    }
    [
        named::<EventTypePattern>(),
        named::<NotificationId>(),
        named::<DeviceDetail>(),
        named::<AttemptResult>(),
    ]
}

/// A time to live: whole seconds, or digits and a unit.
pub(super) enum TimeToLive {}

impl PartialSchema for TimeToLive {
    fn schema() -> RefOr<Schema> {
        let types = SchemaType::from_iter([Type::Integer, Type::String]);
        let examples = Some(Value::from("1h"));
        let builder = ObjectBuilder::new().schema_type(types).pattern(Some("^[0-9]+[smhdw]$"));
        builder.examples(examples).build().into()
    }
}

impl ToSchema for TimeToLive {}

/// A bound of what a request may say: a number, or a time.
pub(super) enum Bound {}

impl PartialSchema for Bound {
    fn schema() -> RefOr<Schema> {
        let types = SchemaType::from_iter([Type::Number, Type::String]);
        ObjectBuilder::new().schema_type(types).build().into()
    }
}

impl ToSchema for Bound {}

/// The id of a notification.
pub(super) enum NotificationId {}

impl PartialSchema for NotificationId {
    fn schema() -> RefOr<Schema> {
        let pattern = Some("^ntf_[0-9a-f]{32}$");
        ObjectBuilder::new().schema_type(Type::String).pattern(pattern).build().into()
    }
}

impl ToSchema for NotificationId {}

/// The sender's label of notifications, as `notifications::label` reads it.
pub(super) enum Label {}

impl PartialSchema for Label {
    fn schema() -> RefOr<Schema> {
        let pattern = Some("^[A-Za-z0-9_.~%-]{1,50}$");
        ObjectBuilder::new().schema_type(Type::String).pattern(pattern).build().into()
    }
}

impl ToSchema for Label {}
