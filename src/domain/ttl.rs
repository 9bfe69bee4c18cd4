//! Durations in requests and in the configuration, and the time to live.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadDuration {
    /// The text is not digits and one of `ms s m h d w`.
    #[error("a duration is digits and one of ms, s, m, h, d, w")]
    Form,
    /// The duration is too long.
    #[error("the duration is too long")]
    TooLong,
}

/// Parses digits and one of `ms s m h d w`.
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(BadDuration::Form);
    }
    let number: u64 = number.parse().map_err(|_| BadDuration::TooLong)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return Err(BadDuration::Form),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or(BadDuration::TooLong)
}

/// The duration as [`parse_duration`] reads it, in the largest of `ms s m h d` that is exact.
pub fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let exact = units.into_iter().find(|(size, _)| millis > 0 && millis.is_multiple_of(*size));
    let (size, unit) = exact.unwrap_or((1, "ms"));
    format!("{}{unit}", millis / size)
}

/// The time to live: how long after its due time a notification may still be sent and delivered. Whole seconds, 0 to 28
/// days.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ttl(u32);

impl Ttl {
    /// 28 days, the maximum of the providers.
    pub const MAX: Self = Self(28 * 86_400);
    /// The single attempt of a notification with `ttl: 0` must begin within this time.
    pub const ONCE_WINDOW: Duration = Duration::from_secs(30);

    /// A time to live of whole seconds, at most [`Self::MAX`].
    pub fn from_secs(secs: u64) -> Result<Self, BadDuration> {
        u32::try_from(secs).ok().filter(|s| *s <= Self::MAX.0).map(Self).ok_or(BadDuration::TooLong)
    }

    /// Parses digits and one of `s m h d w`.
    pub fn parse(text: &str) -> Result<Self, BadDuration> {
        if text.ends_with("ms") {
            return Err(BadDuration::Form);
        }
        Self::from_secs(parse_duration(text)?.as_secs())
    }

    /// The time to live in seconds.
    pub fn as_secs(self) -> u32 {
        self.0
    }

    /// Is it 0, so that there is only one attempt?
    pub fn is_once(self) -> bool {
        self.0 == 0
    }

    /// The time from when the notification is due until no more attempts begin.
    pub fn window(self) -> Duration {
        if self.is_once() { Self::ONCE_WINDOW } else { Duration::from_secs(self.0.into()) }
    }
}

/// The remaining time in seconds, rounded up and at least 1, so that rounding never gives a provider 0
/// (docs/queue.md#time-to-live).
pub fn remaining_secs(left: chrono::TimeDelta) -> u64 {
    let millis = left.num_milliseconds().max(1);
    u64::try_from(millis.div_euclid(1000) + i64::from(millis % 1000 != 0)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn durations_are_digits_and_a_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2w"), Ok(Duration::from_secs(1_209_600)));
        for wrong in ["", "s", "1", "1.5s", "-1s", "1 s", "1y", "1S"] {
            assert_eq!(parse_duration(wrong), Err(BadDuration::Form), "{wrong}");
        }
        assert_eq!(parse_duration("99999999999999999999s"), Err(BadDuration::TooLong));
    }

    #[test]
    fn a_ttl_is_whole_seconds_up_to_28_days() {
        assert_eq!(Ttl::parse("28d"), Ok(Ttl::MAX));
        assert_eq!(Ttl::parse("29d"), Err(BadDuration::TooLong));
        assert_eq!(Ttl::parse("1500ms"), Err(BadDuration::Form));
        assert!(Ttl::parse("0s").is_ok_and(Ttl::is_once));
    }

    #[test]
    fn the_remaining_time_is_rounded_up() {
        assert_eq!(remaining_secs(TimeDelta::milliseconds(400)), 1);
        assert_eq!(remaining_secs(TimeDelta::milliseconds(1000)), 1);
        assert_eq!(remaining_secs(TimeDelta::milliseconds(1001)), 2);
        assert_eq!(remaining_secs(TimeDelta::milliseconds(-5)), 1);
    }
}
