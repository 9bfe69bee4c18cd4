//! The name of a webhook, by which configuration, commands and metrics know it.

use std::fmt;

/// Longest name, in bytes.
const NAME_MAX: usize = 40;

/// 1 to 40 of `a-z`, `0-9` and `-`. Unique in its app.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WebhookName(String);

/// The error of a text that is no name of a webhook.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be 1 to 40 of a-z, 0-9 and '-'")]
pub struct BadWebhookName;

impl WebhookName {
    /// Checks the characters and the length.
    pub fn parse(text: &str) -> Result<Self, BadWebhookName> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        match (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(known) {
            true => Ok(Self(text.to_owned())),
            false => Err(BadWebhookName),
        }
    }

    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WebhookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_lower_case() {
        for right in ["backend", "a", "2nd-region", &"x".repeat(40)] {
            assert_eq!(WebhookName::parse(right).as_ref().map(WebhookName::as_str), Ok(right));
        }
        for wrong in ["", "Backend", "back end", "back_end", "é", &"x".repeat(41)] {
            assert_eq!(WebhookName::parse(wrong), Err(BadWebhookName), "{wrong}");
        }
    }
}
