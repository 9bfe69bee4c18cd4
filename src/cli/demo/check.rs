//! Compares, device by device, what the API says with what the stand-ins received and answered.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::client::{FinishedNotification, ReportedDelivery, SentNotification};
use super::fleet::{Behaviour, DemoDevice, Fleet};
use super::scenarios::BREAKING;
use pushpost_simulator::{Entry, Provider};

/// Both sides' word.
pub(super) struct Evidence<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) posted: &'a [SentNotification],
    pub(super) ended: &'a [FinishedNotification],
    /// Ids of notifications from before things went wrong: rate and latencies are theirs.
    pub(super) calm: &'a HashSet<String>,
    pub(super) entries: &'a [Entry],
    pub(super) duplicates: &'a [pushpost_simulator::Duplicate],
    /// Ids of devices that must be set aside.
    pub(super) dead: &'a HashSet<String>,
    /// Ids of devices that are.
    pub(super) aside: &'a HashSet<String>,
}

/// What came out.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) notifications: usize,
    pub(super) deliveries: usize,
    /// By status, then by reason.
    pub(super) outcomes: BTreeMap<String, BTreeMap<String, usize>>,
    /// Accepted, but not at first.
    pub(super) retried: usize,
    /// Most attempts of one device.
    pub(super) most_attempts: u32,
    /// Devices set aside.
    pub(super) aside: usize,
    /// Devices that APNs called dead, registered again since.
    pub(super) kept: usize,
    pub(super) duplicates: usize,
    pub(super) requests: usize,
    /// First arrivals per second, from the first request to the last arrival.
    pub(super) rate: f64,
    /// Milliseconds from a request to each first arrival, sorted.
    pub(super) latencies: Vec<i64>,
    /// What does not agree; empty is the aim.
    pub(super) differences: Vec<String>,
}

/// What the stand-ins know of one device and one notification.
struct DeviceHistory<'a> {
    entries: &'a [&'a Entry],
    /// Connections that the script cut.
    cut: &'a HashSet<u64>,
}

/// The devices that must be set aside: called dead at a time after their registration.
pub(super) fn expected_quarantine(fleet: &Fleet, entries: &[Entry]) -> HashSet<String> {
    let named = |entry: &&Entry| entry.rule.as_deref() == Some("Dead");
    let dead: HashSet<&str> =
        entries.iter().filter(named).filter_map(|entry| entry.token.as_deref()).collect();
    let ours = fleet.devices.iter().filter(|device| dead.contains(&*device.token));
    ours.map(|device| device.id.clone()).collect()
}

/// How many tokens were called dead, in words.
pub(super) fn deaths(entries: &[Entry]) -> String {
    let tokens = |rule: &str| {
        let named = entries.iter().filter(|entry| entry.rule.as_deref() == Some(rule));
        named.filter_map(|entry| entry.token.as_deref()).collect::<HashSet<_>>().len()
    };
    format!(
        "dead tokens: {} were called dead and are set aside; {} died before they were registered again, and are kept",
        tokens("Dead"),
        tokens("DeadBefore"),
    )
}

