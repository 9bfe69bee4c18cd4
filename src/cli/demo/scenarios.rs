//! The scenarios of the demo's timeline: what each one makes fail, when, and how that ends.
//!
//! No fault races with a lane's pauses, however slow the machine is. A fault begins when the lanes that it concerns send,
//! and when the scenario before it at the same providers is over ([`super::turns`]). No fault needs a number of requests
//! to end, because a lane that has stopped sends single probes, with growing pauses.

use std::time::Duration;

use pushpost_simulator::{Action, Answer, ConnectionFault, FcmFault, H2Code, LastStream, Provider, Rule};

const BOTH: &[Provider] = &[Provider::Apns, Provider::Fcm];
const APNS: &[Provider] = &[Provider::Apns];
const FCM: &[Provider] = &[Provider::Fcm];

/// An error page in base64 that no JSON parser accepts: `<html>`, a NUL byte, half a UTF-8 sequence.
const ERROR_PAGE: &str = "PGh0bWw+AABvb3BzIMP/PC9odG1sPg==";

/// Scenarios that end connections: the outcome of a request on such a connection may be unknown.
pub(super) const BREAKING: [&str; 3] = ["GOAWAY", "resets", "black hole"];

/// One disturbance on the timeline.
pub(super) struct Scenario {
    /// Seconds after the timeline's start, at the earliest.
    pub(super) at: u64,
    /// Unique; also the name of the scenario's rules in the stand-ins' script, by which they are removed.
    pub(super) name: &'static str,
    /// What happens, as a clause for the screen.
    pub(super) what: &'static str,
    /// Providers with devices that get the scenario's own notification. No other provider is disturbed.
    pub(super) observed_at: &'static [Provider],
    /// How long the disturbance lasts after it has met a request, and how it is repaired. None: it ends by itself, or when
    /// its rules are used up.
    pub(super) repaired: Option<(Duration, &'static str)>,
    pub(super) disturbance: Disturbance,
}

/// What a scenario does to the system.
pub(super) enum Disturbance {
    /// The stand-ins follow these rules.
    Rules(Vec<Rule>),
    /// All connections to Postgres are cut, several times in a row.
    Postgres,
    /// A client posts bodies that are not valid requests.
    InvalidRequests,
    /// The stand-ins follow these rules, which refuse the credential. The lane must be suspended before they are removed.
    Credential(Vec<Rule>),
}

impl Scenario {
    /// The rules for the stand-ins' script, named after the scenario.
    pub(super) fn rules(&self) -> Vec<Rule> {
        let rules = match &self.disturbance {
            Disturbance::Rules(rules) | Disturbance::Credential(rules) => rules.as_slice(),
            Disturbance::Postgres | Disturbance::InvalidRequests => &[],
        };
        let named = |rule: &Rule| Rule { name: Some(self.name.to_owned()), ..rule.clone() };
        rules.iter().map(named).collect()
    }
}

/// All scenarios, by the time of their start.
pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            at: 0,
            name: "GOAWAY",
            what: "both providers end connections with GOAWAY, some without processing open streams",
            observed_at: BOTH,
            repaired: None,
            disturbance: Disturbance::Rules(each(BOTH, &goaways())),
        },
        Scenario {
            at: 2,
            name: "resets",
            what: "both providers refuse streams, reset some accepted ones, and cut a connection",
            observed_at: BOTH,
            repaired: None,
            disturbance: Disturbance::Rules(each(BOTH, &resets())),
        },
        Scenario {
            at: 4,
            name: "outage",
            what: "APNs answers 503 to everything",
            observed_at: APNS,
            repaired: Some((Duration::from_secs(5), "APNs answers again")),
            disturbance: Disturbance::Rules(each(APNS, &[(Action::answer(503, "ServiceUnavailable"), None)])),
        },
        Scenario {
            at: 6,
            name: "quota",
            what: "FCM answers 429 to the whole project: come back in 3 seconds",
            observed_at: FCM,
            repaired: Some((Duration::from_secs(2), "the project has quota again")),
            disturbance: Disturbance::Rules(each(FCM, &[(quota(), None)])),
        },
        Scenario {
            at: 10,
            name: "error page",
            what: "FCM answers 502 with HTML pages that contain NUL and broken UTF-8",
            observed_at: FCM,
            repaired: Some((Duration::from_secs(2), "FCM answers properly again")),
            disturbance: Disturbance::Rules(each(FCM, &[(error_page(), None)])),
        },
        Scenario {
            at: 12,
            name: "black hole",
            what: "a connection to APNs accepts everything and answers nothing, not even PING",
            observed_at: APNS,
            repaired: None,
            disturbance: Disturbance::Rules(each(APNS, &[(Action::Stall { accepted: false }, Some(1))])),
        },
        Scenario {
            at: 14,
            name: "bad input",
            what: "a client posts bodies that are not valid requests",
            observed_at: FCM,
            repaired: None,
            disturbance: Disturbance::InvalidRequests,
        },
        Scenario {
            at: 16,
            name: "wrong key",
            what: "FCM refuses the credential with 403",
            observed_at: FCM,
            repaired: Some((
                Duration::from_secs(3),
                "FCM accepts the credential again, and an operator resumes the lane",
            )),
            disturbance: Disturbance::Credential(each(
                FCM,
                &[(Action::fcm(FcmFault::PermissionDenied), None)],
            )),
        },
        Scenario {
            at: 24,
            name: "Postgres",
            what: "every connection to Postgres is cut, three times in a row",
            observed_at: BOTH,
            repaired: None,
            disturbance: Disturbance::Postgres,
        },
        Scenario {
            at: 28,
            name: "TLS",
            what: "APNs moves to a server with a certificate from an unknown authority",
            observed_at: APNS,
            repaired: Some((Duration::from_secs(3), "the server has the right certificate again")),
            disturbance: Disturbance::Rules(unknown_authority()),
        },
    ]
}

