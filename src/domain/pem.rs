//! Keys and certificates in PEM (RFC 7468). In environment variables their line ends are often written as the two
//! characters `\n`. Used for credentials of providers and certificates.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Why a text is not the PEM that is needed. The messages never quote the text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PemFault {
    /// The text has no such PEM block.
    #[error("there is no line -----BEGIN {0}-----")]
    Missing(&'static str),
    /// The text holds another PEM block.
    #[error("it holds a {found}, not a {wanted}")]
    Other {
        /// The label of the block in the text.
        found: String,
        /// The label that is needed.
        wanted: &'static str,
    },
    /// The last line of the block is missing.
    #[error("it is cut off: there is no line -----END {0}-----")]
    CutOff(&'static str),
    /// The content of the block is not base64.
    #[error("what stands between its first and its last line is no base64")]
    Base64,
    /// The content is not of the kind that the label says.
    #[error("its content is not {0}")]
    Content(&'static str),
}

/// Longest label that a message repeats; `ENCRYPTED PRIVATE KEY` has 21 characters.
const LABEL_MAX: usize = 32;

/// Replaces a written `\n` or `\r\n` by a real line end. PEM has no other use for a backslash.
pub fn with_line_ends(pem: &str) -> Cow<'_, str> {
    if !pem.contains('\\') {
        return Cow::Borrowed(pem);
    }
    let mut out = String::with_capacity(pem.len());
    let mut rest = pem;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        // A text that was escaped twice has several backslashes.
        let escaped = rest[at..].trim_start_matches('\\');
        rest = match escaped.as_bytes().first() {
            Some(b'n') => {
                out.push('\n');
                &escaped[1..]
            }
            Some(b'r') => &escaped[1..],
            _ => escaped,
        };
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Checks that a text with real line ends holds a block with the label `wanted`, such as `PRIVATE KEY`.
///
/// # Errors
/// The first fault. The decoded content is not checked.
pub fn check(pem: &str, wanted: &'static str) -> Result<(), PemFault> {
    let (begin, end) = (format!("-----BEGIN {wanted}-----"), format!("-----END {wanted}-----"));
    let Some((_, after)) = pem.split_once(&begin) else {
        return Err(label(pem).map_or(PemFault::Missing(wanted), |found| PemFault::Other { found, wanted }));
    };
    let (content, _) = after.split_once(&end).ok_or(PemFault::CutOff(wanted))?;
    let content: String = content.split_whitespace().collect();
    match BASE64_STANDARD.decode(content) {
        Ok(content) if !content.is_empty() => Ok(()),
        _ => Err(PemFault::Base64),
    }
}

/// The label of a PEM text. None unless it consists of capital letters and spaces, so that no secret is repeated.
fn label(pem: &str) -> Option<String> {
    let (label, _) = pem.split_once("-----BEGIN ")?.1.split_once("-----")?;
    let harmless = label.len() <= LABEL_MAX && label.bytes().all(|b| b.is_ascii_uppercase() || b == b' ');
    harmless.then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "-----BEGIN PRIVATE KEY-----\nc2Vj\ncmV0\n-----END PRIVATE KEY-----\n";

    #[test]
    fn written_line_ends_become_real_ones() {
        assert!(matches!(with_line_ends(GOOD), Cow::Borrowed(GOOD)));
        for escaped in [r"\n", r"\r\n", r"\\n", "\\n\n"] {
            let read = with_line_ends(&GOOD.replace('\n', escaped)).into_owned();
            assert_eq!(read.replace("\n\n", "\n"), GOOD, "{escaped}");
        }
        assert_eq!(with_line_ends(r"a\"), "a");
        assert_eq!(with_line_ends(r"a\é"), "aé");
    }

    #[test]
    fn faults_are_described_without_the_secret() {
        let fault = |pem: &str| check(pem, "PRIVATE KEY").map_err(|fault| fault.to_string());
        assert_eq!(fault(GOOD), Ok(()));
        for (pem, said) in [
            ("c2VjcmV0", "there is no line -----BEGIN PRIVATE KEY-----"),
            (&GOOD.replace("PRIVATE KEY", "EC PRIVATE KEY"), "it holds a EC PRIVATE KEY, not a PRIVATE KEY"),
            ("-----BEGIN c2VjcmV0-----", "there is no line -----BEGIN PRIVATE KEY-----"),
            (
                "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n",
                "it is cut off: there is no line -----END PRIVATE KEY-----",
            ),
            (&GOOD.replace("c2Vj", "c2V*"), "what stands between its first and its last line is no base64"),
            (
                &GOOD.replace("c2Vj\ncmV0\n", ""),
                "what stands between its first and its last line is no base64",
            ),
        ] {
            assert_eq!(fault(pem), Err(said.to_owned()), "{pem}");
        }
    }
}
