//! Sealed texts: what a client keeps for the service and can neither read nor change, such as the cookie of a session. They give
//! rights, so they are encrypted and authenticated by AES-256-GCM, with a key that is derived from the installation's.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::InstallationKey;

impl InstallationKey {
    /// Seals `plain` as letters, digits, `-` and `_`. The text can be opened only for the same `purpose`.
    pub fn seal(&self, purpose: &[u8], plain: &[u8]) -> String {
        let mut sealed = plain.to_vec();
        let nonce = self.sealing_key(purpose).seal_in_place_append_tag(Aad::empty(), &mut sealed);
        let nonce = nonce.expect("AES-GCM seals any text that fits in memory");
        URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// The content of a text of [`Self::seal`]. None: the text is changed, is for another purpose, or is of another installation.
    pub fn open_sealed(&self, purpose: &[u8], text: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.sealing_key(purpose).open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        Some(plain.to_vec())
    }

    fn sealing_key(&self, purpose: &[u8]) -> RandomizedNonceKey {
        let key = self.mac(&[b"sealed text", purpose]);
        RandomizedNonceKey::new(&AES_256_GCM, &key).expect("AES-256 takes a key of 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> InstallationKey {
        InstallationKey::new([7; 32])
    }

    #[test]
    fn a_sealed_text_is_opened_for_its_purpose_and_installation_only() {
        let sealed = key().seal(b"session", b"plain");
        assert_eq!(key().open_sealed(b"session", &sealed).as_deref(), Some(&b"plain"[..]));
        assert_eq!(key().open_sealed(b"other", &sealed), None);
        assert_eq!(InstallationKey::new([8; 32]).open_sealed(b"session", &sealed), None);
        assert_ne!(key().seal(b"session", b"plain"), sealed, "a nonce is used once");
        assert!(!sealed.contains("plain"));
    }

    #[test]
    fn a_changed_sealed_text_is_refused() {
        let sealed = key().seal(b"session", b"plain");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(key().open_sealed(b"session", &changed), None, "{changed}");
        }
        for wrong in ["", "AAAA", "é", &sealed[..sealed.len() - 2], &format!("{sealed}=")] {
            assert_eq!(key().open_sealed(b"session", wrong), None, "{wrong}");
        }
    }
}
