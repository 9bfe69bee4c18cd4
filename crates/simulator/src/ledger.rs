//! What the simulator received and what it answered: the other side's own word, against which tests, demo and
//! benches compare Pushpost's. It holds device tokens and notification contents, and never credentials.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::clock;
use super::entry::{Count, Duplicate, End, Ended, Entry, Filter, Provider, Record};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LedgerMode {
    /// Every request with headers and body.
    #[default]
    Full,
    /// Counters only, for benches: no entries, no duplicates.
    Counts,
    /// Counters, and when each notification arrived for the first time.
    Arrivals,
}

/// What is known of a request as soon as it is here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    /// The notification's id, where it passed its checks and names one.
    pub(super) notification: Option<&'a str>,
    /// In microseconds since 1970.
    pub(super) at_us: i64,
}

/// The record of all requests; shared by all connections.
#[derive(Debug)]
pub struct Ledger {
    mode: LedgerMode,
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// `seq` of the last request received.
    last: u64,
    /// `seq` of the last request forgotten by [`Ledger::clear`].
    forgotten: u64,
    received: u64,
    accepted: u64,
    counts: HashMap<(Provider, u16, Cow<'static, str>), u64>,
    records: Vec<Record>,
    /// By notification: the first arrival. Empty but in [`LedgerMode::Arrivals`].
    arrivals: HashMap<Box<str>, i64>,
}

/// Stands for a request until it has ended; dropped before that, the connection ended first.
#[derive(Debug)]
pub(super) struct Ticket {
    ledger: Arc<Ledger>,
    seq: u64,
    provider: Provider,
    accepted: bool,
    open: bool,
}

impl Ticket {
    /// Writes down how the request ended.
    pub(super) fn end(mut self, end: End) {
        self.open = false;
        self.ledger.ended(self.seq, self.provider, end);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.ledger.ended(self.seq, self.provider, End::without_answer(Ended::Closed, self.accepted));
        }
    }
}

impl Ledger {
    pub(super) fn new(mode: LedgerMode) -> Self {
        Self { mode, inner: Mutex::default(), changed: Notify::new() }
    }

    /// How much is kept.
    pub(super) fn mode(&self) -> LedgerMode {
        self.mode
    }

    fn is_full(&self) -> bool {
        self.mode == LedgerMode::Full
    }

    /// Counts a request; `record` is called only where entries are kept. `accepted` holds should the connection
    /// end before the answer.
    pub(super) fn received(
        ledger: &Arc<Self>,
        provider: Provider,
        accepted: bool,
        arrival: Arrival<'_>,
        record: impl FnOnce() -> Record,
    ) -> Ticket {
        let record = ledger.is_full().then(record);
        let mut inner = ledger.inner();
        inner.last += 1;
        inner.received += 1;
        let seq = inner.last;
        inner.records.extend(record);
        if let Some(notification) = arrival.notification.filter(|_| ledger.mode == LedgerMode::Arrivals)
            && !inner.arrivals.contains_key(notification)
        {
            inner.arrivals.insert(notification.into(), arrival.at_us);
        }
        drop(inner);
        ledger.changed.notify_waiters();
        Ticket { ledger: ledger.clone(), seq, provider, accepted, open: true }
    }

    fn ended(&self, seq: u64, provider: Provider, end: End) {
        let mut inner = self.inner();
        inner.accepted += u64::from(end.accepted);
        if let Some((status, reason)) = &end.answer {
            *inner.counts.entry((provider, *status, reason.clone())).or_default() += 1;
        }
        if self.is_full() && seq > inner.forgotten {
            let index = usize::try_from(seq - inner.forgotten - 1).expect("an index fits memory");
            let ended_ms = clock::now_ms();
            inner.records[index].end = end;
            inner.records[index].ended_ms = Some(ended_ms);
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// All entries in order of receipt.
    pub fn entries(&self) -> Vec<Entry> {
        self.find(&Filter::default())
    }

    /// The entries of one device token.
    pub fn by_token(&self, token: &str) -> Vec<Entry> {
        self.find(&Filter { token: Some(token.to_owned()), ..Filter::default() })
    }

    /// The entries that a filter lets through, in order of receipt.
    pub fn find(&self, filter: &Filter) -> Vec<Entry> {
        let inner = self.inner();
        let numbered = (inner.forgotten + 1..).zip(&inner.records);
        numbered
            .filter(|(seq, record)| {
                *seq > filter.since
                    && filter.provider.is_none_or(|provider| provider == record.provider)
                    && filter.token.as_deref().is_none_or(|token| record.token.as_deref() == Some(token))
            })
            .take(filter.limit.unwrap_or(usize::MAX))
            .map(|(seq, record)| record.entry(seq))
            .collect()
    }

    /// How often each answer was given, sorted.
    pub fn counts(&self) -> Vec<Count> {
        let inner = self.inner();
        let mut counts: Vec<Count> = inner
            .counts
            .iter()
            .map(|((provider, status, reason), count)| Count {
                provider: *provider,
                status: *status,
                reason: reason.clone().into_owned(),
                count: *count,
            })
            .collect();
        counts.sort();
        counts
    }

    /// How often one answer was given.
    pub fn count(&self, provider: Provider, status: u16, reason: &str) -> u64 {
        let key = (provider, status, Cow::Owned(reason.to_owned()));
        self.inner().counts.get(&key).copied().unwrap_or(0)
    }

    /// Requests received, whatever became of them.
    pub fn received_count(&self) -> u64 {
        self.inner().received
    }

    /// Notifications that a provider took, told or untold.
    pub fn accepted_count(&self) -> u64 {
        self.inner().accepted
    }

    /// When each notification arrived for the first time, in microseconds since 1970. Empty but in
    /// [`LedgerMode::Arrivals`].
    pub fn arrivals(&self) -> Vec<(Box<str>, i64)> {
        self.inner().arrivals.iter().map(|(notification, at_us)| (notification.clone(), *at_us)).collect()
    }

    /// Accepted entries of a notification that had been accepted for the same token before (by notification id,
    /// else by `apns-id`). Empty in [`LedgerMode::Counts`].
    pub fn duplicates(&self) -> Vec<Duplicate> {
        let entries = self.entries();
        let mut first: HashMap<(Provider, Option<&str>, &str), &Entry> = HashMap::new();
        let mut found = Vec::new();
        for entry in entries.iter().filter(|entry| entry.accepted) {
            let apns_id = entry.header("apns-id");
            let Some(name) = entry.notification().or(apns_id) else { continue };
            match first.get(&(entry.provider, entry.token.as_deref(), name)) {
                Some(earlier) => found.push(Duplicate {
                    seq: entry.seq,
                    first_seq: earlier.seq,
                    same_apns_id: apns_id.map(|id| earlier.header("apns-id") == Some(id)),
                    token: entry.token.clone(),
                }),
                None => {
                    first.insert((entry.provider, entry.token.as_deref(), name), entry);
                }
            }
        }
        found
    }

    /// Forgets everything received so far; numbers go on counting.
    pub fn clear(&self) {
        let mut inner = self.inner();
        let last = inner.last;
        *inner = Inner { last, forgotten: last, ..Inner::default() };
    }

    /// Waits until `holds` is true of this ledger; false if that took longer than `limit`.
    pub async fn wait_until(&self, limit: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let watch = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, watch).await.is_ok()
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder panics")
    }
}
