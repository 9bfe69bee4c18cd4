//! Which webhooks need a person now.

use super::needs::Need;
use super::snapshot::SnapshotContext;
use crate::api::time::Timestamp;
use crate::store::dashboard::{TroubledWebhook, TroubledWebhooks};

/// A need per webhook, and one that counts those that are not listed.
pub(super) fn of(webhooks: &TroubledWebhooks, context: SnapshotContext<'_>) -> Vec<Need> {
    let page = |webhook: &TroubledWebhook| context.installation.webhook_id(context.app.id, webhook.id);
    let mut needs: Vec<_> =
        webhooks.first.iter().map(|webhook| of_webhook(webhook, &page(webhook))).collect();
    needs.extend((webhooks.others > 0).then(|| of_others(webhooks.others)));
    needs
}

fn of_webhook(webhook: &TroubledWebhook, id: &str) -> Need {
    let name = &webhook.name;
    let need = |state, text: &str, action: &str| Need {
        state,
        about: format!("webhook {name}"),
        page: format!("webhooks/{id}"),
        since: Some(Timestamp(webhook.since)),
        reason: webhook.why.clone(),
        text: text.to_owned(),
        devices: None,
        counted_seconds_ago: None,
        action: action.to_owned(),
    };
    if webhook.is_disabled {
        let text =
            "The receiver failed for too long, or wants no messages. It gets no more events; pushes go on.";
        let action =
            "Mend the receiver, then press Resume on the webhook's page (docs/runbook.md#webhook-disabled)";
        need("disabled", text, action)
    } else if webhook.is_failing {
        let text = "The receiver does not take its events, which wait; pushes go on.";
        let action = "Look at the receiver's log, and at its answers on the webhook's page. Press Retry there once the \
                      receiver is mended (docs/runbook.md#webhook-failing)";
        need("failing", text, action)
    } else {
        let events = match webhook.set_aside {
            1 => "1 event was".to_owned(),
            many => format!("{many} events were"),
        };
        let text = format!("{events} set aside, because the receiver refused them and took later ones.");
        let action = "Mend the receiver. Then press Retry at each event on the webhook's page, or wait for an hour \
                      (docs/runbook.md#webhook-set-aside)";
        let page = format!("webhooks/{id}#set-aside");
        Need { page, ..need("set_aside", &text, action) }
    }
}

fn of_others(others: u32) -> Need {
    let (about, text) = match others {
        1 => ("and 1 more webhook".to_owned(), "It needs you too."),
        many => (format!("and {many} more webhooks"), "They need you too."),
    };
    Need {
        state: "failing",
        about,
        page: "webhooks".to_owned(),
        since: None,
        reason: None,
        text: text.to_owned(),
        devices: None,
        counted_seconds_ago: None,
        action: "Look at the states in the list of webhooks (docs/runbook.md#webhook-failing)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::WebhookId;

    fn webhook(is_failing: bool, is_disabled: bool, set_aside: u32) -> Need {
        let since = DateTime::UNIX_EPOCH;
        let name = "backend".to_owned();
        let webhook =
            TroubledWebhook { id: WebhookId(1), name, is_disabled, is_failing, since, why: None, set_aside };
        of_webhook(&webhook, "whk_1")
    }

    #[test]
    fn what_is_worse_is_told_of_a_webhook() {
        let states = [(true, true, 1), (true, false, 1), (false, false, 1), (false, false, 2)];
        let needs = states.map(|(failing, disabled, aside)| webhook(failing, disabled, aside));
        assert_eq!(
            needs.each_ref().map(|need| need.state),
            ["disabled", "failing", "set_aside", "set_aside"]
        );
        assert_eq!(needs[2].page, "webhooks/whk_1#set-aside");
        assert!(needs[2].text.starts_with("1 event was set aside"), "{}", needs[2].text);
        assert!(needs[3].text.starts_with("2 events were set aside"), "{}", needs[3].text);
    }

    #[test]
    fn webhooks_that_are_not_listed_are_counted() {
        assert_eq!(of_others(1).about, "and 1 more webhook");
        assert_eq!(of_others(3).about, "and 3 more webhooks");
    }
}
