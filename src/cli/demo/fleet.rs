//! The devices of the demo, and how the stand-ins answer for each. The first digits of a token are those of its
//! behaviour, so the stand-ins' script has one rule for each behaviour, and nothing is random.

use std::collections::HashMap;
use std::time::Duration;

use crate::cli::output::grouped;
use pushpost_simulator::{Action, Answer, FcmFault, H2Code, LastStream, Provider, Rule};

/// How a stand-in answers requests for a device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Behaviour {
    /// Accepted at the first attempt.
    Fine,
    /// Accepted after 300 to 800 ms.
    Slow,
    /// Dead: the app was removed after the registration.
    Dead,
    /// APNs reports the token dead at a time before the registration, so the device is kept.
    DeadBefore,
    /// One 503, then accepted.
    FlakyOnce,
    /// Two 500s, then accepted.
    FlakyTwice,
    /// One 429 with Retry-After: 1, then accepted.
    Throttled,
    /// One REFUSED_STREAM, then accepted.
    Refused,
    /// Accepted, with a GOAWAY on the connection.
    GoAway,
    /// Accepted, but the connection ends before the answer; after that, accepted with an answer.
    CutOff,
    /// Accepted, but the connection ends before the answer, each time.
    AlwaysCutOff,
    /// 503 each time.
    NeverUp,
    /// Rejected, because the payload is too large.
    TooLarge,
    /// Rejected, because the request is malformed.
    Malformed,
}

/// A device of the demo.
#[derive(Debug)]
pub(super) struct DemoDevice {
    pub(super) provider: Provider,
    pub(super) token: String,
    /// Index in [`Fleet::users`].
    pub(super) user: usize,
    pub(super) behaviour: Behaviour,
    /// The device's public id; empty until it is registered.
    pub(super) id: String,
}

/// A user of the demo.
#[derive(Debug)]
pub(super) struct DemoUser {
    pub(super) id: String,
    /// Indexes in [`Fleet::devices`].
    pub(super) devices: Vec<usize>,
}

/// All devices and users.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) devices: Vec<DemoDevice>,
    pub(super) users: Vec<DemoUser>,
    /// Indexes in `devices`, by public id.
    pub(super) by_id: HashMap<String, usize>,
}

impl Behaviour {
    const ALL: [Self; 14] = [
        Self::Fine,
        Self::Slow,
        Self::Dead,
        Self::DeadBefore,
        Self::FlakyOnce,
        Self::FlakyTwice,
        Self::Throttled,
        Self::Refused,
        Self::GoAway,
        Self::CutOff,
        Self::AlwaysCutOff,
        Self::NeverUp,
        Self::TooLarge,
        Self::Malformed,
    ];

    /// The behaviour of the device with this number; devices with even numbers are on APNs. The rare behaviours are
    /// among the first hundred numbers, so that a small fleet has them too; the others have their share of each
    /// thousand.
    fn of_number(number: usize) -> Self {
        match (number, number % 250) {
            (30 | 31, _) => return Self::AlwaysCutOff,
            (20 | 21, _) => return Self::CutOff,
            (40 | 41 | 540 | 541, _) => return Self::GoAway,
            (50 | 51, _) => return Self::Throttled,
            (52 | 53, _) => return Self::Refused,
            (60, _) => return Self::DeadBefore,
            (_, 10 | 11) => return Self::NeverUp,
            _ => {}
        }
        // 919 and 1,000 have no common divisor, so each remainder comes once in a thousand numbers.
        match number * 919 % 1000 {
            0..30 => Self::Dead,
            30..36 if number.is_multiple_of(2) => Self::DeadBefore,
            36..76 => Self::FlakyOnce,
            76..92 => Self::FlakyTwice,
            92..100 => Self::Refused,
            100..108 => Self::Throttled,
            108..188 => Self::Slow,
            188..200 => Self::TooLarge,
            200..212 => Self::Malformed,
            _ => Self::Fine,
        }
    }

    /// The first two hexadecimal digits of the tokens.
    fn prefix(self) -> String {
        format!("{:02x}", 0xa0 + self as u8)
    }

    /// Whether the device gets notifications of its own only, because others would be delayed by it.
    pub(super) fn is_separate(self) -> bool {
        matches!(self, Self::NeverUp | Self::CutOff | Self::AlwaysCutOff)
    }

