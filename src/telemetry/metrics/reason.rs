//! Reasons as labels.

use crate::domain::PushpostReason;

/// The label of a reason that has no series of its own.
pub(super) const OTHER: &str = "other";

/// The reason as a label: a word that the provider is known to give, one of Pushpost's own, or an HTTP status of an error.
/// Everything else is `other`, because labels are kept for ever and must repeat nothing that a provider wrote.
pub fn reason_label<'r>(reason: &'r str, of_provider: &[&str]) -> &'r str {
    let is_ours = || PushpostReason::ALL.iter().any(|ours| ours.as_str() == reason);
    let is_status = || matches!(reason.as_bytes(), [b'4' | b'5', b'0'..=b'9', b'0'..=b'9']);
    if of_provider.contains(&reason) || is_ours() || is_status() { reason } else { OTHER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_of_closed_lists_are_labels() {
        for reason in ["Unregistered", "no_answer", "503", "429"] {
            assert_eq!(reason_label(reason, &["Unregistered"]), reason);
        }
        for reason in ["UNREGISTERED", "200", "5030", "c0ffee", ""] {
            assert_eq!(reason_label(reason, &["Unregistered"]), OTHER);
        }
    }
}
