//! Locales, in the forms in which phones report them.

use oxilangtag::LanguageTag;

/// A language tag (BCP 47) in its canonical case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Locale(Box<str>);

/// Longest text that is parsed, in bytes: an ICU identifier may have several keywords.
const TEXT_MAX: usize = 256;
/// Longest language tag that is stored, in bytes; registered tags are much shorter.
const TAG_MAX: usize = 64;

/// Language codes that Java still writes, with the codes that replaced them in ISO 639
/// (<https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/Locale.html>).
const FORMER_LANGUAGES: [(&str, &str); 3] = [("iw", "he"), ("in", "id"), ("ji", "yi")];

impl Locale {
    /// Parses a language tag, or an identifier as phones write it, and converts it to canonical case.
    ///
    /// Beside BCP 47 it accepts underscores (`pt_BR`), a code set (`de_DE.UTF-8`), ICU keywords (`en_US@rg=gbzzzz`),
    /// and scripts where Java writes them (`zh_CN_#Hans`). Code set and keywords are dropped. If the whole text is no
    /// tag, only language, script and region are used. None: the text names no language, such as `C` and `POSIX`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let identifier = text.trim().split(['.', '@']).next()?;
        let (main, extra) = identifier.split_once('#').unwrap_or((identifier, ""));
        let mut subtags = main.split(['_', '-']);
        let language = subtags.next().filter(|subtag| is_letters(subtag, 2..=3))?;
        let former = FORMER_LANGUAGES.iter().find(|(former, _)| language.eq_ignore_ascii_case(former));
        let script = extra.split(['_', '-']).next().filter(|subtag| is_script(subtag));
        let rest = subtags.filter(|subtag| !subtag.is_empty());
        let tag: Vec<&str> =
            [former.map_or(language, |(_, now)| now)].into_iter().chain(script).chain(rest).collect();
        Self::of(&tag).or_else(|| Self::of(core(&tag)))
    }

    fn of(subtags: &[&str]) -> Option<Self> {
        let tag = LanguageTag::parse_and_normalize(&subtags.join("-")).ok()?;
        (tag.as_str().len() <= TAG_MAX).then(|| Self(tag.as_str().into()))
    }

    /// Wraps a stored tag without checking it again.
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The language tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Language, and script and region if there are any.
fn core<'a>(tag: &'a [&'a str]) -> &'a [&'a str] {
    let mut end = 1;
    end += usize::from(tag.get(end).is_some_and(|subtag| is_script(subtag)));
    end += usize::from(tag.get(end).is_some_and(|subtag| is_region(subtag)));
    &tag[..end]
}

fn is_script(subtag: &str) -> bool {
    is_letters(subtag, 4..=4)
}

fn is_region(subtag: &str) -> bool {
    is_letters(subtag, 2..=2) || subtag.len() == 3 && subtag.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_letters(subtag: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Option<String> {
        Locale::parse(text).map(|locale| locale.as_str().to_owned())
    }

    #[test]
    fn a_locale_is_a_language_tag_in_canonical_case() {
        for (text, tag) in [
            ("DE-de", "de-DE"),
            ("zh-hans-cn", "zh-Hans-CN"),
            ("es-419", "es-419"),
            ("ast", "ast"),
            ("en-US-u-rg-gbzzzz", "en-US-u-rg-gbzzzz"),
            ("ca-ES-valencia", "ca-ES-valencia"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(tag), "{text}");
        }
    }

    #[test]
    fn the_forms_that_phones_report_are_parsed() {
        for (text, tag) in [
            ("pt_BR", "pt-BR"),
            ("zh_hans_cn", "zh-Hans-CN"),
            ("zh-Hans_CN", "zh-Hans-CN"),
            ("en_US@rg=gbzzzz", "en-US"),
            ("de_DE@calendar=gregorian;collation=phonebook;currency=EUR;numbers=latn", "de-DE"),
            ("zh_CN_#Hans", "zh-Hans-CN"),
            ("sr__#Latn", "sr-Latn"),
            ("zh_TW_#Hant_x-java", "zh-Hant-TW"),
            ("th_TH_TH_#u-nu-thai", "th-TH"),
            ("en_US_POSIX", "en-US-posix"),
            ("en_US.UTF-8", "en-US"),
            ("de_DE.UTF-8@euro", "de-DE"),
            ("iw_IL", "he-IL"),
            ("in", "id"),
            ("en_", "en"),
            (" fr_FR\n", "fr-FR"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(tag), "{text}");
        }
    }

    #[test]
    fn a_text_without_a_language_is_refused() {
        let long = format!("en-{}", "a1b2c3d4-".repeat(40));
        for wrong in
            ["", "C", "C.UTF-8", "POSIX", "x", "root", "_US", "en US", "en\0", "12", "é", "@rg=gbzzzz", &long]
        {
            assert_eq!(canonical(wrong), None, "{wrong}");
        }
    }
}
