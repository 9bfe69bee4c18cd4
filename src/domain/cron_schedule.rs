//! Schedules of five fields as in crontab(5), in UTC.

use std::str::FromStr as _;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// An occurrence that was missed is made up for while it is younger than this.
const CATCH_UP: TimeDelta = TimeDelta::hours(1);
const MINUTE: TimeDelta = TimeDelta::minutes(1);
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [CronField; 5] = [
    CronField { name: "minute", first: 0, last: 59, names: &[] },
    CronField { name: "hour", first: 0, last: 23, names: &[] },
    CronField { name: "day of month", first: 1, last: 31, names: &[] },
    CronField { name: "month", first: 1, last: 12, names: &MONTHS },
    CronField { name: "day of week", first: 0, last: 7, names: &WEEKDAYS },
];

/// What a field of a schedule may have, as in crontab(5). croner has more: `L`, `W`, `#` and `?`, and takes a month for a
/// day of the week.
struct CronField {
    name: &'static str,
    /// The smallest number, which the first name stands for.
    first: u8,
    /// The largest number.
    last: u8,
    names: &'static [&'static str],
}

/// When something is due: minute, hour, day of month, month and day of week.
#[derive(Clone, Debug)]
pub struct CronSchedule {
    text: String,
    cron: Cron,
}

/// Two schedules are the same if they are written in the same way.
impl PartialEq for CronSchedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CronSchedule {}

/// Why a text is no schedule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadSchedule {
    /// There are more or fewer fields.
    #[error(
        "a schedule has five fields, in UTC: minute, hour, day of month, month, day of week; this has {0}"
    )]
    Fields(usize),
    /// A field is not as in crontab(5).
    #[error("the {field} is not as in crontab(5): {fault}")]
    Form {
        /// The name of the field.
        field: &'static str,
        /// What is wrong with it.
        fault: String,
    },
    /// There is no such day.
    #[error("a schedule must come due at some time, and this one never does")]
    Never,
}

impl CronSchedule {
    /// Parses five fields.
    ///
    /// # Errors
    /// See [`BadSchedule`].
    pub fn parse(text: &str) -> Result<Self, BadSchedule> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [_, _, day, _, weekday] = fields[..] else {
            return Err(BadSchedule::Fields(fields.len()));
        };
        for (field, text) in FIELDS.iter().zip(&fields) {
            let checked = text.split(',').try_for_each(|item| field.check(item));
            checked.map_err(|fault| BadSchedule::Form { field: field.name, fault })?;
        }
        // As in crontab(5): if both days are restricted, either is enough. A field that begins with `*` restricts nothing.
        let is_open = day.starts_with('*') || weekday.starts_with('*');
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed);
        let cron = parser.dom_and_dow(is_open).build().parse(&fields.join(" "));
        let cron = cron.map_err(|error| BadSchedule::Form { field: "text", fault: error.to_string() })?;
        // A leap year is among any eight years, also around a century.
        let early = DateTime::<Utc>::from_str("2000-01-01T00:00:00Z").unwrap_or_default();
        cron.find_next_occurrence(&early, true).map_err(|_| BadSchedule::Never)?;
        Ok(Self { text: text.to_owned(), cron })
    }

    /// The schedule as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The occurrence that is to be started at `now`: the latest one, if it is later than `last`, the one that was started
    /// or skipped last, and was missed by less than an hour. Several missed ones are made up for by one.
    pub fn due(&self, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let minute = now.duration_trunc(MINUTE).ok()?;
        let minutes = (0..).map(|back| minute - MINUTE * back).take_while(|minute| now - *minute < CATCH_UP);
        let mut open = minutes.take_while(|minute| last.is_none_or(|last| *minute > last));
        open.find(|minute| self.cron.is_time_matching(minute).unwrap_or(false))
    }
}

impl CronField {
    /// Checks a part between two commas.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, item: &str) -> Result<(), String> {
        let (values, step) = item.split_once('/').map_or((item, None), |(values, step)| (values, Some(step)));
        if let Some(step) = step {
            if number(step).is_none_or(|step| step == 0) {
                return Err(format!("the step {step:?} is no number from 1"));
            }
            if values != "*" && !values.contains('-') {
                return Err(format!("a step follows `*` or a range, so {item:?} is none"));
            }
        }
        if values == "*" {
            return Ok(());
        }
        let (begin, end) = values.split_once('-').unwrap_or((values, values));
        if self.value(begin)? > self.value(end)? {
            return Err(format!("the range {values:?} ends before it begins"));
        }
        Ok(())
    }

    /// The number that a number or a name stands for.
    fn value(&self, text: &str) -> Result<u8, String> {
        if let Some(place) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(self.first.saturating_add(u8::try_from(place).unwrap_or(u8::MAX)));
        }
        let found = number(text).filter(|number| (self.first..=self.last).contains(number));
        found.ok_or_else(|| {
            let names =
                self.names.first().map(|name| format!(" or a name such as {name}")).unwrap_or_default();
            format!("{text:?} is not a number from {} to {}{names}", self.first, self.last)
        })
    }
}

