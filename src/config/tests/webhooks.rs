//! Webhooks: their values, secrets and files, and the faults of wrong ones.

use std::time::Duration;

use super::{Folder, faults};
use crate::domain::EventType;
use crate::events::DeviceDetail;
use crate::events::webhooks::WebhookSettings;

const WEBHOOK: &str =
    "[apps.shop]\n[[apps.shop.webhooks]]\nname = \"backend\"\nurl = \"https://b.example/hook\"\n";
const SECRETS: &str = "secret_files = [\"whsec-new\", \"whsec-old\"]\n";
const INLINE: &str = "secrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\n";

fn webhook(toml: &str) -> WebhookSettings {
    let config = Folder::new(toml).load(&[]).expect("the configuration is right");
    config.apps["shop"].webhooks.webhooks[0].clone()
}

#[test]
fn a_webhook_has_defaults_and_takes_its_own_values() {
    let plain = webhook(&format!("{WEBHOOK}{SECRETS}"));
    assert_eq!((plain.name.as_str(), plain.url.host().as_str()), ("backend", "b.example"));
    assert_eq!((plain.devices, plain.batch_max, plain.ca_file.is_some()), (DeviceDetail::All, 100, false));
    assert_eq!(plain.secrets.all().map(|secret| secret.hint()).collect::<Vec<_>>(), ["LaSw", "AAAA"]);
    assert!(plain.types.chosen.has(EventType::NotificationDone));
    assert!(!plain.types.chosen.has(EventType::LaneChanged));
    let own = webhook(&format!(
        "{WEBHOOK}{INLINE}types = [\"lane.*\", \"notification.done\"]\ndevices = \"none\"\nbatch_max = 1\nca_file = \"ca.pem\"\n"
    ));
    assert_eq!((own.devices, own.batch_max, own.secrets.all().count()), (DeviceDetail::None, 1, 1));
    assert!(own.types.chosen.has(EventType::LaneChanged) && !own.types.chosen.has(EventType::DeviceRestored));
    assert!(own.ca_file.is_some());
    let shown = format!("{own:?}");
    assert!(!shown.contains("MfKQ") && !shown.contains("/hook"), "{shown}");
}

#[test]
fn limits_and_hosts_are_read() {
    let toml = "[webhooks]\nallow_networks = [\"10.0.0.0/8\", \"::1\"]\nmax_in_flight = 2\ndisable_after = \"1h\"\n\
                retry_after = [\"1s\", \"2s\"]\n[apps.shop]\nwebhook_hosts = [\"B.example\", \"10.0.0.1\", \"::1\"]\n";
    let config = Folder::new(toml).load(&[]).expect("the configuration is right");
    assert_eq!((config.webhooks.allow_networks.len(), config.webhooks.max_in_flight), (2, 2));
    assert_eq!(config.webhooks.retry.disable_after, Duration::from_secs(3_600));
    assert_eq!(config.webhooks.retry.retry_after, [1, 2].map(Duration::from_secs));
    assert_eq!(config.apps["shop"].webhooks.hosts, ["b.example", "10.0.0.1", "::1"]);
}

#[test]
fn a_host_is_one_name_or_address() {
    for wrong in ["*", "*.example.com", "b.example:443", "[::1]", "127.1", "b..example", "b example", ""] {
        let faults = faults(&format!("[apps.shop]\nwebhook_hosts = [\"b.example\", \"{wrong}\"]\n"), &[]);
        assert_eq!(faults.len(), 1, "{wrong}: {faults:#?}");
        assert!(faults[0].starts_with("pushpost.toml:2: apps.shop.webhook_hosts: "), "{faults:#?}");
        assert!(faults[0].contains("without scheme, port and wildcard"), "{faults:#?}");
    }
}

