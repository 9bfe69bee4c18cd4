//! Compares the API's report with the stand-ins' ledger, device by device. Every difference fails the demo.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::client::{FinishedNotification, ReportedDelivery, SentNotification};
use super::fleet::{Behaviour, DemoDevice, Fleet};
use super::scenarios::BREAKING;
use pushpost_simulator::{Duplicate, Entry, Provider};

/// Everything that both sides report.
pub(super) struct Evidence<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) sent: &'a [SentNotification],
    pub(super) finished: &'a [FinishedNotification],
    /// Ids of the notifications that were sent before the timeline. Rate and latencies are measured on these.
    pub(super) undisturbed: &'a HashSet<String>,
    pub(super) entries: &'a [Entry],
    pub(super) duplicates: &'a [Duplicate],
    /// Ids of the devices that must be in quarantine, from the ledger.
    pub(super) dead: &'a HashSet<String>,
    /// Ids of the devices that are in quarantine, from the API.
    pub(super) quarantined: &'a HashSet<String>,
}

/// The figures of the report, and all differences.
#[derive(Default)]
pub(super) struct CheckResult {
    pub(super) notifications: usize,
    pub(super) deliveries: usize,
    /// Number of deliveries by status, then by reason.
    pub(super) outcomes: BTreeMap<String, BTreeMap<String, usize>>,
    /// Deliveries that were accepted, but not at the first attempt.
    pub(super) retried: usize,
    /// The highest number of attempts of one delivery.
    pub(super) attempts_max: u32,
    pub(super) quarantined: usize,
    /// Devices that were registered again after the time for which APNs reported their tokens dead.
    pub(super) kept: usize,
    pub(super) duplicates: usize,
    pub(super) requests: usize,
    /// First arrivals per second, from the first request to the API to the last first arrival.
    pub(super) rate: f64,
    /// From a request to the API to each first arrival at a provider, in milliseconds, sorted.
    pub(super) latencies_ms: Vec<i64>,
    /// In words, one each. Empty if both sides agree.
    pub(super) differences: Vec<String>,
}

/// The ledger's entries for one device and one notification, by their time.
struct DeviceHistory<'a> {
    entries: &'a [&'a Entry],
    /// Connections that the script ended.
    cut: &'a HashSet<u64>,
}

/// The ids of the devices that must be in quarantine: a stand-in reported the token dead at a time after the
/// registration.
pub(super) fn expected_quarantine(fleet: &Fleet, entries: &[Entry]) -> HashSet<String> {
    let dead = tokens_of_rule(entries, "Dead");
    let devices = fleet.devices.iter().filter(|device| dead.contains(&*device.token));
    devices.map(|device| device.id.clone()).collect()
}

/// How many tokens were reported dead, as a sentence.
pub(super) fn dead_tokens(entries: &[Entry]) -> String {
    format!(
        "dead tokens: {} are in quarantine; {} are kept, registered again after the reported time of death",
        tokens_of_rule(entries, "Dead").len(),
        tokens_of_rule(entries, "DeadBefore").len(),
    )
}

/// Compares both sides.
pub(super) fn compare(evidence: &Evidence<'_>) -> CheckResult {
    let Evidence { fleet, sent, finished, entries, .. } = *evidence;
    let mut result = CheckResult { notifications: sent.len(), ..CheckResult::default() };
    let ids: HashSet<&str> = finished.iter().map(|notification| &*notification.id).collect();
    let mut histories: HashMap<(&str, &str), Vec<&Entry>> = HashMap::new();
    let pushes = entries.iter().filter(|entry| entry.provider != Provider::Oauth);
    for entry in pushes.filter(|entry| entry.notification().is_some_and(|id| ids.contains(id))) {
        result.requests += 1;
        let (token, id) = (entry.token.as_deref(), entry.notification());
        histories.entry((token.unwrap_or_default(), id.unwrap_or_default())).or_default().push(entry);
    }
    let cut: HashSet<u64> = entries
        .iter()
        .filter(|entry| entry.rule.as_deref().is_some_and(ends_connections))
        .map(|entry| entry.connection)
        .collect();
    let mut last_arrival_ms = i64::MIN;
    let targets: HashMap<&str, u64> = sent.iter().map(|sent| (&*sent.id, sent.targets)).collect();
    for notification in finished {
        result.count(notification, targets.get(&*notification.id).copied());
        for delivery in &notification.deliveries {
            let Some(device) = fleet.by_id.get(&delivery.device).map(|number| &fleet.devices[*number]) else {
                result.differ(format!("{}: a device that is not of this demo", notification.id));
                continue;
            };
            let entries = histories.remove(&(&*device.token, &*notification.id)).unwrap_or_default();
            if let Some(first) = entries.first().filter(|_| evidence.undisturbed.contains(&notification.id)) {
                result.latencies_ms.push(first.received_ms - notification.at_ms);
                last_arrival_ms = last_arrival_ms.max(first.received_ms);
            }
            let history = DeviceHistory { entries: &entries, cut: &cut };
            if let Err(why) = history.check(delivery, device, evidence.dead) {
                result.differ(format!("{} {}: {why}", notification.id, hint(&device.token)));
            }
        }
    }
    for (token, id) in histories.keys() {
        result.differ(format!("{id} {}: sent, but the API reports no outcome", hint(token)));
    }
    result.check_quarantine(evidence);
    result.check_duplicates(evidence, &cut);
    result.latencies_ms.sort_unstable();
    let undisturbed = finished.iter().filter(|finished| evidence.undisturbed.contains(&finished.id));
    let started_ms = undisturbed.map(|finished| finished.at_ms).min().unwrap_or_default();
    let seconds = (last_arrival_ms.saturating_sub(started_ms)).max(1) as f64 / 1000.0;
    result.rate = result.latencies_ms.len() as f64 / seconds;
    result
}

