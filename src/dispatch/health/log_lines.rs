//! The log lines about a lane's state. Each line that asks for something says in `hint` what to do.

use super::event::Log;
use super::state::LaneHealth;
use crate::domain::{LaneKey, Reason, lane_advice};

/// Writes what happened to a lane. `name` is as `shop/fcm`; `health` is the state after the event.
pub(super) fn write(log: Log, name: &str, key: LaneKey, health: &LaneHealth) {
    let (state, reason) = health.state();
    let reason = reason.map(Reason::as_str);
    let hint = lane_advice(key, state, reason);
    let lane = name;
    match log {
        Log::Recovered => tracing::info!(lane, "lane sends again"),
        Log::Stopped(pause) => {
            let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(lane, %state, reason, pause_ms, hint, "lane stops sending until its next probe");
        }
        Log::Suspended => {
            let detail = "jobs wait; no notification fails and no token is pruned";
            tracing::error!(
                lane,
                reason,
                detail,
                hint,
                "lane is suspended because the provider rejects its credential or configuration"
            );
        }
        Log::StillSuspended => tracing::warn!(lane, reason, hint, "lane stays suspended after its probe"),
        Log::RemoteState => {
            let paused = health.is_paused();
            tracing::info!(lane, paused, %state, reason, hint, "lane state updated from the database");
        }
    }
}