/// Everything against everything.
pub(super) fn compare(evidence: &Evidence<'_>) -> Findings {
    let Evidence { fleet, posted, ended, entries, .. } = *evidence;
    let mut findings = Findings { notifications: posted.len(), ..Findings::default() };
    let ids: HashSet<&str> = ended.iter().map(|ended| &*ended.id).collect();
    let mut stories: HashMap<(&str, &str), Vec<&Entry>> = HashMap::new();
    let pushes = entries.iter().filter(|entry| entry.provider != Provider::Oauth);
    for entry in pushes.filter(|entry| entry.notification().is_some_and(|id| ids.contains(id))) {
        findings.requests += 1;
        let (token, id) = (entry.token.as_deref(), entry.notification());
        stories.entry((token.unwrap_or_default(), id.unwrap_or_default())).or_default().push(entry);
    }
    let cut: HashSet<u64> = entries
        .iter()
        .filter(|entry| entry.rule.as_deref().is_some_and(ends_connections))
        .map(|entry| entry.connection)
        .collect();
    let mut last_arrival = i64::MIN;
    let targets: HashMap<&str, u64> = posted.iter().map(|posted| (&*posted.id, posted.targets)).collect();
    for notification in ended {
        findings.count(notification, targets.get(&*notification.id).copied());
        for delivery in &notification.deliveries {
            let Some(device) = fleet.by_id.get(&delivery.device).map(|number| &fleet.devices[*number]) else {
                findings.differ(format!("{}: a device that nobody addressed", notification.id));
                continue;
            };
            let told = stories.remove(&(&*device.token, &*notification.id)).unwrap_or_default();
            if let Some(first) = told.first().filter(|_| evidence.calm.contains(&notification.id)) {
                findings.latencies.push(first.received_ms - notification.at_ms);
                last_arrival = last_arrival.max(first.received_ms);
            }
            let story = DeviceHistory { entries: &told, cut: &cut };
            if let Err(why) = story.agrees(delivery, device, evidence.dead) {
                findings.differ(format!("{} {}: {why}", notification.id, hint(&device.token)));
            }
        }
    }
    for (token, id) in stories.keys() {
        findings.differ(format!("{id} {}: sent, and not on record", hint(token)));
    }
    findings.check_quarantine(evidence);
    findings.check_duplicates(evidence, &cut);
    findings.latencies.sort_unstable();
    let calm = ended.iter().filter(|ended| evidence.calm.contains(&ended.id));
    let began = calm.map(|ended| ended.at_ms).min().unwrap_or_default();
    let seconds = (last_arrival.saturating_sub(began)).max(1) as f64 / 1000.0;
    findings.rate = findings.latencies.len() as f64 / seconds;
    findings
}

impl Findings {
    fn differ(&mut self, what: String) {
        self.differences.push(what);
    }

    /// Adds a notification's deliveries up, and compares them with its own counts.
    fn count(&mut self, notification: &FinishedNotification, promised: Option<u64>) {
        let found = notification.deliveries.len() as u64;
        let counted = notification.counts["targets"].as_u64();
        if promised != Some(found) || counted != Some(found) {
            self.differ(format!(
                "{}: {promised:?} targets were promised and {counted:?} counted, but {found} have an outcome",
                notification.id
            ));
        }
        self.deliveries += notification.deliveries.len();
        for delivery in &notification.deliveries {
            let reasons = self.outcomes.entry(delivery.status.clone()).or_default();
            *reasons.entry(delivery.reason.clone().unwrap_or_default()).or_default() += 1;
            self.retried += usize::from(delivery.status == "accepted" && delivery.attempts > 1);
            self.most_attempts = self.most_attempts.max(delivery.attempts);
        }
        for (status, counted) in notification.counts.as_object().into_iter().flatten() {
            let here = notification.deliveries.iter().filter(|delivery| delivery.status == *status).count();
            if status != "targets" && counted.as_u64() != Some(here as u64) {
                self.differ(format!("{}: counts {counted} {status}, lists {here}", notification.id));
            }
        }
    }

    fn check_quarantine(&mut self, evidence: &Evidence<'_>) {
        let Evidence { fleet, entries, dead, aside, .. } = *evidence;
        let hinted = |id: &String| fleet.by_id.get(id).map(|number| hint(&fleet.devices[*number].token));
        for id in dead.difference(aside) {
            self.differ(format!("{}: dead, and not set aside", hinted(id).unwrap_or_default()));
        }
        for id in aside.difference(dead) {
            self.differ(format!("{}: set aside, and not dead", hinted(id).unwrap_or_default()));
        }
        self.aside = aside.len();
        let before = entries.iter().filter(|entry| entry.rule.as_deref() == Some("DeadBefore"));
        self.kept = before.filter_map(|entry| entry.token.as_deref()).collect::<HashSet<_>>().len();
    }

