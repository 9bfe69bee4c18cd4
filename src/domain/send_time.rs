//! When a notification is sent: at once, or at a time that its sender chose.

use chrono::{DateTime, Months, TimeDelta, Utc};

/// How far in the past a time may lie. It means at once: a request may have been under way for long.
const PAST_MAX: TimeDelta = TimeDelta::hours(1);
/// How far ahead a time may lie.
const AHEAD_MAX: Months = Months::new(12);

/// When a notification is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SendTime {
    /// At once: the sender named no time.
    #[default]
    Now,
    /// At once: the time that the sender named has come.
    Past(DateTime<Utc>),
    /// At this time.
    Later(DateTime<Utc>),
}

/// Why a text is no time to send at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadSendTime {
    /// It is not a time with an offset.
    #[error("a time is RFC 3339 with `Z` or an offset, such as 2026-12-01T09:00:00Z")]
    Form,
    /// It lies too far in the past.
    #[error("the time is more than an hour in the past")]
    TooEarly {
        /// The earliest time that is taken.
        minimum: DateTime<Utc>,
    },
    /// It lies too far ahead.
    #[error("the time is more than a year ahead")]
    TooLate {
        /// The latest time that is taken.
        maximum: DateTime<Utc>,
    },
}

impl SendTime {
    /// Reads an RFC 3339 time: at most an hour before `now`, and at most a year after it.
    ///
    /// # Errors
    /// The text is no time, or a time out of this range.
    pub fn parse(text: &str, now: DateTime<Utc>) -> Result<Self, BadSendTime> {
        let at = DateTime::parse_from_rfc3339(text).map_err(|_| BadSendTime::Form)?.to_utc();
        let (minimum, maximum) = (now - PAST_MAX, now.checked_add_months(AHEAD_MAX).unwrap_or(now));
        if at < minimum {
            Err(BadSendTime::TooEarly { minimum })
        } else if at > maximum {
            Err(BadSendTime::TooLate { maximum })
        } else if at > now {
            Ok(Self::Later(at))
        } else {
            Ok(Self::Past(at))
        }
    }

    /// The time that the sender named.
    pub fn named(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Now => None,
            Self::Past(at) | Self::Later(at) => Some(at),
        }
    }

    /// The time to wait for. None: it is due at once.
    pub fn later(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Now | Self::Past(_) => None,
            Self::Later(at) => Some(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).expect("a time").to_utc()
    }

    #[test]
    fn a_time_is_taken_from_an_hour_ago_to_a_year_ahead() {
        let now = at("2027-03-01T12:00:00Z");
        let (minimum, maximum) = (at("2027-03-01T11:00:00Z"), at("2028-03-01T12:00:00Z"));
        for (text, expected) in [
            ("2027-03-01T12:00:00.001Z", Ok(SendTime::Later(at("2027-03-01T12:00:00.001Z")))),
            ("2027-03-01T14:00:00+01:00", Ok(SendTime::Later(at("2027-03-01T13:00:00Z")))),
            ("2027-03-01T12:00:00Z", Ok(SendTime::Past(now))),
            ("2027-03-01T11:00:00Z", Ok(SendTime::Past(minimum))),
            ("2027-03-01T10:59:59.999Z", Err(BadSendTime::TooEarly { minimum })),
            ("2028-03-01T12:00:00Z", Ok(SendTime::Later(maximum))),
            ("2028-03-01T12:00:00.001Z", Err(BadSendTime::TooLate { maximum })),
        ] {
            assert_eq!(SendTime::parse(text, now), expected, "{text}");
        }
    }

    #[test]
    fn a_time_without_an_offset_is_refused() {
        let now = at("2027-03-01T12:00:00Z");
        for text in
            ["", "tomorrow", "2027-03-01", "2027-03-01T12:30:00", "2027-02-30T12:00:00Z", "1803902400"]
        {
            assert_eq!(SendTime::parse(text, now), Err(BadSendTime::Form), "{text}");
        }
    }
}
