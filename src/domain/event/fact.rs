//! The JSON of facts that have no row of their own, as `event_outbox.fact` holds it. It names no user, because an erasure does not
//! change the log. Members are added, never renamed: the log may hold what the version before wrote.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::LaneState;
use crate::domain::wire_enum::wire_enum;

wire_enum! {
    /// Why devices were quarantined.
    QuarantineCause {
        /// The provider called their tokens dead.
        Provider = 1 "provider",
        /// A registration named them as replaced.
        Replaced = 2 "replaced",
        /// A clean-up run found them inactive.
        Inactive = 3 "inactive",
    }
}

wire_enum! {
    /// Why devices were restored or corrected.
    CorrectionCause {
        /// The app registered them.
        Registration = 1 "registration",
        /// An operator asked for it.
        Admin = 2 "admin",
        /// A clean-up run was undone.
        Run = 3 "run",
        /// The pruning guard was engaged.
        Brake = 4 "brake",
        /// The provider accepted their token in another environment.
        Environment = 5 "environment",
    }
}

wire_enum! {
    /// What became of a new credential.
    CredentialResult {
        /// The provider accepted a notification that was sent with it.
        Taken = 1 "taken",
        /// The provider refused it.
        Refused = 2 "refused",
    }
}

/// Devices that were quarantined for one cause.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QuarantineFact {
    /// The cause that they share.
    pub cause: QuarantineCause,
    /// Number of the lane, if they share one.
    #[serde(default)]
    pub lane: Option<i32>,
    /// Number of the clean-up run.
    #[serde(default)]
    pub run: Option<i64>,
    /// The reason of each device, in the order of the entry's devices.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// What each device was quarantined on: the time of the evidence, in the order of the entry's devices. None: there is no
    /// evidence, because a registration replaced the device.
    #[serde(default)]
    pub evidence_at: Vec<Option<DateTime<Utc>>>,
}

/// Devices that were restored or corrected for one cause.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CorrectedFact {
    /// The cause that they share.
    pub cause: CorrectionCause,
    /// Number of the clean-up run that was undone.
    #[serde(default)]
    pub run: Option<i64>,
}

/// A change of a lane's state: the worst over all nodes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LaneFact {
    /// Number of the lane.
    pub lane: i32,
    /// The state that the log told last. None: it told none, or no node knew the lane.
    #[serde(default)]
    pub from: Option<LaneState>,
    /// The state now. None: no node knows the lane any more.
    #[serde(default)]
    pub to: Option<LaneState>,
    /// The provider's reason.
    #[serde(default)]
    pub why: Option<String>,
    /// Since when the lane has been in this state.
    pub since: DateTime<Utc>,
    /// Devices that were due in the lane at the leader's last count.
    #[serde(default)]
    pub held_devices: i64,
}

/// A pruning guard that was engaged or released.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GuardFact {
    /// Number of the lane.
    pub lane: i32,
    /// The provider's reason that came too often.
    #[serde(default)]
    pub reason: Option<String>,
    /// Devices that came back with it. None: they are told by an entry of their own.
    #[serde(default)]
    pub restored: Option<u64>,
}

/// A credential that was tried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CredentialFact {
    /// Number of the lane.
    pub lane: i32,
    /// The beginning of the credential's fingerprint, in hexadecimal digits.
    pub credential: String,
    /// What became of it.
    pub result: CredentialResult,
    /// Why the provider refused it.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A clean-up run that has ended. The rest is in its row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CleanupFact {
    /// Number of the run.
    pub run: i64,
}

/// A node that has started or died.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeFact {
    /// The number of its row.
    pub node: i32,
    /// Its host and process id.
    pub name: String,
    /// The version of its program.
    pub version: String,
}

/// An API key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyFact {
    /// Its public id.
    pub key: String,
    /// The name that it was given.
    #[serde(default)]
    pub name: Option<String>,
    /// The names of its scopes.
    pub scopes: Vec<String>,
}

/// An operator's action, as the audit line of the log tells it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ActionFact {
    /// The id of the key that it was asked with, or `cli`.
    pub key: String,
    /// What was asked for, such as `lane.pause`.
    pub action: String,
    /// What it was asked for. Empty: the action names no object.
    pub object: String,
    /// `done`, or the code of the problem.
    pub result: String,
}
