//! The keys that verify user tokens, each with the one algorithm that it is used for.

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey};

/// The length of an uncompressed point of P-256, in bytes.
const P256_POINT_BYTES: usize = 65;
/// Bytes of an RSA public key of 2,048 bits at least, as PKCS #1: the modulus, and the frame around it.
const RSA_BYTES_MIN: usize = 256 + 8;
/// Bytes of a shared secret at least: as many as SHA-256 has.
const SECRET_BYTES_MIN: usize = 32;

/// The algorithm of a user token's signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserTokenAlgorithm {
    /// ECDSA over P-256.
    Es256,
    /// RSA, PKCS #1.
    Rs256,
    /// HMAC with a shared secret.
    Hs256,
}

/// A key with its algorithm. `Debug` does not show the key.
#[derive(Clone)]
pub struct VerificationKey {
    kid: Option<String>,
    algorithm: UserTokenAlgorithm,
    key: DecodingKey,
}

/// The error of a text that is no key for its algorithm. It repeats nothing of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadUserTokenKey {
    /// Not a public key in PEM.
    #[error("contains no public key in PEM (BEGIN PUBLIC KEY)")]
    NotPem,
    /// A public key of another kind than P-256.
    #[error("is not a public key of the curve P-256, which ES256 needs")]
    NotP256,
    /// A public key of another kind than RSA, or a short one.
    #[error("is not an RSA public key of at least 2048 bits, which RS256 needs")]
    NotRsa,
    /// A secret of less than 32 bytes.
    #[error("must be at least 32 bytes")]
    ShortSecret,
    /// A key or certificate in PEM as secret. If it is public, anybody could sign with it.
    #[error("must not be a key or certificate in PEM, because HS256 signs with it")]
    PemSecret,
}

impl UserTokenAlgorithm {
    /// The name in the configuration, and in a token's `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }

    /// Parses the name in the configuration.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Es256, Self::Rs256, Self::Hs256].into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    fn of_library(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::Rs256 => Algorithm::RS256,
            Self::Hs256 => Algorithm::HS256,
        }
    }
}

impl VerificationKey {
    /// A public key in PEM, or for HS256 the shared secret.
    ///
    /// # Errors
    /// The text is no key for the algorithm.
    pub fn new(
        kid: Option<String>,
        algorithm: UserTokenAlgorithm,
        material: &str,
    ) -> Result<Self, BadUserTokenKey> {
        let bytes = material.as_bytes();
        let is_pem = material.contains("-----BEGIN PUBLIC KEY-----");
        if algorithm != UserTokenAlgorithm::Hs256 && !is_pem {
            return Err(BadUserTokenKey::NotPem);
        }
        let key = match algorithm {
            UserTokenAlgorithm::Es256 => {
                let key = DecodingKey::from_ec_pem(bytes).ok();
                key.filter(|key| length(key) == P256_POINT_BYTES).ok_or(BadUserTokenKey::NotP256)?
            }
            UserTokenAlgorithm::Rs256 => {
                let key = DecodingKey::from_rsa_pem(bytes).ok();
                key.filter(|key| length(key) >= RSA_BYTES_MIN).ok_or(BadUserTokenKey::NotRsa)?
            }
            UserTokenAlgorithm::Hs256 if bytes.len() < SECRET_BYTES_MIN => {
                return Err(BadUserTokenKey::ShortSecret);
            }
            UserTokenAlgorithm::Hs256 if material.contains("-----BEGIN ") => {
                return Err(BadUserTokenKey::PemSecret);
            }
            UserTokenAlgorithm::Hs256 => DecodingKey::from_secret(bytes),
        };
        Ok(Self { kid, algorithm, key })
    }

    /// The key's id in the configuration.
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The only algorithm that the key is used with.
    pub(super) fn algorithm(&self) -> UserTokenAlgorithm {
        self.algorithm
    }

    /// Has this key made the signature (base64url) of the message?
    pub(super) fn is_signature(&self, message: &str, signature: &str) -> bool {
        let algorithm = self.algorithm.of_library();
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm).unwrap_or(false)
    }
}

fn length(key: &DecodingKey) -> usize {
    key.try_get_as_bytes().map_or(0, <[u8]>::len)
}

impl PartialEq for VerificationKey {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |key: &Self| key.key.try_get_as_bytes().map(<[u8]>::to_vec).ok();
        (&self.kid, self.algorithm) == (&other.kid, other.algorithm) && bytes(self) == bytes(other)
    }
}

impl Eq for VerificationKey {}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerificationKey({:?}, {})", self.kid, self.algorithm.as_str())
    }
}
