//! When certificates expire. Only the end of the validity is read from a certificate (RFC 5280, section 4.1); whether the
//! certificate is right is checked where TLS is set up.

use chrono::{DateTime, NaiveDateTime, Utc};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::domain::pem;

const SEQUENCE: u8 = 0x30;
/// The optional version in front of the serial number.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The ends of the certificates in a PEM text. A certificate that can't be read is left out.
pub(super) fn ends(text: &[u8]) -> Vec<DateTime<Utc>> {
    let text = String::from_utf8_lossy(text);
    let text = pem::with_line_ends(&text);
    let certificates = CertificateDer::pem_slice_iter(text.as_bytes()).flatten();
    certificates.filter_map(|certificate| end(&certificate)).collect()
}

fn end(certificate: &[u8]) -> Option<DateTime<Utc>> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (SEQUENCE, validity, _) = element(rest)? else { return None };
    let (_, _, after) = element(validity)?;
    let (tag, text, _) = element(after)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// Years of two digits are those from 1950 to 2049.
fn time(tag: u8, text: &str) -> Option<DateTime<Utc>> {
    let text = match (tag, text.get(..2)?) {
        (UTC_TIME, year) if year >= "50" => format!("19{text}"),
        (UTC_TIME, _) => format!("20{text}"),
        (GENERALIZED_TIME, _) => text.to_owned(),
        _ => return None,
    };
    Some(NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?.and_utc())
}

/// The first element in DER: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, length, rest) = (*der.first()?, *der.get(1)?, der.get(2..)?);
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // A longer length follows in up to four bytes.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> String {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        params.not_after = date_time_ymd(year, 3, 7);
        params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").pem()
    }

    #[test]
    fn the_end_of_each_certificate_is_read_in_both_forms_of_time() {
        let text = certificate(2027) + &certificate(2051);
        let days: Vec<_> =
            ends(text.as_bytes()).iter().map(|end| end.format("%Y-%m-%d").to_string()).collect();
        assert_eq!(days, ["2027-03-07", "2051-03-07"]);
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        assert!(ends(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n").is_empty());
        let whole = CertificateDer::from_pem_slice(certificate(2027).as_bytes()).expect("a certificate");
        for cut in 0..200 {
            let _none = end(&whole[..cut]);
        }
    }
}
