//! Secrets of webhooks, and signatures as Standard Webhooks 1.0.0 has them
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The prefix of a symmetric secret.
const PREFIX: &str = "whsec_";
/// Bytes of a secret, as the specification has them.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Bytes of a secret that Pushpost makes.
const NEW_SECRET_BYTES: usize = 32;
/// Characters at the end of a secret by which operators recognise it.
const HINT_CHARACTERS: usize = 4;

/// The bytes that messages to a webhook are signed with. `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

/// The error of a text that is no secret. It does not repeat the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadWebhookSecret {
    /// The prefix is missing, or what follows is not base64.
    #[error("must be \"whsec_\" and base64, as from: echo \"whsec_$(openssl rand -base64 32)\"")]
    Form,
    /// The secret is too short or too long.
    #[error("must have 24 to 64 bytes in base64 after \"whsec_\", not {0}")]
    Length(usize),
}

impl WebhookSecret {
    /// Creates a random secret of 32 bytes.
    pub fn random() -> Self {
        Self(rand::random::<[u8; NEW_SECRET_BYTES]>().to_vec())
    }

    /// Reads `whsec_` and base64.
    pub fn parse(text: &str) -> Result<Self, BadWebhookSecret> {
        let digits = text.strip_prefix(PREFIX).ok_or(BadWebhookSecret::Form)?;
        let bytes = STANDARD.decode(digits).map_err(|_| BadWebhookSecret::Form)?;
        Self::from_bytes(bytes)
    }

    /// Takes the stored form.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, BadWebhookSecret> {
        match SECRET_BYTES.contains(&bytes.len()) {
            true => Ok(Self(bytes)),
            false => Err(BadWebhookSecret::Length(bytes.len())),
        }
    }

    /// The stored form. Not to be logged.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text that the receiver is configured with. Not to be logged.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// The last four characters of the text, to recognise the secret by.
    pub fn hint(&self) -> String {
        let text = self.expose();
        let text = text.trim_end_matches('=');
        text[text.len() - HINT_CHARACTERS..].to_owned()
    }

    fn signature(&self, message: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(message.as_bytes());
        mac.update(b".");
        mac.update(timestamp.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }

    /// Is one of the signatures in the header's value made with this secret? The comparison takes the same time for each.
    pub fn verifies(&self, message: &str, timestamp: i64, body: &[u8], header: &str) -> bool {
        let expected = self.signature(message, timestamp, body);
        let equal = |given: &str| {
            let differences = expected.bytes().zip(given.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
            given.len() == expected.len() && differences == 0
        };
        header.split(' ').any(equal)
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// The value of `webhook-signature`: one signature per secret, separated by spaces. `timestamp` is in seconds since 1970.
pub fn sign<'a>(
    secrets: impl IntoIterator<Item = &'a WebhookSecret>,
    message: &str,
    timestamp: i64,
    body: &[u8],
) -> String {
    let signatures = secrets.into_iter().map(|secret| secret.signature(message, timestamp, body));
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const MESSAGE: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret() -> WebhookSecret {
        WebhookSecret::parse(SECRET).expect("it is right")
    }

    /// The vector of the libraries of Standard Webhooks.
    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        assert_eq!(sign([&secret()], MESSAGE, 1_614_265_330, BODY), SIGNATURE);
    }

    #[test]
    fn each_secret_signs_and_each_signature_is_verified() {
        let (old, new) = (secret(), WebhookSecret::random());
        let header = sign([&new, &old], MESSAGE, 1_614_265_330, BODY);
        assert_eq!(header.split(' ').nth(1), Some(SIGNATURE));
        for secret in [&old, &new] {
            assert!(secret.verifies(MESSAGE, 1_614_265_330, BODY, &header));
            assert!(!secret.verifies(MESSAGE, 1_614_265_331, BODY, &header), "another time");
            assert!(!secret.verifies("msg_x", 1_614_265_330, BODY, &header), "another id");
            assert!(!secret.verifies(MESSAGE, 1_614_265_330, b"{}", &header), "another body");
        }
        assert!(!WebhookSecret::random().verifies(MESSAGE, 1_614_265_330, BODY, &header));
        assert!(!old.verifies(MESSAGE, 1_614_265_330, BODY, &SIGNATURE[..SIGNATURE.len() - 1]));
    }

    #[test]
    fn a_secret_is_read_back_and_never_shown() {
        let new = WebhookSecret::random();
        assert_eq!(WebhookSecret::parse(&new.expose()), Ok(new.clone()));
        assert_eq!(WebhookSecret::from_bytes(new.as_bytes().to_vec()), Ok(new));
        assert_eq!(secret().expose(), SECRET);
        assert_eq!(secret().hint(), "LaSw");
        assert_eq!(format!("{:?}", secret()), "WebhookSecret(…)");
    }

    #[test]
    fn a_text_of_another_form_or_length_is_refused() {
        let of_bytes = |count: usize| format!("whsec_{}", STANDARD.encode(vec![1; count]));
        assert!(WebhookSecret::parse(&of_bytes(24)).is_ok());
        assert!(WebhookSecret::parse(&of_bytes(64)).is_ok());
        assert_eq!(WebhookSecret::parse(&of_bytes(23)), Err(BadWebhookSecret::Length(23)));
        assert_eq!(WebhookSecret::parse(&of_bytes(65)), Err(BadWebhookSecret::Length(65)));
        for wrong in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_é", "whsk_MfKQ9r8GKYqrTwjU"] {
            assert!(WebhookSecret::parse(wrong).is_err(), "{wrong}");
        }
    }
}