impl CheckResult {
    fn differ(&mut self, what: String) {
        self.differences.push(what);
    }

    /// Adds a notification's deliveries to the figures, and compares them with its own counts. `promised` is the number
    /// of targets in the 202.
    fn count(&mut self, notification: &FinishedNotification, promised: Option<u64>) {
        let listed = notification.deliveries.len() as u64;
        let counted = notification.counts["targets"].as_u64();
        if promised != Some(listed) || counted != Some(listed) {
            self.differ(format!(
                "{}: the 202 said {promised:?} targets, the status says {counted:?}, {listed} have an outcome",
                notification.id
            ));
        }
        self.deliveries += notification.deliveries.len();
        for delivery in &notification.deliveries {
            let reasons = self.outcomes.entry(delivery.status.clone()).or_default();
            *reasons.entry(delivery.reason.clone().unwrap_or_default()).or_default() += 1;
            self.retried += usize::from(delivery.status == "accepted" && delivery.attempts > 1);
            self.attempts_max = self.attempts_max.max(delivery.attempts);
        }
        for (status, counted) in notification.counts.as_object().into_iter().flatten() {
            let listed = notification.deliveries.iter().filter(|delivery| delivery.status == *status).count();
            if status != "targets" && counted.as_u64() != Some(listed as u64) {
                self.differ(format!("{}: counts {counted} {status}, lists {listed}", notification.id));
            }
        }
    }

    fn check_quarantine(&mut self, evidence: &Evidence<'_>) {
        let Evidence { fleet, entries, dead, quarantined, .. } = *evidence;
        let token = |id: &String| {
            let number = fleet.by_id.get(id);
            number.map(|number| hint(&fleet.devices[*number].token)).unwrap_or_default()
        };
        for id in dead.difference(quarantined) {
            self.differ(format!("{}: dead, but not in quarantine", token(id)));
        }
        for id in quarantined.difference(dead) {
            self.differ(format!("{}: in quarantine, but not dead", token(id)));
        }
        self.quarantined = quarantined.len();
        self.kept = tokens_of_rule(entries, "DeadBefore").len();
    }

    /// A second acceptance is allowed only where the answer to the first request was lost, and with the same apns-id.
    fn check_duplicates(&mut self, evidence: &Evidence<'_>, cut: &HashSet<u64>) {
        self.duplicates = evidence.duplicates.len();
        let entries: HashMap<u64, &Entry> = evidence.entries.iter().map(|entry| (entry.seq, entry)).collect();
        for duplicate in evidence.duplicates {
            let token = hint(duplicate.token.as_deref().unwrap_or_default());
            let is_unanswered = |first: &&Entry| first.status.is_none() || cut.contains(&first.connection);
            if !entries.get(&duplicate.first_seq).is_some_and(is_unanswered) {
                self.differ(format!("{token}: sent twice, though the first request was answered"));
            }
            if duplicate.same_apns_id == Some(false) {
                self.differ(format!("{token}: sent twice, with two apns-ids"));
            }
        }
    }
}

