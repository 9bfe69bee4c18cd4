//! What a node tells operators about one of its lanes.

use tokio::time::Instant;

use crate::dispatch::limits::quota::OverQuota;
use crate::domain::{LaneState, Reason};

/// A lane's state, as operators read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::dispatch) struct HealthReport {
    pub(in crate::dispatch) state: LaneState,
    /// The provider's word, if the provider is the cause.
    pub(in crate::dispatch) why: Option<Reason>,
    /// When this state began.
    pub(in crate::dispatch) since: Instant,
    /// Whether the provider accepted the credential when it last answered about the credential, and when that was.
    pub(in crate::dispatch) credential: Option<(bool, Instant)>,
}

impl HealthReport {
    /// A running lane is reported as throttled while its project is over its quota.
    pub(in crate::dispatch) fn with_quota(self, told: Option<OverQuota>) -> Self {
        match told {
            Some(OverQuota { why, since, .. }) if self.state == LaneState::Running => {
                Self { state: LaneState::Throttled, why: Some(why), since, ..self }
            }
            _ => self,
        }
    }
}
