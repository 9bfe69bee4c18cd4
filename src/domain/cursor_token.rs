//! Cursor tokens: opaque texts that an answer hands out and a later request brings back, such as the cursor of a list.
//! They hold row numbers, so they are masked and authenticated: a client can neither read nor change them.

use super::InstallationKey;

/// Bytes of the authentication tag, which precede the masked content.
const TAG_BYTES: usize = 8;

impl InstallationKey {
    /// Masks `plain` as lower-case hexadecimal digits. The token can be decoded only for the same `purpose`.
    pub fn encode_cursor_token(&self, purpose: &[u8], plain: &[u8]) -> String {
        let mut bytes = self.token_tag(purpose, plain).to_vec();
        bytes.extend_from_slice(&self.masked(&bytes, plain));
        hex::encode(bytes)
    }

    /// The content of a token of [`Self::encode_cursor_token`]. None: the token is changed, or is for another purpose.
    pub fn decode_cursor_token(&self, purpose: &[u8], text: &str) -> Option<Vec<u8>> {
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        let bytes = hex::decode(text).ok()?;
        let (tag, masked) = bytes.split_at_checked(TAG_BYTES)?;
        let plain = self.masked(tag, masked);
        (self.token_tag(purpose, &plain) == tag).then_some(plain)
    }

    fn token_tag(&self, purpose: &[u8], plain: &[u8]) -> [u8; TAG_BYTES] {
        let length = (purpose.len() as u64).to_be_bytes();
        let mac = self.mac(&[b"seal tag", &length, purpose, plain]);
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&mac[..TAG_BYTES]);
        tag
    }

    /// Masks and unmasks. The mask depends on the tag, and so on the whole content.
    fn masked(&self, tag: &[u8], bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for (block, chunk) in out.chunks_mut(32).enumerate() {
            let mask = self.mac(&[b"seal pad", tag, &(block as u64).to_be_bytes()]);
            for (byte, mask) in chunk.iter_mut().zip(mask) {
                *byte ^= mask;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_decoded_for_its_purpose_only() {
        let key = InstallationKey::new([7; 32]);
        let plain: Vec<u8> = (0..80).collect();
        let token = key.encode_cursor_token(b"deliveries", &plain);
        assert_eq!(key.decode_cursor_token(b"deliveries", &token), Some(plain));
        assert_eq!(key.decode_cursor_token(b"devices", &token), None);
        assert_eq!(InstallationKey::new([8; 32]).decode_cursor_token(b"deliveries", &token), None);
    }

    #[test]
    fn a_changed_token_is_refused() {
        let key = InstallationKey::new([7; 32]);
        let token = key.encode_cursor_token(b"x", &[1, 2, 3]);
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(key.decode_cursor_token(b"x", &changed), None, "{changed}");
        }
        for wrong in ["", "00", "zz", "é0", &token.to_uppercase(), &token[..token.len() - 2]] {
            assert_eq!(key.decode_cursor_token(b"x", wrong), None, "{wrong}");
        }
    }
}