/// The faults that come again and again after the report.
pub(super) fn recurring() -> Vec<Scenario> {
    let (lasts_short, lasts_long) = (Duration::from_secs(6), Duration::from_secs(20));
    vec![
        Scenario {
            at: 0,
            name: "quota again",
            what: "FCM answers 429 to the whole project: come back in 3 seconds",
            observed_at: FCM,
            repaired: Some((lasts_short, "the project has quota again")),
            disturbance: Disturbance::Rules(each(FCM, &[(quota(), None)])),
        },
        Scenario {
            at: 0,
            name: "wrong key again",
            what: "FCM refuses the credential with 403",
            observed_at: FCM,
            repaired: Some((
                lasts_long,
                "FCM accepts the credential again, and an operator resumes the lane",
            )),
            disturbance: Disturbance::Credential(each(
                FCM,
                &[(Action::fcm(FcmFault::PermissionDenied), None)],
            )),
        },
    ]
}

/// A rule per provider and action. The number says how often the action is taken; none: always.
fn each(providers: &[Provider], actions: &[(Action, Option<u64>)]) -> Vec<Rule> {
    let rule = |provider: &Provider, (action, times): &(Action, Option<u64>)| Rule {
        times: *times,
        ..Rule::provider(*provider, action.clone())
    };
    providers.iter().flat_map(|provider| actions.iter().map(move |action| rule(provider, action))).collect()
}

fn goaways() -> Vec<(Action, Option<u64>)> {
    let goaway = |code, last, debug: &str| (Action::GoAway { code, last, debug: debug.to_owned() }, Some(1));
    vec![
        goaway(H2Code::NoError, LastStream::Before, r#"{"reason":"Shutdown"}"#),
        goaway(H2Code::NoError, LastStream::This, "session_timed_out"),
        goaway(H2Code::EnhanceYourCalm, LastStream::Before, "too many pings"),
        goaway(H2Code::NoError, LastStream::Graceful, ""),
    ]
}

fn resets() -> Vec<(Action, Option<u64>)> {
    let reset = |code, accepted, times| (Action::Reset { code, accepted }, Some(times));
    vec![
        reset(H2Code::RefusedStream, false, 10),
        reset(H2Code::InternalError, true, 3),
        (Action::Close { accepted: false }, Some(1)),
    ]
}

fn quota() -> Action {
    let retry_after = Some("3".to_owned());
    Action::FcmFault { fault: FcmFault::ProjectQuota, retry_after, retry_after_date_seconds: None }
}

fn error_page() -> Action {
    Action::Answer(Box::new(Answer {
        status: 502,
        content_type: Some("text/html".to_owned()),
        body_base64: Some(ERROR_PAGE.to_owned()),
        ..Answer::default()
    }))
}

/// Ends the open connections gracefully, so that new ones are opened, which meet the unknown certificate.
fn unknown_authority() -> Vec<Rule> {
    let goaway = Action::GoAway { code: H2Code::NoError, last: LastStream::Graceful, debug: String::new() };
    let unknown_authority = Action::Connection { fault: ConnectionFault::UnknownAuthority };
    each(APNS, &[(goaway, None), (unknown_authority, None)])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn scenarios_are_sorted_by_time_and_have_unique_names() {
        let scenarios = all();
        assert!(scenarios.is_sorted_by_key(|scenario| scenario.at));
        let scenarios: Vec<_> = scenarios.into_iter().chain(recurring()).collect();
        let names: HashSet<_> = scenarios.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), scenarios.len());
        assert!(BREAKING.iter().all(|name| names.contains(name)));
    }

    #[test]
    fn rules_without_an_end_are_repaired() {
        for scenario in all().into_iter().chain(recurring()) {
            let is_endless = scenario.rules().iter().any(|rule| rule.times.is_none());
            assert_eq!(is_endless, scenario.repaired.is_some(), "{}", scenario.name);
        }
    }

    #[test]
    fn a_scenario_disturbs_only_the_providers_that_it_observes() {
        for scenario in all() {
            for rule in scenario.rules() {
                let provider = rule.provider.expect("each rule is for one provider");
                assert!(scenario.observed_at.contains(&provider), "{}", scenario.name);
            }
        }
    }
}
