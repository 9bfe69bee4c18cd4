//! What the shop of these tests is like: its webhook, and how time passes there.

use pushpost_testkit::webhook_receiver::WebhookReceiver;

/// Variables that give the app `shop` the webhook `backend` with this receiver.
pub(super) fn webhook(receiver: &WebhookReceiver) -> [(&'static str, String); 2] {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let webhook = format!("[{{name=\"backend\", url=\"{}\", secrets=[\"{secret}\"]}}]", receiver.url());
    [("WEBHOOKS__ALLOW_NETWORKS", "[\"127.0.0.0/8\"]".to_owned()), ("APPS__SHOP__WEBHOOKS", webhook)]
}

/// Statements after which the stops of lanes that last, and the notifications, began earlier by this time.
pub(super) fn earlier(by: &str) -> [String; 2] {
    [
        format!(
            "update lane_changes set began_at = began_at - interval '{by}'
             where ended_at = 'infinity' and state <> 0"
        ),
        format!(
            "update notifications set created_at = created_at - interval '{by}', due_at = due_at - interval '{by}'"
        ),
    ]
}
