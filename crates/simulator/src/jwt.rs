//! Takes a JWT apart and checks its signature. Age, audience and the rest are each provider's own business.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Google and Apple both take padded segments, which yup-oauth2 sends (docs/providers.md#apns-provider-token,
/// #google-access-tokens).
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The two header members that providers look at.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
}

/// Why a token is no good.
#[derive(Debug, thiserror::Error)]
pub(super) enum JwtError {
    /// Not three segments of base64url, the first two of them JSON objects of the right form.
    #[error("not a JWT")]
    Malformed,
    /// `alg` is not the only one allowed.
    #[error("algorithm not allowed")]
    Algorithm,
    /// The key did not make this signature.
    #[error("signature does not verify")]
    Signature,
}

/// The key that a token says it was signed with.
pub(super) fn key_id(token: &str) -> Option<String> {
    segment::<Header>(token.split('.').next()?).ok()?.kid
}

/// Checks the signature over the segments exactly as sent, then reads the claims.
pub(super) fn verify<C: DeserializeOwned>(
    token: &str,
    key: &DecodingKey,
    algorithm: Algorithm,
    name: &str,
) -> Result<(Header, C), JwtError> {
    let (message, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(JwtError::Malformed)?;
    let header: Header = segment(header)?;
    if header.alg != name {
        return Err(JwtError::Algorithm);
    }
    let signature = signature.trim_end_matches('=');
    match jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm) {
        Ok(true) => Ok((header, segment(claims)?)),
        Ok(false) | Err(_) => Err(JwtError::Signature),
    }
}

fn segment<T: DeserializeOwned>(text: &str) -> Result<T, JwtError> {
    let bytes = LENIENT.decode(text).map_err(|_| JwtError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| JwtError::Malformed)
}
