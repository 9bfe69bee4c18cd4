//! What goes wrong on the timeline, and when.

use std::time::Duration;

use pushpost_simulator::{Action, Answer, ConnectionFault, FcmFault, H2Code, LastStream, Provider, Rule};

const BOTH: &[Provider] = &[Provider::Apns, Provider::Fcm];
const APNS: &[Provider] = &[Provider::Apns];
const FCM: &[Provider] = &[Provider::Fcm];

/// A front end's error page, as no parser expects it: `<html>`, a NUL, half a UTF-8 sequence.
const POISON: &str = "PGh0bWw+AABvb3BzIMP/PC9odG1sPg==";

/// Rules by these names end connections: what was on its way there may be in doubt.
pub(super) const BREAKING: [&str; 3] = ["GOAWAY", "resets", "black hole"];

/// Something that goes wrong.
pub(super) struct Scenario {
    /// Seconds from the timeline's beginning.
    pub(super) at: u64,
    /// Also the name of its rules.
    pub(super) name: &'static str,
    /// What happens, in words.
    pub(super) what: &'static str,
    /// Whose devices show how it is overcome.
    pub(super) who: &'static [Provider],
    /// What is done about it, and after how long; the others end by themselves.
    pub(super) mended: Option<(Duration, &'static str)>,
    pub(super) disturbance: Disturbance,
}

/// What a scenario does.
pub(super) enum Disturbance {
    /// The stand-ins follow these rules.
    Script(Vec<Rule>),
    /// All connections to Postgres are cut, some times in a row.
    Postgres,
    /// A client posts what no API expects.
    InvalidRequests,
    /// The stand-ins follow these rules until the lane is suspended and its key is corrected.
    Key(Vec<Rule>),
}

impl Scenario {
    /// The stand-ins' rules.
    pub(super) fn rules(&self) -> Vec<Rule> {
        let rules = match &self.disturbance {
            Disturbance::Script(rules) | Disturbance::Key(rules) => rules.as_slice(),
            Disturbance::Postgres | Disturbance::InvalidRequests => &[],
        };
        let named = |rule: &Rule| Rule { name: Some(self.name.to_owned()), ..rule.clone() };
        rules.iter().map(named).collect()
    }
}

/// All of them, in order.
pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            at: 0,
            name: "GOAWAY",
            what: "both providers end connections: gracefully, with streams left out, with words of their own",
            who: BOTH,
            mended: None,
            disturbance: Disturbance::Script(each(BOTH, &farewells())),
        },
        Scenario {
            at: 2,
            name: "resets",
            what: "both refuse streams, reset some they have taken, and cut a connection",
            who: BOTH,
            mended: None,
            disturbance: Disturbance::Script(each(BOTH, &resets())),
        },
        Scenario {
            at: 4,
            name: "outage",
            what: "APNs answers 503 to everything",
            who: APNS,
            mended: Some((Duration::from_secs(5), "APNs is back")),
            disturbance: Disturbance::Script(each(
                APNS,
                &[(Action::answer(503, "ServiceUnavailable"), None)],
            )),
        },
        Scenario {
            at: 6,
            name: "quota",
            what: "FCM answers 429 to the whole project: come back in 3 seconds",
            who: FCM,
            mended: Some((Duration::from_secs(3), "the quota is filled up")),
            disturbance: Disturbance::Script(each(FCM, &[(quota(), None)])),
        },
        Scenario {
            at: 11,
            name: "poison",
            what: "FCM answers with error pages of HTML, with NUL and broken UTF-8 in them",
            who: FCM,
            mended: None,
            disturbance: Disturbance::Script(each(FCM, &[(poison(), Some(20))])),
        },
        Scenario {
            at: 12,
            name: "black hole",
            what: "a connection to APNs takes everything and answers nothing any more, not even PING",
            who: APNS,
            mended: None,
            disturbance: Disturbance::Script(each(APNS, &[(Action::Stall { accepted: false }, Some(1))])),
        },
        Scenario {
            at: 14,
            name: "garbage",
            what: "a client posts what no API expects",
            who: FCM,
            mended: None,
            disturbance: Disturbance::InvalidRequests,
        },
        Scenario {
            at: 16,
            name: "wrong key",
            what: "FCM rejects the credential with 403",
            who: FCM,
            mended: Some((
                Duration::from_secs(5),
                "the key is right again, and its operator resumes the lane",
            )),
            disturbance: Disturbance::Key(each(FCM, &[(Action::fcm(FcmFault::PermissionDenied), None)])),
        },
        Scenario {
            at: 24,
            name: "Postgres",
            what: "every connection to Postgres is cut, three times in a row",
            who: BOTH,
            mended: None,
            disturbance: Disturbance::Postgres,
        },
        Scenario {
            at: 28,
            name: "TLS",
            what: "APNs moves to a server whose certificate nobody knows",
            who: APNS,
            mended: Some((Duration::from_secs(3), "it shows the right certificate")),
            disturbance: Disturbance::Script(stranger()),
        },
    ]
}

/// These actions at each provider, so often.
fn each(providers: &[Provider], actions: &[(Action, Option<u64>)]) -> Vec<Rule> {
    let rule = |provider: &Provider, (action, times): &(Action, Option<u64>)| Rule {
        times: *times,
        ..Rule::provider(*provider, action.clone())
    };
    providers.iter().flat_map(|provider| actions.iter().map(move |action| rule(provider, action))).collect()
}

fn farewells() -> Vec<(Action, Option<u64>)> {
    let go = |code, last, debug: &str| (Action::GoAway { code, last, debug: debug.to_owned() }, Some(1));
    vec![
        go(H2Code::NoError, LastStream::Before, r#"{"reason":"Shutdown"}"#),
        go(H2Code::NoError, LastStream::This, "session_timed_out"),
        go(H2Code::EnhanceYourCalm, LastStream::Before, "too many pings"),
        go(H2Code::NoError, LastStream::Graceful, ""),
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

fn poison() -> Action {
    Action::Answer(Box::new(Answer {
        status: 502,
        content_type: Some("text/html".to_owned()),
        body_base64: Some(POISON.to_owned()),
        ..Answer::default()
    }))
}

/// The living connections are said farewell to first; the others follow.
fn stranger() -> Vec<Rule> {
    let farewell = Action::GoAway { code: H2Code::NoError, last: LastStream::Graceful, debug: String::new() };
    let stranger = Action::Connection { fault: ConnectionFault::UnknownAuthority };
    each(APNS, &[(farewell, None), (stranger, None)])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn scenes_come_in_order_and_each_has_a_name_of_its_own() {
        let scenarios = all();
        assert!(scenarios.is_sorted_by_key(|scenario| scenario.at));
        let names: HashSet<_> = scenarios.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), scenarios.len());
        assert!(BREAKING.iter().all(|name| names.contains(name)));
    }
}
