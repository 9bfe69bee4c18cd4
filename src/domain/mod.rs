//! Values and rules that all other modules share: ids, content, devices, lanes, jobs, outcomes, reasons. No I/O.

mod app;
mod cleanup;
mod condition;
mod content;
mod cron_schedule;
mod cursor_token;
mod delivery;
mod device;
mod device_detail;
mod event;
mod event_place;
mod event_type;
pub mod exact_json;
mod fan_out;
mod finding;
mod id;
mod idempotency;
mod input;
mod job;
mod lane;
mod lane_advice;
mod locale;
mod nearest;
mod network;
mod objective;
mod origin;
mod outcome;
pub mod pem;
mod platform;
mod printable;
mod reason;
mod receipt;
mod retry;
mod scheduled_audience;
mod scope;
mod sealed_text;
mod send_time;
mod short_text;
mod target;
#[cfg(test)]
pub(crate) mod test_platform;
mod time_zone;
mod topic;
mod trace_context;
mod ttl;
mod user_token;
mod webhook;
mod whole_number;
mod wire_enum;

pub use app::{App, AppLane, Apps, ProviderDefaults, ServedApps};
pub use cleanup::{
    CleanupCounts, CleanupCriteria, CleanupProblem, CleanupSchedule, CleanupStatus, DottedVersion, ShareLimit,
};
pub use condition::{BadCondition, Condition};
pub use content::{COLLAPSE_KEY_MAX, Content, Priority, ProviderOverrides, is_collapse_key};
pub use cron_schedule::{BadSchedule, CronSchedule};
pub use delivery::{DeliveryCounts, DeliveryStatus, NotificationStatus};
pub use device::{BadToken, DeviceToken, Kind, QuarantineReason, Source, TokenDigest};
pub use device_detail::DeviceDetail;
pub use event::{
    ActionFact, CleanupFact, CorrectedFact, CorrectionCause, CredentialFact, CredentialResult, FactKind,
    GuardFact, KeyFact, LaneFact, LogPosition, NodeFact, QuarantineCause, QuarantineFact,
};
pub use event_place::EventPlace;
pub use event_type::{EventType, EventTypes};
pub use fan_out::{FanOut, FanOutPart};
pub use finding::{EnvironmentProof, Finding, TokenVerdict};
pub use id::{
    AppId, BadId, CleanupRunId, DeviceId, InstallationKey, JobId, KeyId, LaneId, NodeId, NotificationId,
    WebhookId,
};
pub use idempotency::{IDEMPOTENCY_KEY_MAX, Idempotency, IdempotencyKey, RequestDigest};
pub use input::{ErrorLocation, InputCode, ValidationError, shown_name};
pub use job::{Class, DoneBits, JOB_DEVICES_MAX, Job, SUSPECT_NODE_DEATHS, Suspicion};
pub use lane::LaneState;
pub use lane_advice::{OperatorAdvice, lane_advice, pruning_advice};
pub use locale::Locale;
pub use nearest::{most_alike, nearest, nearest_by_start};
pub use network::{BadNetwork, Network};
pub use objective::{OBJECTIVE_PERCENT, OBJECTIVE_TIME, has_objective};
pub use origin::{BadOrigin, Origin};
pub use outcome::{Certainty, FailureDomain, LaneCause, MinDelay, MisconfigurationScope, Outcome};
pub use platform::{Environment, Environments, LaneKey, Platform, PlatformFacts, Platforms};
pub use printable::printable;
pub use reason::{PushpostReason, Reason};
pub use receipt::{OutcomeByte, ReceiptReasons, storable_provider_id};
pub use retry::RetryPolicy;
pub use scheduled_audience::{ScheduledAudience, ScheduledDevice, ScheduledToken};
pub use scope::{BadScopes, Scope, Scopes};
pub use send_time::{BadSendTime, SendTime};
pub use short_text::{AppVersion, UserId};
pub use target::{References, RejectedToken, Target};
pub use time_zone::TimeZone;
pub use topic::{SubscriptionTerm, TopicName};
pub use trace_context::{SpanId, TraceContext, TraceId};
pub use ttl::{BadDuration, Ttl, duration_text, parse_duration, remaining_secs};
pub use user_token::{
    BadUserToken, BadUserTokenKey, UserTokenAlgorithm, UserTokenClaims, UserTokenReason, UserTokenVerifier,
    VerificationKey,
};
pub use webhook::{
    AddressGuard, BadWebhookName, BadWebhookSecret, FAILING_FAILURES, MessageFocus, MessageKind, Movement,
    NextStep, RefusedAddress, WebhookChange, WebhookName, WebhookOutcome, WebhookProgress,
    WebhookRetryPolicy, WebhookSecret, is_host_name, is_host_of_urls, sign,
};
pub use whole_number::{BadWholeNumber, as_whole_number, parse_whole_number};
