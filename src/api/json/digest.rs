//! The digest of a document: the same for documents that say the same.

use sha2::{Digest as _, Sha256};

use super::tape::Element;
use crate::domain::RequestDigest;

/// Bytes that are hashed at once: a call of the hash function for each name and value costs more than the hash.
const HASHED_AT_ONCE: usize = 1_024;

/// The digest of an object without its member `except`. Spaces, the order of members and the escapes in texts do not
/// change it. Numbers are the same if they are written the same.
pub(super) fn of_object(object: Element<'_>, except: &str) -> RequestDigest {
    let mut input = Input { hasher: Sha256::new(), unhashed: Vec::with_capacity(HASHED_AT_ONCE) };
    input.add_members(object.as_object().into_iter().flatten().filter(|(name, _)| *name != except));
    input.hasher.update(&input.unhashed);
    RequestDigest::of(input.hasher)
}

/// What is hashed. Each value begins with its type, and has a length or an end, so that no two documents give the same
/// bytes. A document has at most 127 levels.
struct Input {
    hasher: Sha256,
    /// What comes after the bytes that `hasher` has.
    unhashed: Vec<u8>,
}

impl Input {
    fn add(&mut self, value: Element<'_>) {
        if let Some(members) = value.as_object() {
            self.add_members(members);
        } else if let Some(items) = value.as_array() {
            self.write(b"[");
            items.for_each(|item| self.add(item));
            self.write(b"]");
        } else if let Some(text) = value.as_str() {
            self.add_text(b'"', text);
        } else if let Some(number) = value.as_number() {
            self.add_text(b'0', number);
        } else {
            self.write(match value.as_bool() {
                Some(true) => b"t",
                Some(false) => b"f",
                None => b"n",
            });
        }
    }

    fn add_members<'a>(&mut self, members: impl Iterator<Item = (&'a str, Element<'a>)>) {
        let mut members: Vec<_> = members.collect();
        members.sort_unstable_by_key(|(name, _)| *name);
        self.write(b"{");
        for (name, value) in members {
            self.add_text(b'"', name);
            self.add(value);
        }
        self.write(b"}");
    }

    fn add_text(&mut self, kind: u8, text: &str) {
        self.write(&[kind]);
        self.write(&(text.len() as u64).to_le_bytes());
        self.write(text.as_bytes());
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.unhashed.len() + bytes.len() > HASHED_AT_ONCE {
            self.hasher.update(&self.unhashed);
            self.unhashed.clear();
        }
        if bytes.len() > HASHED_AT_ONCE {
            self.hasher.update(bytes);
        } else {
            self.unhashed.extend_from_slice(bytes);
        }
    }
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

    #[test]
    fn every_byte_of_a_long_document_counts() {
        let text =
            |length: usize| format!(r#"{{"a":"{}","b":["{}",1]}}"#, "x".repeat(length), "y".repeat(length));
        for length in [HASHED_AT_ONCE - 20, HASHED_AT_ONCE, 3 * HASHED_AT_ONCE] {
            let long = text(length);
            let whole = digest(&long);
            for at in [long.find('x'), long.rfind('x'), long.find('y'), long.rfind('y'), long.find('1')] {
                let at = at.expect("in the text");
                let mut changed = long.clone();
                changed.replace_range(at..=at, "2");
                assert_ne!(digest(&changed), whole, "{length}, {at}");
            }
            assert_eq!(digest(&long.replace(":", " : ")), whole, "{length}");
        }
    }
}