impl DeviceHistory<'_> {
    /// Whether the entries explain the outcome that the API reports; else what differs.
    fn check(
        &self,
        delivery: &ReportedDelivery,
        device: &DemoDevice,
        dead: &HashSet<String>,
    ) -> Result<(), String> {
        // A request on a connection that was cut may be missing in the ledger.
        let missing = (delivery.attempts as usize).saturating_sub(self.entries.len());
        if missing > self.cut.len() {
            return Err(format!("{} attempts, {} requests", delivery.attempts, self.entries.len()));
        }
        let last = self.entries.last();
        let is_last_reason =
            last.is_some_and(|last| expected_reason(last, device) == reason(delivery) && !last.accepted);
        let is_accepted = self.entries.iter().any(|entry| entry.accepted);
        let is_explained = match delivery.status.as_str() {
            "accepted" => {
                let id = last.and_then(|last| last.header("apns-id"));
                let is_same_id = device.provider != Provider::Apns || id == delivery.provider_id.as_deref();
                is_same_id && last.is_some_and(|last| last.accepted && last.status == Some(200))
            }
            "token_dead" if reason(delivery) == "quarantined" => {
                !is_accepted && dead.contains(&delivery.device)
            }
            "token_dead" => {
                is_last_reason && matches!(device.behaviour, Behaviour::Dead | Behaviour::DeadBefore)
            }
            "rejected" => {
                is_last_reason && matches!(device.behaviour, Behaviour::TooLarge | Behaviour::Malformed)
            }
            // Answers of a provider in an outage count as no attempt, because the lane waits.
            "expired" if reason(delivery) == "ttl" => {
                self.entries.iter().all(|entry| entry.status.is_none() || is_outage(entry))
            }
            "expired" => is_last_reason && !is_accepted && device.behaviour == Behaviour::NeverUp,
            "unknown" => {
                self.may_lack_request(delivery.attempts)
                    || self.entries.iter().any(|entry| self.may_be_unanswered(entry))
            }
            _ => false,
        };
        let seen: Vec<String> = self.entries.iter().map(|entry| answer(entry)).collect();
        is_explained.then_some(()).ok_or_else(|| {
            let (status, reason) = (&delivery.status, reason(delivery));
            format!("{status} ({reason}), but the stand-in answered [{}]", seen.join(", "))
        })
    }

    /// Whether one of so many attempts may have been lost with a connection that was cut: it is in no entry. An answer
    /// of a provider in an outage may be in an entry, and count as no attempt.
    fn may_lack_request(&self, attempts: u32) -> bool {
        let counted = self.entries.iter().filter(|entry| !is_outage(entry)).count();
        !self.cut.is_empty() && attempts as usize > counted
    }

    fn may_be_unanswered(&self, entry: &Entry) -> bool {
        entry.status.is_none() || self.cut.contains(&entry.connection)
    }
}

/// Whether the answer may be that of a provider in an outage or over its quota.
fn is_outage(entry: &Entry) -> bool {
    entry.status.is_some_and(|status| status == 429 || status >= 500)
}

/// The tokens of all requests that the script's rules of this name decided.
fn tokens_of_rule<'a>(entries: &'a [Entry], rule: &str) -> HashSet<&'a str> {
    let decided = entries.iter().filter(|entry| entry.rule.as_deref() == Some(rule));
    decided.filter_map(|entry| entry.token.as_deref()).collect()
}

/// Whether a rule of this name ends the connection of the request that it decides.
fn ends_connections(rule: &str) -> bool {
    matches!(rule, "CutOff" | "AlwaysCutOff") || BREAKING.contains(&rule)
}

fn reason(delivery: &ReportedDelivery) -> &str {
    delivery.reason.as_deref().unwrap_or_default()
}

/// The reason that the API must report for this answer. Where FCM passes on an error of APNs, it is the error of APNs.
fn expected_reason<'a>(entry: &'a Entry, device: &DemoDevice) -> &'a str {
    match (device.provider, device.behaviour) {
        (Provider::Fcm, Behaviour::TooLarge) if entry.reason == "INVALID_ARGUMENT" => "PayloadTooLarge",
        _ => &entry.reason,
    }
}

fn answer(entry: &Entry) -> String {
    match entry.status {
        Some(status) => format!("{status} {}", entry.reason).trim().to_owned(),
        None => format!("{:?}", entry.ended),
    }
}

/// The end of a token, because tokens are not shown whole.
fn hint(token: &str) -> String {
    format!("…{}", token.get(token.len().saturating_sub(6)..).unwrap_or_default())
}
