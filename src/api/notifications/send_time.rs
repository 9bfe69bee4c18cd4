//! Reads `send_at`.

use chrono::{DateTime, Utc};

use crate::api::json::Fields;
use crate::api::time::Timestamp;
use crate::domain::{BadSendTime, InputCode, SendTime, ValidationError};

/// When the notification is to be sent. A time that can't be taken is reported, with the limit that it exceeds.
pub(super) fn read(fields: &mut Fields<'_>, now: DateTime<Utc>) -> SendTime {
    let Some(text) = fields.string("send_at") else { return SendTime::Now };
    let bad = match SendTime::parse(text, now) {
        Ok(time) => return time,
        Err(bad) => bad,
    };
    let fault = ValidationError::at(fields.pointer("send_at"), InputCode::BadSendAt, bad.to_string());
    fields.faults().push(match bad {
        BadSendTime::Form => fault,
        BadSendTime::TooEarly { minimum } => fault.with("minimum", Timestamp(minimum).to_string()),
        BadSendTime::TooLate { maximum } => fault.with("maximum", Timestamp(maximum).to_string()),
    });
    SendTime::Now
}
