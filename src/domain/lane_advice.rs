//! What an operator does about a lane that has stopped. The log, and the answer to why a push was late, say the same.

use super::{LaneKey, LaneState, PushpostReason};

/// What a provider states about the help for operators.
#[derive(Clone, Copy, Debug)]
pub struct OperatorAdvice {
    /// The settings to correct where the provider rejects the credential or the configuration with this word: the object of
    /// a sentence.
    pub rejected: fn(&str) -> &'static str,
    /// What to do where the provider asks a lane to wait: a sentence without its full stop.
    pub throttled: &'static str,
    /// The settings that have to fit the app which registers the tokens: the object of a sentence.
    pub tokens: &'static str,
}

impl OperatorAdvice {
    /// For a provider that tells no reasons apart.
    pub const GENERAL: Self = Self {
        rejected: |_| "the credential",
        throttled: "Look for a change in what is sent, or ask for a higher quota",
        tokens: "the credential and the environment",
    };
}

/// The operator's next step, with the section of `docs/runbook.md`; none: the lane sends. `reason`: the provider's word.
pub fn lane_advice(lane: LaneKey, state: LaneState, reason: Option<&str>) -> Option<String> {
    let of_provider = &lane.platform().facts().advice;
    match state {
        LaneState::Unknown | LaneState::Running => None,
        LaneState::Paused => Some(format!("Resume the lane: pushpost queue resume {lane}")),
        LaneState::Suspended => {
            let settings = (of_provider.rejected)(reason.unwrap_or_default());
            Some(format!(
                "Correct {settings}; a changed file is tried by itself. If nothing was wrong: pushpost queue resume \
                 {lane} (docs/runbook.md#lane-suspended)"
            ))
        }
        LaneState::Broken => {
            let place =
                if is_answer(reason) { "the provider's status page" } else { "the network to the provider" };
            Some(format!("Look at {place}; the lane tries again by itself (docs/runbook.md#lane-broken)"))
        }
        LaneState::Throttled => {
            let advice = of_provider.throttled;
            Some(format!("{advice}; the lane tries again by itself (docs/runbook.md#lane-throttled)"))
        }
    }
}

/// The operator's next step where the pruning guard is engaged, with the section of `docs/runbook.md`.
pub fn pruning_advice(lane: LaneKey) -> String {
    let settings = lane.platform().facts().advice.tokens;
    format!(
        "Compare {settings} with the app that registers the tokens, and correct the configuration. If the tokens are dead \
         indeed: pushpost queue resume {lane} (docs/runbook.md#pruning-braked)"
    )
}

/// Is this a word or a status of the provider? A sentence is the transport's, about the connection.
fn is_answer(reason: Option<&str>) -> bool {
    reason.is_some_and(|reason| !reason.contains(' ') && reason != PushpostReason::NoAnswer.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_platform::{EAST, STRUCTURED};

    fn advice(state: LaneState, reason: &str) -> String {
        lane_advice(LaneKey::new(STRUCTURED, Some(EAST)), state, Some(reason)).unwrap_or_default()
    }

    #[test]
    fn a_provider_that_answers_is_told_from_a_network_that_does_not() {
        assert!(advice(LaneState::Broken, "503").contains("status page"));
        for reason in ["connect failed: refused", "no_answer"] {
            assert!(advice(LaneState::Broken, reason).contains("the network"), "{reason}");
        }
    }

    #[test]
    fn the_command_names_the_lane_and_a_lane_that_sends_needs_none() {
        for state in [LaneState::Suspended, LaneState::Paused] {
            assert!(advice(state, "X").contains("pushpost queue resume structured-east"), "{state}");
        }
        assert_eq!(advice(LaneState::Running, ""), "");
    }
}
