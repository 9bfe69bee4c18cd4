//! The sender's label of a notification, in bodies and filters.

use crate::api::json::Fields;
use crate::domain::InputCode;

/// The most characters of a label.
const LABEL_MAX: usize = 50;

/// The detail of a fault where a text stands in place of a label.
pub(super) const NO_LABEL: &str = "a label is 1 to 50 letters, digits and any of _ . ~ % -";

/// The label, if the text is one.
pub(super) fn parse(text: &str) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.~%-".contains(&b);
    ((1..=LABEL_MAX).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_owned())
}

/// The member `label` of a body. None: it is left out, or its fault is reported.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields.string("label")?;
    let label = parse(text);
    if label.is_none() {
        fields.fault("label", InputCode::BadValue, NO_LABEL);
    }
    label
}
