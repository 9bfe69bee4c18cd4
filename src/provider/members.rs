//! Providers' answers, read member by member: what one member holds says nothing about another, and a number that is
//! not needed is not built.

use serde::Deserialize;
use serde_json::value::RawValue;

/// An object's members. Nothing else is one, though serde would read a list as a structure.
pub(super) fn members<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(json).ok()).flatten()
}

/// A member that is a text, and not an empty one.
pub(super) fn text(member: Option<&RawValue>) -> Option<String> {
    let text: String = serde_json::from_str(member?.get()).ok()?;
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        reason: Option<&'a RawValue>,
    }

    fn reason(json: &str) -> Option<String> {
        text(members::<Answer<'_>>(json.as_bytes())?.reason)
    }

    #[test]
    fn a_member_is_read_whatever_the_others_are_and_a_list_has_none() {
        assert_eq!(
            reason(r#" {"timestamp":[1e999],"reason":"Un\u0072egistered"}"#).as_deref(),
            Some("Unregistered")
        );
        for nothing in [
            "",
            "[]",
            r#"["Unregistered"]"#,
            r#"{"reason":7}"#,
            r#"{"reason":""}"#,
            r#"{"reason":null}"#,
            "{}",
        ] {
            assert_eq!(reason(nothing), None, "{nothing}");
        }
        assert_eq!(reason(r#"{"reason":"Unregistered"} x"#), None, "not JSON");
    }
}
