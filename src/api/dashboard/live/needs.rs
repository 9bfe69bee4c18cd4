//! What needs a person now: each with its cause and the next step in words that need no knowledge of the code.

use chrono::TimeDelta;
use serde::Serialize;

use super::snapshot::{SnapshotContext, SnapshotFigures};
use super::webhook_needs;
use crate::api::time::Timestamp;
use crate::domain::{LaneKey, LaneState, OBJECTIVE_PERCENT, OBJECTIVE_TIME, lane_advice, pruning_advice};
use crate::notifications::why::in_words;
use crate::store::lanes::LaneSummary;
use crate::store::nodes::ListedNode;

/// A node beats at least every 3 s.
const BEAT_LATE_SECONDS: f64 = 10.0;

/// One thing that needs a person.
#[derive(Serialize, Debug)]
pub(super) struct Need {
    /// A word that pages draw as a shape and a colour.
    pub(super) state: &'static str,
    /// The name of the lane, webhook or node.
    pub(super) about: String,
    /// The path of the page about it, below `/dashboard/`.
    pub(super) page: String,
    pub(super) since: Option<Timestamp>,
    /// The word of the provider or of the receiver.
    pub(super) reason: Option<String>,
    /// The cause: a sentence.
    pub(super) text: String,
    /// Devices that wait because of it, as the leader counted last.
    pub(super) devices: Option<i64>,
    /// How long ago that was.
    pub(super) counted_seconds_ago: Option<f64>,
    /// The next step, which may end with a section of the documents in brackets.
    pub(super) action: String,
}

/// All of an app: its lanes first, because phones wait for them.
pub(super) fn of(figures: &SnapshotFigures, context: SnapshotContext<'_>) -> Vec<Need> {
    let lanes = figures.lanes.iter().filter_map(|lane| Some((context.app.lane_key(lane.lane)?, lane)));
    let mut needs: Vec<Need> = lanes
        .filter(|(key, _)| context.app.lane(*key).configured)
        .flat_map(|(key, lane)| of_lane(key, lane, context.is_admin))
        .collect();
    let silent =
        |node: &&ListedNode| node.dead_at.is_none() && node.heartbeat_age_seconds > BEAT_LATE_SECONDS;
    needs.extend(context.nodes.iter().filter(silent).map(of_node));
    needs.extend(of_objective(figures));
    if context.is_admin {
        needs.extend(webhook_needs::of(&figures.webhooks, context));
    }
    needs
}

fn of_lane(key: LaneKey, lane: &LaneSummary, is_admin: bool) -> Vec<Need> {
    let need = |state, text: &str, action: String| Need {
        state,
        about: key.to_string(),
        page: format!("lanes/{key}"),
        since: None,
        reason: None,
        text: text.to_owned(),
        devices: None,
        counted_seconds_ago: None,
        action: if is_admin { with_button(&action, key) } else { action },
    };
    let mut needs = Vec::new();
    if let Some(advice) = lane_advice(key, lane.state, lane.why.as_deref()) {
        needs.push(Need {
            since: lane.since.map(Timestamp),
            reason: lane.why.clone(),
            // A count from before the stop may be 0.
            devices: lane.waiting.map(|waiting| waiting.due_devices).filter(|devices| *devices > 0),
            counted_seconds_ago: lane.waiting.map(|waiting| waiting.age_seconds),
            ..need(lane.state.as_str(), cause(lane.state), with_section(advice, lane.state))
        });
    }
    if let Some(reason) = &lane.braked {
        needs.push(Need {
            since: lane.braked_at.map(Timestamp),
            reason: Some(reason.clone()),
            ..need(
                "braked",
                "The provider called so many tokens dead at once that a wrong configuration is likelier. So no device \
                 is quarantined; pushes go on.",
                pruning_advice(key),
            )
        });
    }
    if is_admin && lane.credential_ok == Some(false) && lane.state != LaneState::Suspended {
        let action = "Put a valid credential into the configuration (docs/runbook.md#credential-stale)";
        needs.push(need("refused", "The provider refused the credential.", action.to_owned()));
    }
    needs
}

/// Why a lane in this state does not send.
fn cause(state: LaneState) -> &'static str {
    match state {
        LaneState::Unknown | LaneState::Running => "",
        LaneState::Paused => "An operator has paused the lane.",
        LaneState::Suspended => "The provider refuses the credential or the topic.",
        LaneState::Broken => "The provider is out of reach, or fails.",
        LaneState::Throttled => {
            "The provider asks for fewer pushes, so the lane waits as long as the provider says."
        }
    }
}

