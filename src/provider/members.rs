//! Reads the members of a provider's JSON answer separately, so that a malformed member does not hide the others.
//! Members that are not needed are not parsed. Used by the `response` modules of APNs and FCM.

use serde::Deserialize;
use serde_json::value::RawValue;

/// The members of a JSON object. A list is refused, although serde would read it as a structure.
pub(super) fn members<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(json).ok()).flatten()
}

/// The text of a member that is a string and not empty.
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
    fn a_member_is_read_independently_of_others_and_a_list_has_no_members() {
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
