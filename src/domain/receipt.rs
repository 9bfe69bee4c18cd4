//! The codec of receipts. A receipt stores the outcomes of many devices of one job in a few columns: one byte per
//! device for the outcome, each reason once, and one byte per device for the index of its reason
//! (docs/queue.md#receipt-words).
//!
//! `queue::recorder` encodes, `store::deliveries` decodes.

use super::{DeliveryStatus, Reason};

/// Set in an outcome byte if the device ended without an attempt. The other bits are the status's number.
const WITHOUT_ATTEMPT: u8 = 0x80;
/// Longest id that a provider gives a message, in characters.
const PROVIDER_ID_MAX: usize = 256;

/// The outcome of one device, as a byte of a receipt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutcomeByte {
    /// `Pending`: the device goes on in another job.
    pub status: DeliveryStatus,
    /// Was an attempt made?
    pub attempted: bool,
}

impl OutcomeByte {
    /// The byte in the column `outcomes`.
    pub fn encode(self) -> u8 {
        let code = self.status.code().to_le_bytes()[0];
        if self.attempted { code } else { code | WITHOUT_ATTEMPT }
    }

    /// Reads a byte of the column `outcomes`. None: no version of Pushpost writes it.
    pub fn decode(byte: u8) -> Option<Self> {
        let status = DeliveryStatus::from_code(i16::from(byte & !WITHOUT_ATTEMPT))?;
        Some(Self { status, attempted: byte & WITHOUT_ATTEMPT == 0 })
    }
}

/// The reasons of a receipt while it is written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReceiptReasons {
    /// Each reason that occurs, once.
    pub texts: Vec<String>,
    /// Per device the position of its reason in `texts`, plus 1; 0: it has none.
    pub positions: Vec<u8>,
}

impl ReceiptReasons {
    /// Adds the reason of the next device. A receipt holds 255 different reasons: with 500 answers of one provider
    /// there are never more, and a device has none if its reason does not fit.
    pub fn push(&mut self, reason: Option<&Reason>) {
        let Some(reason) = reason else {
            self.positions.push(0);
            return;
        };
        let known = self.texts.iter().position(|text| text == reason.as_str());
        let index = known.unwrap_or_else(|| {
            self.texts.push(reason.as_str().to_owned());
            self.texts.len() - 1
        });
        self.positions.push(u8::try_from(index + 1).unwrap_or(0));
    }

    /// The position in the column `reasons` of a device's reason, from its byte in `reason_indexes`. None: it has no
    /// reason.
    pub fn position(byte: u8) -> Option<usize> {
        usize::from(byte).checked_sub(1)
    }
}

/// An id that a provider gave a message, as a receipt may store it: printable ASCII, at most 256 characters, so that no SQL
/// statement fails on it (docs/queue.md#poisoned-values). A provider cuts its ids before they wait in memory; the recorder
/// makes sure of it for every provider.
pub fn storable_provider_id(id: &str) -> String {
    if id.len() <= PROVIDER_ID_MAX && id.bytes().all(|b| b.is_ascii_graphic()) {
        return id.to_owned();
    }
    id.chars().filter(char::is_ascii_graphic).take(PROVIDER_ID_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_read_as_it_was_written() {
        for status in DeliveryStatus::ALL {
            for attempted in [true, false] {
                let outcome = OutcomeByte { status: *status, attempted };
                assert_eq!(OutcomeByte::decode(outcome.encode()), Some(outcome));
            }
        }
        assert_eq!(OutcomeByte::decode(9), None);
    }

    #[test]
    fn each_reason_is_stored_once() {
        let mut reasons = ReceiptReasons::default();
        for text in [Some("a"), None, Some("b"), Some("a")] {
            reasons.push(text.map(Reason::new).as_ref());
        }
        assert_eq!(reasons.texts, ["a", "b"]);
        assert_eq!(reasons.positions, [1, 0, 2, 1]);
        let positions = reasons.positions.iter().map(|byte| ReceiptReasons::position(*byte));
        assert_eq!(positions.collect::<Vec<_>>(), [Some(0), None, Some(1), Some(0)]);
    }

    #[test]
    fn a_reason_beyond_the_255th_is_left_out() {
        let mut reasons = ReceiptReasons::default();
        for number in 0..300 {
            reasons.push(Some(&Reason::new(&number.to_string())));
        }
        assert_eq!((reasons.positions[254], reasons.positions[255]), (255, 0));
    }

    #[test]
    fn a_provider_id_is_printable_and_bounded() {
        assert_eq!(storable_provider_id("projects/p/messages/1"), "projects/p/messages/1");
        assert_eq!(storable_provider_id("a\u{0} \u{e9}b"), "ab");
        assert_eq!(storable_provider_id(&"x".repeat(300)).len(), PROVIDER_ID_MAX);
    }
}