/// The advice about a pause names no section.
fn with_section(advice: String, state: LaneState) -> String {
    if state == LaneState::Paused { advice + " (docs/runbook.md#lane-paused)" } else { advice }
}

/// A page with buttons names the button before the command.
fn with_button(action: &str, lane: LaneKey) -> String {
    let command = format!("pushpost queue resume {lane}");
    action.replace(&command, &format!("press Resume, or run {command}"))
}

fn of_node(node: &ListedNode) -> Need {
    Need {
        state: "dead",
        about: node.name.clone(),
        page: "#nodes".to_owned(),
        since: None,
        reason: None,
        text: format!("No heartbeat for {}.", seconds_in_words(node.heartbeat_age_seconds)),
        devices: None,
        counted_seconds_ago: None,
        action: "Look whether the node, and its way to Postgres, is up (docs/runbook.md#down)".to_owned(),
    }
}

/// A long wait at high priority, or a missed objective.
fn of_objective(figures: &SnapshotFigures) -> Option<Need> {
    let [last_hour, _] = figures.shares();
    let oldest = figures.oldest_high_seconds();
    let is_late = oldest.is_some_and(|seconds| seconds > OBJECTIVE_TIME.as_secs_f64());
    let is_missed = last_hour.is_some_and(|share| share * 100.0 < f64::from(OBJECTIVE_PERCENT));
    if !is_late && !is_missed {
        return None;
    }
    let waits = oldest.map(seconds_in_words);
    let waits = waits.map(|time| format!("The oldest device of high priority waits for {time}. "));
    // Rounded down, because 99.96 % is not 100 %.
    let share =
        last_hour.map(|share| format!("In time, last hour: {:.1} %.", (share * 1_000.0).floor() / 10.0));
    Some(Need {
        state: "late",
        about: "Notifications".to_owned(),
        page: "notifications?status=queued&status=sending".to_owned(),
        since: None,
        reason: None,
        text: (waits.unwrap_or_default() + share.as_deref().unwrap_or_default()).trim_end().to_owned(),
        devices: None,
        counted_seconds_ago: None,
        action: "Open a late one: its page says what the time went to. A lane at its limit in flight needs nodes, or \
                 a faster provider (docs/runbook.md#late-slow)"
            .to_owned(),
    })
}

fn seconds_in_words(seconds: f64) -> String {
    in_words(TimeDelta::milliseconds((seconds * 1_000.0) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{apns, fcm};

    /// A lane that runs.
    fn lane() -> LaneSummary {
        LaneSummary {
            lane: crate::domain::LaneId(1),
            state: LaneState::Running,
            why: None,
            since: None,
            waiting: None,
            in_flight: 0,
            in_flight_max: None,
            rate: 0.0,
            connections: 0,
            credential: None,
            credential_ok: None,
            checked_at: None,
            braked: None,
            braked_at: None,
        }
    }

    #[test]
    fn each_stop_has_a_cause_an_action_and_a_section_of_the_runbook() {
        let headings = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbook.md"));
        let headings: Vec<String> = headings
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .map(|heading| heading.to_lowercase().replace(' ', "-"))
            .collect();
        let stopped = [LaneState::Paused, LaneState::Suspended, LaneState::Broken, LaneState::Throttled];
        let stopped = stopped.map(|state| LaneSummary { state, ..lane() });
        let braked = LaneSummary { braked: Some("UNREGISTERED".to_owned()), ..lane() };
        let refused = LaneSummary { credential_ok: Some(false), ..lane() };
        for lane in stopped.into_iter().chain([braked, refused]) {
            for key in [fcm::LANE, apns::lane(apns::SANDBOX)] {
                let needs = of_lane(key, &lane, true);
                let [need] = needs.as_slice() else { panic!("{needs:?}") };
                assert!(!need.text.is_empty(), "{need:?}");
                let (_, page) = need.action.split_once(" (docs/").expect("a page");
                let section = page.strip_prefix("runbook.md#").and_then(|section| section.strip_suffix(')'));
                let section = section.expect("a section of the runbook at the end");
                assert!(headings.iter().any(|known| known == section), "{need:?}");
            }
        }
        assert!(of_lane(fcm::LANE, &lane(), true).is_empty());
    }

    #[test]
    fn the_button_is_named_where_there_is_one() {
        let paused = LaneSummary { state: LaneState::Paused, ..lane() };
        let action = |is_admin| of_lane(fcm::LANE, &paused, is_admin).remove(0).action;
        let expected =
            "Resume the lane: press Resume, or run pushpost queue resume fcm (docs/runbook.md#lane-paused)";
        assert_eq!(action(true), expected);
        assert_eq!(action(false), "Resume the lane: pushpost queue resume fcm (docs/runbook.md#lane-paused)");
    }
}
