//! What is sent in all rows: an ordinary notification.

use serde_json::{Value, json};

/// The content of the notification that every row sends.
pub(crate) fn content() -> Value {
    json!({
        "title": "Order shipped",
        "body": "Your order #789 has been dispatched and arrives tomorrow.",
        "sound": "default",
        "category": "ORDER",
        "thread": "orders",
        "data": { "order_id": "789", "lines": 3 },
    })
}

/// A request that sends it.
pub(crate) fn to(audience: Value) -> Value {
    let mut request = content();
    request["to"] = audience;
    request
}