#[test]
fn http_needs_a_network_that_is_allowed() {
    let toml = |limits: &str, url: &str| {
        format!("{limits}[apps.shop]\n[[apps.shop.webhooks]]\nname = \"a\"\nurl = \"{url}\"\n{INLINE}")
    };
    for (url, network) in
        [("http://b.example/s3cret", "10.0.0.0/8"), ("http://127.0.0.1:9/s3cret", "127.0.0.1")]
    {
        let refused = faults(&toml("", url), &[]);
        assert_eq!(refused.len(), 1, "{refused:#?}");
        assert!(refused[0].starts_with("pushpost.toml:4: apps.shop.webhooks[0].url: "), "{refused:#?}");
        assert!(refused[0].contains(&format!("such as [\"{network}\"]")), "{refused:#?}");
        assert!(!refused[0].contains("s3cret"), "{refused:#?}");
        Folder::new(&toml("[webhooks]\nallow_networks = [\"127.0.0.1\"]\n", url)).load(&[]).expect("allowed");
    }
    Folder::new(&toml("", "https://b.example/")).load(&[]).expect("https needs no network");
}

#[test]
fn every_fault_of_a_webhook_has_its_line() {
    let wrong = "[webhooks]\nallow_networks = [\"ten\"]\nretry_after = []\n[apps.shop]\nwebhook_hosts = [\"https://x\"]\n\
                 [[apps.shop.webhooks]]\nname = \"Back end\"\nurl = \"ftp://x\"\nsecrets = [\"whsec_short\"]\n\
                 types = [\"notification.doen\"]\ndevices = \"some\"\nbatch_max = 101\nca_file = \"none.pem\"\nsecret = \"x\"\n";
    let faults = faults(wrong, &[]);
    let keys = [
        (2, "webhooks.allow_networks"),
        (3, "webhooks.retry_after"),
        (5, "apps.shop.webhook_hosts"),
        (7, "apps.shop.webhooks[0].name"),
        (8, "apps.shop.webhooks[0].url"),
        (9, "apps.shop.webhooks[0].secrets"),
        (10, "apps.shop.webhooks[0].types"),
        (11, "apps.shop.webhooks[0].devices"),
        (12, "apps.shop.webhooks[0].batch_max"),
        (13, "apps.shop.webhooks[0].ca_file"),
        (14, "apps.shop.webhooks[0].secret"),
    ];
    for (line, key) in keys {
        let place = format!("pushpost.toml:{line}: {key}: ");
        assert!(faults.iter().any(|fault| fault.starts_with(&place)), "{place} in {faults:#?}");
    }
    assert_eq!(faults.len(), keys.len(), "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.contains("notification.done")), "{faults:#?}");
    assert!(!faults.iter().any(|fault| fault.contains("whsec_short")), "{faults:#?}");
}

#[test]
fn secrets_are_one_to_three_and_from_one_place() {
    let told = |secrets: &str| faults(&format!("{WEBHOOK}{secrets}"), &[]).join("\n");
    assert!(told("").contains("secrets: is missing (or secret_files)"), "{}", told(""));
    assert!(told(&format!("{INLINE}{SECRETS}")).contains("give either this or secret_files"));
    assert!(told("secrets = []\n").contains("must have 1 to 3 secrets"));
    assert!(told("secret_files = [\"whsec-new\", \"whsec-none\"]\n").contains("cannot read"));
    let four = ["whsec-new"; 4].map(|name| format!("\"{name}\"")).join(", ");
    assert!(told(&format!("secret_files = [{four}]\n")).contains("must have 1 to 3 secrets"));
    assert!(told("secret_files = [\"users.pem\"]\n").contains("users.pem: must be \"whsec_\" and base64"));
}

#[test]
fn two_webhooks_of_a_name_and_a_webhook_without_events_are_faults() {
    let second = WEBHOOK.trim_start_matches("[apps.shop]\n");
    let twice = faults(&format!("{WEBHOOK}{SECRETS}{second}{SECRETS}"), &[]);
    assert!(twice[0].contains("two webhooks have the name \"backend\""), "{twice:#?}");
    let off = faults(&format!("[retention]\nevents = \"0s\"\n{WEBHOOK}{SECRETS}"), &[]);
    assert!(off[0].contains("needs events, but retention.events is \"0s\""), "{off:#?}");
}

#[test]
fn a_variable_may_have_webhooks_as_a_list_of_tables() {
    let value =
        "[{name=\"a\", url=\"https://b.example/\", secrets=[\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]}]";
    let config = Folder::new("[apps.shop]\n").load(&[("PUSHPOST__APPS__SHOP__WEBHOOKS", value)]);
    let config = config.expect("the configuration is right");
    assert_eq!(config.apps["shop"].webhooks.webhooks[0].name.as_str(), "a");
}
