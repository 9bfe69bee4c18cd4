//! Values and rules of the field: ids, notifications, devices, lanes, jobs, outcomes. No I/O.

mod app;
mod app_version;
mod condition;
mod content;
mod cursor_token;
mod delivery;
mod device;
pub mod exact_json;
mod fan_out;
mod finding;
mod id;
mod input;
mod job;
mod lane;
mod locale;
mod nearest;
mod network;
mod origin;
mod outcome;
pub mod pem;
mod push_type;
mod retry;
mod scope;
mod target;
mod time_zone;
mod topic;
mod ttl;
mod wire_enum;

pub use app::{App, AppLane, Apps, ServedApps};
pub use app_version::AppVersion;
pub use condition::{BadCondition, Condition};
pub use content::{
    ApnsOverrides, AppleMember, COLLAPSE_KEY_MAX, Content, Priority, is_collapse_key, member_of_aps,
};
pub use delivery::{Counts, DeliveryStatus, NotificationStatus};
pub use device::{BadToken, DeviceToken, FCM_TOKEN_MAX, Kind, QuarantineReason, Source, TokenDigest, UserId};
pub use fan_out::FanOut;
pub use finding::{EnvironmentProof, Finding, TokenVerdict};
pub use id::{AppId, BadId, DeviceId, InstallationKey, JobId, KeyId, LaneId, NodeId, NotificationId};
pub use input::{ErrorLocation, InputCode, ValidationError, shown_name};
pub use job::{Class, DoneBits, JOB_DEVICES_MAX, Job, SUSPECT, Suspicion};
pub use lane::{Environment, LaneKey, LaneState, Platform};
pub use locale::Locale;
pub use nearest::{most_alike, nearest, nearest_by_start};
pub use network::{BadNetwork, Network};
pub use origin::{BadOrigin, Origin};
pub use outcome::{Certainty, FailureDomain, LaneCause, MinDelay, MisconfigurationScope, Outcome, Reason};
pub use push_type::PushType;
pub use retry::RetryPolicy;
pub use scope::{BadScopes, Scope, Scopes};
pub use target::Target;
pub use time_zone::TimeZone;
pub use topic::TopicName;
pub use ttl::{BadDuration, Ttl, parse_duration, remaining_secs};
