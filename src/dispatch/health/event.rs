//! The events that the lane's state machine takes in, and the effects that it returns.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{DeviceId, LaneCause, NotificationId, Reason};

/// What a lane may do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::dispatch) enum Admission {
    /// Attempts may start, as many as the limits allow.
    Send,
    /// One attempt may start. Its answer decides whether the lane sends again.
    Probe,
    /// No attempt may start before this moment; none: before an event changes the state.
    Wait(Option<Instant>),
}

/// Counts how often a lane entered a state, also the one that it was in: each failed probe and each change of the pause
/// begins a generation. An attempt keeps the generation in which it starts: if the generation is another one when the
/// answer comes, the answer says nothing about the present state. Never decreases.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::dispatch) struct Generation(pub(super) u64);

impl Generation {
    /// Of a lane that has just been made.
    pub(in crate::dispatch) const FIRST: Self = Self(0);
}

/// Whether a failed attempt counts for the device or for the lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::dispatch) enum Attribution {
    /// The attempt counts: the device gets its next attempt by the retry policy.
    #[default]
    Device,
    /// The attempt does not count: the lane is out of order and the device goes back to its job.
    Lane,
}

/// The notification and the device that an attempt is for.
pub(in crate::dispatch) type ProbeTarget = (NotificationId, DeviceId);

/// What happens to a lane. An event that carries a generation comes from an attempt that started in that generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::dispatch) enum LaneEvent {
    /// The provider answered as a working provider does, whatever it said about the device.
    Succeeded(Generation),
    /// The provider answered about a header that the request itself overrode. The provider works, but the answer says
    /// nothing about the lane's credential or topic.
    Inconclusive(Generation),
    /// The provider was reached without a device: there is a connection, and the credential is accepted where the provider
    /// tells without a device. What the provider would answer about a device is not known.
    Reached(Generation),
    /// The provider answered with a fault of its own, mostly a 5xx, or of the connection.
    ServerError {
        /// When the attempt started.
        generation: Generation,
        /// If the same target fails as probe twice in a row, the target may be the cause.
        target: ProbeTarget,
        /// The provider's word.
        reason: Reason,
        /// What the provider asks for.
        retry_after: Option<Duration>,
    },
    /// No answer came in time. The push may have been sent.
    TimedOut(Generation),
    /// The provider, or the way to it, asks the whole lane to wait.
    MustWait {
        /// When the attempt started.
        generation: Generation,
        /// Throttled, or out of order.
        cause: LaneCause,
        /// The provider's word.
        reason: Reason,
        /// What the provider asks for.
        retry_after: Option<Duration>,
    },
    /// The provider rejected the credential or the topic.
    CredentialRejected {
        /// When the attempt started.
        generation: Generation,
        /// The provider's word.
        reason: Reason,
    },
    /// The provider accepted another credential, which is in use from now on.
    CredentialChanged,
    /// What the database says about this lane.
    RemoteState {
        /// An operator paused the lane.
        paused: bool,
        /// What the lane's row says about suspensions.
        suspension: StoredSuspension,
    },
    /// The database has taken this node's latest decision about the credential in use.
    DecisionStored,
    /// The prefetcher is about to start the probe.
    ProbeStarted(Generation),
    /// The attempt of the probe that started in this generation is over, whatever came of it.
    ProbeEnded(Generation),
    /// An operator, or a new credential that waits for its trial, asks for a probe now.
    RetryNow,
}

/// What the lane's row says about suspensions. The row has room for one credential, but nodes may have several that are
/// rejected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::dispatch) enum StoredSuspension {
    /// No suspension is stored: none was, or it is over.
    Empty,
    /// Some node found the credential in use rejected, for this reason.
    OfThisCredential(Reason),
    /// Another credential is rejected. Before that, the row may have named the one in use.
    OfAnotherCredential,
}

/// What has to be done after an event.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Effects {
    /// Meaningful after `ServerError`.
    pub(super) attribution: Attribution,
    /// `ProbeStarted` was granted.
    pub(super) probe_granted: bool,
    /// What other nodes have to learn through the database.
    pub(super) persist: Option<Persist>,
    /// What the prefetcher has to do.
    pub(super) wake: Wake,
    /// What operators read in the log.
    pub(super) log: Option<Log>,
}

/// A change of the suspension that is stored for the credential in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Persist {
    /// This node found the credential rejected.
    Suspension,
    /// The provider accepts the credential again.
    Recovery,
}

/// How the prefetcher learns of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Wake {
    /// Not at all.
    #[default]
    No,
    /// It reads the admission again, and looks for jobs if the lane sends.
    ReadAdmission,
    /// It looks for jobs whatever the admission is.
    LookForJobs,
}

/// A change that is logged, from the state after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Log {
    /// The lane sends again.
    Recovered,
    /// The lane waits this long.
    Stopped(Duration),
    /// The credential is rejected.
    Suspended,
    /// A probe met the same rejection: a reader of the last minutes must find the cause too.
    StillSuspended,
    /// Pause or suspension changed by what the database says.
    RemoteState,
}
