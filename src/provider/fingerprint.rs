//! What a lane sends with, as a number that nodes compare.

use std::fmt;

use sha2::{Digest, Sha256};

/// SHA-256 over a lane's provider, credential, topic and endpoint. Nodes compare it to learn whether a credential that
/// was refused is the one they use, so that a node with a new credential goes on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Hashes the parts with their lengths, so that moving a byte to the next part changes the result.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", hex::encode(&self.0[..4]))
    }
}
