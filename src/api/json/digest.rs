//! The digest of a document: the same for documents that say the same.

use sha2::{Digest as _, Sha256};

use super::tape::Element;
use crate::domain::RequestDigest;

/// The digest of an object without its member `except`. Spaces, the order of members and the escapes in texts do not
/// change it. Numbers are the same if they are written the same.
pub(super) fn of_object(object: Element<'_>, except: &str) -> RequestDigest {
    let mut hasher = Sha256::new();
    let members = object.as_object().into_iter().flatten().filter(|(name, _)| *name != except);
    add_members(&mut hasher, members);
    RequestDigest::of(hasher)
}

/// Each value begins with its type, and has a length or an end, so that no two documents give the same bytes. A document
/// has at most 127 levels.
fn add(hasher: &mut Sha256, value: Element<'_>) {
    if let Some(members) = value.as_object() {
        add_members(hasher, members);
    } else if let Some(items) = value.as_array() {
        hasher.update(b"[");
        items.for_each(|item| add(hasher, item));
        hasher.update(b"]");
    } else if let Some(text) = value.as_str() {
        add_text(hasher, b'"', text);
    } else if let Some(number) = value.as_number() {
        add_text(hasher, b'0', number);
    } else {
        hasher.update(match value.as_bool() {
            Some(true) => b"t",
            Some(false) => b"f",
            None => b"n",
        });
    }
}

fn add_members<'a>(hasher: &mut Sha256, members: impl Iterator<Item = (&'a str, Element<'a>)>) {
    let mut members: Vec<_> = members.collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    hasher.update(b"{");
    for (name, value) in members {
        add_text(hasher, b'"', name);
        add(hasher, value);
    }
    hasher.update(b"}");
}

fn add_text(hasher: &mut Sha256, kind: u8, text: &str) {
    hasher.update([kind]);
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text);
}

#[cfg(test)]
mod tests {
    use super::super::{ValidationErrors, parse};
    use super::*;

    fn digest(text: &str) -> RequestDigest {
        let document = parse(text.as_bytes().to_vec(), &ValidationErrors::default()).expect("JSON");
        of_object(document.root(), "key")
    }

    #[test]
    fn spaces_escapes_and_the_order_of_members_do_not_count() {
        let plain = digest(r#"{"a":[1,{"b":"/x","c":null}],"d":true}"#);
        for same in [
            r#" { "d" : true , "a" : [ 1 , { "c" : null , "b" : "\/\u0078" } ] } "#,
            r#"{"key":"k","a":[1,{"b":"/x","c":null}],"d":true}"#,
            r#"{"a":[1,{"b":"/x","c":null}],"key":"other","d":true}"#,
        ] {
            assert_eq!(digest(same), plain, "{same}");
        }
    }

    #[test]
    fn whatever_a_document_says_counts() {
        let documents = [
            "{}",
            r#"{"a":null}"#,
            r#"{"a":true}"#,
            r#"{"a":false}"#,
            r#"{"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[]}"#,
            r#"{"a":{}}"#,
            r#"{"a":[1]}"#,
            r#"{"a":[1,2]}"#,
            r#"{"a":[2,1]}"#,
            r#"{"a":[12]}"#,
            r#"{"a":[[1],2]}"#,
            r#"{"a":[[1,2]]}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"a":{"b":2}}"#,
            r#"{"a":{"key":2}}"#,
            r#"{"ab":1}"#,
            r#"{"a":"b\"c"}"#,
            r#"{"a":"b","c":""}"#,
        ];
        for (at, one) in documents.iter().enumerate() {
            for other in &documents[..at] {
                assert_ne!(digest(one), digest(other), "{one} and {other}");
            }
        }
    }
}