    fn rule(self, provider: Provider) -> Option<Rule> {
        let apns = provider == Provider::Apns;
        let answer = |status, reason, fault| match apns {
            true => Action::answer(status, reason),
            false => Action::fcm(fault),
        };
        let unavailable = || answer(503, "ServiceUnavailable", FcmFault::Unavailable);
        let rule = |action| Rule::prefix(self.prefix(), action);
        let rule = match self {
            Self::Fine => return None,
            Self::Slow => Rule { delay_spread_ms: 500, ..rule(Action::Accept) }.delayed(SLOW_MIN),
            Self::Dead => rule(Action::Dead { timestamp_ms: None, timestamp_ago_ms: None }),
            Self::DeadBefore => rule(Action::Dead { timestamp_ms: None, timestamp_ago_ms: Some(86_400_000) }),
            Self::FlakyOnce => rule(unavailable()).times_per_token(1),
            Self::FlakyTwice => {
                rule(answer(500, "InternalServerError", FcmFault::Internal)).times_per_token(2)
            }
            Self::Throttled => rule(throttled(apns)).times_per_token(1),
            Self::Refused => {
                rule(Action::Reset { code: H2Code::RefusedStream, accepted: false }).times_per_token(1)
            }
            Self::GoAway => {
                let action =
                    Action::GoAway { code: H2Code::NoError, last: LastStream::This, debug: String::new() };
                rule(action).times_per_token(1)
            }
            Self::CutOff => rule(Action::Close { accepted: true }).times_per_token(1),
            Self::AlwaysCutOff => rule(Action::Close { accepted: true }),
            Self::NeverUp => rule(unavailable()),
            Self::TooLarge => rule(answer(413, "PayloadTooLarge", FcmFault::ApnsPayloadTooLarge)),
            Self::Malformed => rule(answer(400, "BadCollapseId", FcmFault::InvalidArgument)),
        };
        Some(Rule { provider: Some(provider), name: Some(format!("{self:?}")), ..rule })
    }
}

/// The shortest time that a slow device takes.
const SLOW_MIN: Duration = Duration::from_millis(300);

fn throttled(apns: bool) -> Action {
    let retry_after = Some("1".to_owned());
    match apns {
        true => Action::Answer(Box::new(Answer {
            status: 429,
            reason: Some("TooManyRequests".to_owned()),
            retry_after,
            ..Answer::default()
        })),
        false => {
            Action::FcmFault { fault: FcmFault::QuotaExceeded, retry_after, retry_after_date_seconds: None }
        }
    }
}

impl Fleet {
    /// This many devices with new tokens, of new users, so that those of an earlier run do not matter. Every tenth user
    /// has two devices.
    pub(super) fn new(devices: u32) -> Self {
        let run: u32 = rand::random();
        let mut fleet = Self { devices: Vec::new(), users: Vec::new(), by_id: HashMap::new() };
        for number in 0..devices as usize {
            let behaviour = Behaviour::of_number(number);
            let (prefix, noise): (_, u64) = (behaviour.prefix(), rand::random());
            let token = format!("{prefix}{run:08x}{number:022x}{noise:016x}{noise:016x}");
            let (provider, token) = match number % 2 {
                0 => (Provider::Apns, token),
                _ => (Provider::Fcm, format!("{token}:APA91b-{noise:x}")),
            };
            if number % 11 != 10 {
                let id = format!("u{}-{run:08x}", fleet.users.len());
                fleet.users.push(DemoUser { id, devices: Vec::new() });
            }
            let user = fleet.users.len() - 1;
            fleet.users[user].devices.push(number);
            fleet.devices.push(DemoDevice { provider, token, user, behaviour, id: String::new() });
        }
        fleet
    }

    /// A new token of FCM that is dead.
    pub(super) fn dead_token() -> String {
        let noise: u128 = rand::random();
        format!("{}{noise:032x}:APA91b-{noise:x}", Behaviour::Dead.prefix())
    }

    /// The rules for the stand-ins' script.
    pub(super) fn rules(&self) -> Vec<Rule> {
        let providers = [Provider::Apns, Provider::Fcm];
        Behaviour::ALL
            .iter()
            .flat_map(|behaviour| providers.iter().filter_map(|it| behaviour.rule(*it)))
            .collect()
    }

    /// How many devices of each kind there are, in words.
    pub(super) fn summary(&self) -> String {
        let count = |is: fn(&DemoDevice) -> bool| {
            grouped(self.devices.iter().filter(|device| is(device)).count() as u64)
        };
        format!(
            "registered by PUT /v1/devices: {} devices of {} users, {} iPhones and {} Androids\n\
             of these, {} have dead tokens, {} are slow, and {} are answered with other faults",
            grouped(self.devices.len() as u64),
            grouped(self.users.len() as u64),
            count(|device| device.provider == Provider::Apns),
            count(|device| device.provider == Provider::Fcm),
            count(|device| matches!(device.behaviour, Behaviour::Dead | Behaviour::DeadBefore)),
            count(|device| device.behaviour == Behaviour::Slow),
            count(|device| !matches!(
                device.behaviour,
                Behaviour::Fine | Behaviour::Slow | Behaviour::Dead | Behaviour::DeadBefore
            )),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_fleet_has_every_behaviour() {
        let fleet = Fleet::new(200);
        for behaviour in Behaviour::ALL {
            assert!(fleet.devices.iter().any(|device| device.behaviour == behaviour), "{behaviour:?}");
        }
        assert!(fleet.users.iter().any(|user| user.devices.len() == 2));
    }

    #[test]
    fn a_token_begins_with_the_digits_of_its_behaviour_only() {
        let fleet = Fleet::new(3000);
        for device in &fleet.devices {
            let begins = |behaviour: &&Behaviour| device.token.starts_with(&behaviour.prefix());
            assert_eq!(Behaviour::ALL.iter().filter(begins).collect::<Vec<_>>(), [&device.behaviour]);
        }
    }
}
