//! Idempotency keys: a request that is repeated with its key is carried out once.

use std::fmt;

use sha2::{Digest, Sha256};

/// The most characters of a key.
pub const IDEMPOTENCY_KEY_MAX: usize = 255;

/// A sender's idempotency key, as the first 16 bytes of its SHA-256. The database holds no more of it, because it may be
/// longer than an index row should be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(pub [u8; 16]);

/// Identifies the JSON of a request: the first 16 bytes of a SHA-256. Spaces and the order of members do not change it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RequestDigest(pub [u8; 16]);

/// What makes a request repeatable. The key belongs to the app of the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Idempotency {
    /// The sender's key.
    pub key: IdempotencyKey,
    /// The request that the key was sent with.
    pub request: RequestDigest,
}

impl IdempotencyKey {
    /// Reads a key: 1 to [`IDEMPOTENCY_KEY_MAX`] visible ASCII characters.
    pub fn parse(text: &str) -> Option<Self> {
        let is_key = (1..=IDEMPOTENCY_KEY_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_key.then(|| Self(first_half(Sha256::new_with_prefix(text))))
    }

    /// Reads the value of a header: a key, or a key as a string of RFC 9651, which stands in quotation marks.
    pub fn parse_header(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => Self::parse(&unescaped(quoted)?),
            None => Self::parse(text),
        }
    }
}

impl RequestDigest {
    /// The digest of everything that was written to `hasher`.
    pub fn of(hasher: Sha256) -> Self {
        Self(first_half(hasher))
    }
}

fn first_half(hasher: Sha256) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize()[..16]);
    half
}

/// The text of a string of RFC 9651, in which quotation marks and backslashes are escaped. None: it is not such a string.
fn unescaped(quoted: &str) -> Option<String> {
    let mut text = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => return None,
            '\\' => text.push(chars.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            _ => text.push(char),
        }
    }
    Some(text)
}

/// Hides the digest, because the key may be a secret of the sender.
impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_up_to_255_visible_ascii_characters() {
        for right in ["k", "!", "~", "order-789-shipped", "\"", &"x".repeat(255)] {
            assert!(IdempotencyKey::parse(right).is_some(), "{right}");
        }
        for wrong in ["", "a b", " a", "a\t", "\u{7f}", "é", &"x".repeat(256)] {
            assert_eq!(IdempotencyKey::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_header_may_have_quotation_marks() {
        let key = |text| IdempotencyKey::parse(text).expect("a key");
        for (value, text) in
            [("k", "k"), (r#""k""#, "k"), (r#""a\"b\\c""#, r#"a"b\c"#), (r#"a"b"#, r#"a"b"#), ("\"", "\"")]
        {
            assert_eq!(IdempotencyKey::parse_header(value.as_bytes()), Some(key(text)), "{value}");
        }
        for wrong in ["", r#""""#, r#""a b""#, r#""a"b""#, r#""a\b""#, r#""a\""#, "a b"] {
            assert_eq!(IdempotencyKey::parse_header(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(IdempotencyKey::parse_header(b"\xff"), None);
        assert_ne!(key("k"), key("K"));
    }
}