    /// A second acceptance is right only where the first one's answer was lost, and then under the same name.
    fn check_duplicates(&mut self, evidence: &Evidence<'_>, cut: &HashSet<u64>) {
        self.duplicates = evidence.duplicates.len();
        let entries: HashMap<u64, &Entry> = evidence.entries.iter().map(|entry| (entry.seq, entry)).collect();
        for duplicate in evidence.duplicates {
            let token = hint(duplicate.token.as_deref().unwrap_or_default());
            let unanswered = |first: &&Entry| first.status.is_none() || cut.contains(&first.connection);
            if !entries.get(&duplicate.first_seq).is_some_and(unanswered) {
                self.differ(format!("{token}: sent twice, though the first was answered"));
            }
            if duplicate.same_apns_id == Some(false) {
                self.differ(format!("{token}: sent twice, under two apns-ids"));
            }
        }
    }
}

impl DeviceHistory<'_> {
    fn agrees(
        &self,
        delivery: &ReportedDelivery,
        device: &DemoDevice,
        dead: &HashSet<String>,
    ) -> Result<(), String> {
        // What was on its way through a connection that was cut may have left no trace there.
        let lost = (delivery.attempts as usize).saturating_sub(self.entries.len());
        if lost > self.cut.len() {
            return Err(format!("{} attempts, {} requests", delivery.attempts, self.entries.len()));
        }
        let says = |what: &str| format!("{} ({}), but {what}", delivery.status, reason(delivery));
        let last = self.entries.last();
        let last_reason = last.filter(|last| word(last, device) == reason(delivery) && !last.accepted);
        let is_taken = self.entries.iter().any(|entry| entry.accepted);
        let right = match delivery.status.as_str() {
            "accepted" => {
                let id = last.and_then(|last| last.header("apns-id"));
                let is_named = device.provider != Provider::Apns || id == delivery.provider_id.as_deref();
                is_named && last.is_some_and(|last| last.accepted && last.status == Some(200))
            }
            "token_dead" if reason(delivery) == "quarantined" => !is_taken && dead.contains(&delivery.device),
            "token_dead" => {
                last_reason.is_some() && matches!(device.behaviour, Behaviour::Dead | Behaviour::DeadBefore)
            }
            "rejected" => {
                last_reason.is_some()
                    && matches!(device.behaviour, Behaviour::TooLarge | Behaviour::Malformed)
            }
            // What a provider in trouble answered counts as no attempt: the lane waited.
            "expired" if reason(delivery) == "ttl" => self
                .entries
                .iter()
                .all(|entry| entry.status.is_none_or(|status| status == 429 || status >= 500)),
            "expired" => last_reason.is_some() && !is_taken && device.behaviour == Behaviour::NeverUp,
            "unknown" => lost > 0 || self.entries.iter().any(|entry| self.may_be_unanswered(entry)),
            _ => false,
        };
        let seen: Vec<String> = self.entries.iter().map(|entry| seen(entry)).collect();
        right.then_some(()).ok_or_else(|| says(&format!("the stand-in saw [{}]", seen.join(", "))))
    }

    fn may_be_unanswered(&self, entry: &Entry) -> bool {
        entry.status.is_none() || self.cut.contains(&entry.connection)
    }
}

/// A rule by this name has ended the connection of the request that it decided about.
fn ends_connections(rule: &str) -> bool {
    matches!(rule, "CutOff" | "AlwaysCutOff") || BREAKING.contains(&rule)
}

fn reason(delivery: &ReportedDelivery) -> &str {
    delivery.reason.as_deref().unwrap_or_default()
}

/// What Pushpost must call this answer: where FCM passes on what APNs said, that counts.
fn word<'a>(entry: &'a Entry, device: &DemoDevice) -> &'a str {
    match (device.provider, device.behaviour) {
        (Provider::Fcm, Behaviour::TooLarge) if entry.reason == "INVALID_ARGUMENT" => "PayloadTooLarge",
        _ => &entry.reason,
    }
}

fn seen(entry: &Entry) -> String {
    match entry.status {
        Some(status) => format!("{status} {}", entry.reason).trim().to_owned(),
        None => format!("{:?}", entry.ended),
    }
}

/// A token is never shown whole.
fn hint(token: &str) -> String {
    format!("…{}", token.get(token.len().saturating_sub(6)..).unwrap_or_default())
}