fn number(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn schedule(text: &str) -> CronSchedule {
        CronSchedule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// 2026-11-29 is a Sunday.
    #[test]
    fn the_latest_occurrence_of_the_last_hour_is_due() {
        for (text, last, now, due) in [
            ("0 3 * * 0", None, "2026-11-29T03:00:00Z", Some("2026-11-29T03:00:00Z")),
            ("0 3 * * 7", None, "2026-11-29T03:59:59Z", Some("2026-11-29T03:00:00Z")),
            ("0 3 * * SUN", None, "2026-11-29T02:59:59Z", None),
            ("0 3 * * sun", None, "2026-11-29T04:00:00Z", None),
            ("0 3 * * 1", None, "2026-11-29T03:00:00Z", None),
            // Each at most once.
            ("0 3 * * *", Some("2026-11-29T03:00:00Z"), "2026-11-29T03:00:30Z", None),
            ("0 3 * * *", Some("2026-11-28T03:00:00Z"), "2026-11-29T03:30:00Z", Some("2026-11-29T03:00:00Z")),
            // Several missed ones are one run.
            (
                "*/5 * * * *",
                Some("2026-11-29T03:00:00Z"),
                "2026-11-29T03:59:00Z",
                Some("2026-11-29T03:55:00Z"),
            ),
            ("*/5 * * * *", Some("2026-11-29T03:55:00Z"), "2026-11-29T03:59:00Z", None),
            // A clock that went back starts nothing again.
            ("* * * * *", Some("2026-11-29T03:10:00Z"), "2026-11-29T03:05:00Z", None),
            // Over midnight, and a leap day.
            ("50 23 31 12 *", None, "2027-01-01T00:49:59Z", Some("2026-12-31T23:50:00Z")),
            ("0 0 29 2 *", None, "2028-02-29T00:00:01Z", Some("2028-02-29T00:00:00Z")),
            ("0 0 29 FEB *", None, "2027-03-01T00:00:01Z", None),
            ("15,45 8-17/2 * jan-mar MON-FRI", None, "2027-01-04T10:46:00Z", Some("2027-01-04T10:45:00Z")),
        ] {
            let found = schedule(text).due(last.map(at), at(now));
            assert_eq!(found, due.map(at), "{text} after {last:?} at {now}");
        }
    }

    #[test]
    fn either_day_is_enough_if_both_are_restricted() {
        // 2026-11-13 is a Friday, 2026-11-20 too, 2026-12-13 a Sunday.
        let either = schedule("0 0 13 * 5");
        let both = ["2026-11-13", "2026-11-20", "2026-12-13", "2026-11-14"];
        let is_due = both.map(|day| either.due(None, at(&format!("{day}T00:00:00Z"))).is_some());
        assert_eq!(is_due, [true, true, true, false]);
        // A field that begins with `*` restricts nothing by itself, so both must match: odd days that are Fridays.
        let open = schedule("0 0 */2 * 5");
        let is_due = both.map(|day| open.due(None, at(&format!("{day}T00:00:00Z"))).is_some());
        assert_eq!(is_due, [true, false, false, false]);
    }

    #[test]
    fn a_refusal_names_the_field_and_what_it_may_have() {
        for (text, told) in [
            ("0 24 * * *", "the hour is not as in crontab(5): \"24\" is not a number from 0 to 23"),
            (
                "0 3 * dez *",
                "the month is not as in crontab(5): \"dez\" is not a number from 1 to 12 or a name such as jan",
            ),
            ("0 3 L * *", "the day of month is not as in crontab(5): \"L\" is not a number from 1 to 31"),
            ("*/0 * * * *", "the minute is not as in crontab(5): the step \"0\" is no number from 1"),
            (
                "0/15 * * * *",
                "the minute is not as in crontab(5): a step follows `*` or a range, so \"0/15\" is none",
            ),
            (
                "0 3 * * fri-mon",
                "the day of week is not as in crontab(5): the range \"fri-mon\" ends before it begins",
            ),
            (
                "CRON_TZ=Europe/Berlin 0 3 * * *",
                "a schedule has five fields, in UTC: minute, hour, day of month, month, day of week; this has 6",
            ),
        ] {
            assert_eq!(
                CronSchedule::parse(text).map(|_| ()).map_err(|error| error.to_string()),
                Err(told.to_owned())
            );
        }
        for text in
            ["0 3 * * 5-7", "*/90 * * * *", "0-10/3,15 8-17 1 jan-mar MON-FRI", "0 3 * * 0-7", "00 03 * * *"]
        {
            assert!(CronSchedule::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_crontab_does_not_have_is_refused() {
        for text in ["", "@daily", "0 3 * *", "0 0 3 * * *", "0 3 * * * 2026"] {
            assert!(matches!(CronSchedule::parse(text), Err(BadSchedule::Fields(_))), "{text}");
        }
        for text in [
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 0 *",
            "* * * 13 *",
            "* * * * 8",
            "* * L * *",
            "* * 15W * *",
            "* * * * 5L",
            "* * * * MON#2",
            "* * ? * *",
            "a * * * *",
            "* * JAN * *",
            "* * * MON *",
            "* * * * XYZ",
            "5-1 * * * *",
            "*/0 * * * *",
            "1- * * * *",
            ", * * * *",
            "-1 * * * *",
            "+ * * * *",
            "H * * * *",
            "* * * * +5",
            "0/15 * * * *",
            "* * * * fri-mon",
        ] {
            assert!(matches!(CronSchedule::parse(text), Err(BadSchedule::Form { .. })), "{text}");
        }
        for text in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
            assert_eq!(CronSchedule::parse(text), Err(BadSchedule::Never), "{text}");
        }
    }
}
