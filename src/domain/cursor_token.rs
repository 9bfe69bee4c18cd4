//! Sealed words: what an answer hands out and a later request brings back, such as a list's cursor. Row numbers stand
//! in them, so they must tell nothing and take no changes.

use super::InstallationKey;

/// Bytes of the tag in front.
const TAG: usize = 8;

impl InstallationKey {
    /// Hides `plain` in lower-case hexadecimal digits that open only under the same `purpose`.
    pub fn encode_cursor_token(&self, purpose: &[u8], plain: &[u8]) -> String {
        let mut bytes = self.token_tag(purpose, plain).to_vec();
        bytes.extend_from_slice(&self.masked(&bytes, plain));
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or_default());
            text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or_default());
        }
        text
    }

    /// What [`Self::encode_cursor_token`] hid, if `text` came from it, unchanged, for this purpose.
    pub fn decode_cursor_token(&self, purpose: &[u8], text: &str) -> Option<Vec<u8>> {
        if !text.len().is_multiple_of(2) || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let bytes: Vec<u8> = text
            .as_bytes()
            .chunks_exact(2)
            .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect::<Option<_>>()?;
        let (tag, masked) = bytes.split_at_checked(TAG)?;
        let plain = self.masked(tag, masked);
        (self.token_tag(purpose, &plain) == tag).then_some(plain)
    }

    fn token_tag(&self, purpose: &[u8], plain: &[u8]) -> [u8; TAG] {
        let length = (purpose.len() as u64).to_be_bytes();
        let mac = self.mac(&[b"seal tag", &length, purpose, plain]);
        let mut tag = [0; TAG];
        tag.copy_from_slice(&mac[..TAG]);
        tag
    }

    /// Masks and unmasks: the pad depends on the tag, and so on all that is sealed.
    fn masked(&self, tag: &[u8], bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for (block, chunk) in out.chunks_mut(32).enumerate() {
            let pad = self.mac(&[b"seal pad", tag, &(block as u64).to_be_bytes()]);
            for (byte, mask) in chunk.iter_mut().zip(pad) {
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
    fn what_was_sealed_opens_for_its_purpose_only() {
        let key = InstallationKey::new([7; 32]);
        let plain: Vec<u8> = (0..80).collect();
        let sealed = key.encode_cursor_token(b"deliveries", &plain);
        assert_eq!(key.decode_cursor_token(b"deliveries", &sealed), Some(plain));
        assert_eq!(key.decode_cursor_token(b"devices", &sealed), None);
        assert_eq!(InstallationKey::new([8; 32]).decode_cursor_token(b"deliveries", &sealed), None);
    }

    #[test]
    fn a_changed_word_does_not_open() {
        let key = InstallationKey::new([7; 32]);
        let sealed = key.encode_cursor_token(b"x", &[1, 2, 3]);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(key.decode_cursor_token(b"x", &changed), None, "{changed}");
        }
        for wrong in ["", "00", "zz", "é0", &sealed.to_uppercase(), &sealed[..sealed.len() - 2]] {
            assert_eq!(key.decode_cursor_token(b"x", wrong), None, "{wrong}");
        }
    }
}
