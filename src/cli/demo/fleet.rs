//! The devices of the demo, and what is scripted to happen to each. A token begins with its behaviour, so the script is one
//! rule for each behaviour and nothing is left to chance.

use std::collections::HashMap;
use std::time::Duration;

use super::report::grouped;
use pushpost_simulator::{Action, Answer, FcmFault, H2Code, LastStream, Provider, Rule};

/// What happens to whoever sends to a device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Behaviour {
    /// Accepted.
    Fine,
    /// Accepted after a while.
    Slow,
    /// The app was removed after the registration.
    Dead,
    /// APNs says that the app was removed, but before the registration: it has been installed again.
    DeadBefore,
    /// An answer in the 500s, then accepted.
    FlakyOnce,
    /// Two of them, then accepted.
    FlakyTwice,
    /// Too much at once, come back in a second; then accepted.
    Throttled,
    /// The stream is refused, then accepted.
    Refused,
    /// The connection is said farewell to.
    GoAway,
    /// Taken, but the connection ends before the answer; then accepted.
    CutOff,
    /// The same, each time.
    AlwaysCutOff,
    /// An answer in the 500s, each time.
    NeverUp,
    /// Refused for what the notification is.
    TooLarge,
    /// Refused for how it is written.
    Malformed,
}

/// A device.
#[derive(Debug)]
pub(super) struct DemoDevice {
    pub(super) provider: Provider,
    pub(super) token: String,
    /// Number in [`Fleet::users`].
    pub(super) user: usize,
    pub(super) behaviour: Behaviour,
    /// Once registered.
    pub(super) id: String,
}

/// A user.
#[derive(Debug)]
pub(super) struct DemoUser {
    pub(super) id: String,
    /// Numbers in [`Fleet::devices`].
    pub(super) devices: Vec<usize>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) devices: Vec<DemoDevice>,
    pub(super) users: Vec<DemoUser>,
    /// Numbers of devices, by id.
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

    /// The rare ones sit in the first hundred, so that a small fleet has them too; the others have their share of each
    /// thousand. Even numbers are APNs's.
    fn of(number: usize) -> Self {
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
        // 919 and 1,000 have no common divisor: each number below 1,000 comes once in a thousand.
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

    /// How its tokens begin, in hexadecimal digits.
    fn prefix(self) -> String {
        format!("{:02x}", 0xa0 + self as u8)
    }

    /// Gets notifications of its own only: those to others would suffer from it.
    pub(super) fn is_apart(self) -> bool {
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
            Self::Slow => Rule { delay_spread_ms: 500, ..rule(Action::Accept) }.delayed(SLOW),
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

/// The least that a slow device takes.
const SLOW: Duration = Duration::from_millis(300);

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
    /// So many devices, of new users: an earlier run's are left alone. Every tenth user has two.
    pub(super) fn of(devices: u32) -> Self {
        let run: u32 = rand::random();
        let mut fleet = Self { devices: Vec::new(), users: Vec::new(), by_id: HashMap::new() };
        for number in 0..devices as usize {
            let behaviour = Behaviour::of(number);
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

    /// The script.
    pub(super) fn rules(&self) -> Vec<Rule> {
        let providers = [Provider::Apns, Provider::Fcm];
        Behaviour::ALL
            .iter()
            .flat_map(|behaviour| providers.iter().filter_map(|it| behaviour.rule(*it)))
            .collect()
    }

    /// Who is there, in words.
    pub(super) fn summary(&self) -> String {
        let count = |is: fn(&DemoDevice) -> bool| {
            grouped(self.devices.iter().filter(|device| is(device)).count() as u64)
        };
        format!(
            "{} devices of {} users ({} iPhones, {} Androids; {} with dead tokens, {} slow, {} out of order)",
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
    fn even_a_small_crowd_has_what_is_rare() {
        let fleet = Fleet::of(200);
        for behaviour in Behaviour::ALL {
            assert!(fleet.devices.iter().any(|device| device.behaviour == behaviour), "{behaviour:?}");
        }
        assert!(fleet.users.iter().any(|user| user.devices.len() == 2));
    }

    #[test]
    fn a_token_begins_with_its_fate_and_no_other() {
        let fleet = Fleet::of(3000);
        for device in &fleet.devices {
            let begins = |behaviour: &&Behaviour| device.token.starts_with(&behaviour.prefix());
            assert_eq!(Behaviour::ALL.iter().filter(begins).collect::<Vec<_>>(), [&device.behaviour]);
        }
    }
}
