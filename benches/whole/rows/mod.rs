//! What is measured, a file each, with what it ought to be.

mod arrival;
mod bare;
mod batch;
mod broadcast;
mod cleanup;
mod condition;
mod events;
mod far;
mod high;
mod idempotent;
mod idle;
mod import;
mod memory;
mod operate;
mod past;
mod reads;
mod scheduled;
mod singles;
mod snapshot;
mod topic;
mod turns;
mod webhooks;

use crate::report::Findings;
use crate::stage::Bench;
use pushpost::provider::{apns, fcm};

/// A row, or a few that come of one measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Row {
    /// The bare client alone.
    Bare,
    /// A broadcast by APNs.
    Apns,
    /// A broadcast by FCM.
    Fcm,
    /// A broadcast to a topic, beside one to all.
    Topic,
    /// From the POST of a condition to the provider.
    Condition,
    /// Broadcasts of different sizes.
    Memory,
    /// Notifications to one device each.
    Singles,
    /// The same with idempotency keys.
    Idempotent,
    /// The same, many in a request.
    Batch,
    /// Notifications that are sent later.
    Scheduled,
    /// From a POST to the provider.
    Arrival,
    /// The same, urgent, beside a broadcast.
    High,
    /// Urgent ones, beside a clean-up run.
    Cleanup,
    /// A database with a long past.
    Past,
    /// A session that holds a snapshot.
    Snapshot,
    /// What is read while a broadcast runs.
    Reads,
    /// Many devices by one request.
    Import,
    /// Nothing to do.
    Idle,
    /// Providers far away.
    Far,
    /// Scraped and traced, beside neither.
    Operate,
    /// With the event log, beside none.
    Events,
    /// With webhooks, most of which hang or refuse, beside none.
    Webhooks,
}

impl Row {
    /// In the order in which they are measured.
    pub(crate) const ALL: [Self; 22] = [
        Self::Bare,
        Self::Apns,
        Self::Fcm,
        Self::Topic,
        Self::Condition,
        Self::Memory,
        Self::Singles,
        Self::Idempotent,
        Self::Batch,
        Self::Scheduled,
        Self::Arrival,
        Self::High,
        Self::Cleanup,
        Self::Past,
        Self::Snapshot,
        Self::Reads,
        Self::Import,
        Self::Idle,
        Self::Far,
        Self::Operate,
        Self::Events,
        Self::Webhooks,
    ];

    /// What `ONLY` takes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Apns => "apns",
            Self::Fcm => "fcm",
            Self::Topic => "topic",
            Self::Condition => "condition",
            Self::Memory => "memory",
            Self::Singles => "singles",
            Self::Idempotent => "idempotent",
            Self::Batch => "batch",
            Self::Scheduled => "scheduled",
            Self::Arrival => "arrival",
            Self::High => "high",
            Self::Cleanup => "cleanup",
            Self::Past => "past",
            Self::Snapshot => "snapshot",
            Self::Reads => "reads",
            Self::Import => "import",
            Self::Idle => "idle",
            Self::Far => "far",
            Self::Operate => "operate",
            Self::Events => "events",
            Self::Webhooks => "webhooks",
        }
    }

    pub(crate) async fn measure(self, bench: &Bench) -> anyhow::Result<Findings> {
        match self {
            Self::Bare => bare::measure(bench).await,
            Self::Apns => broadcast::measure(bench, apns::PLATFORM).await,
            Self::Fcm => broadcast::measure(bench, fcm::PLATFORM).await,
            Self::Topic => topic::measure(bench).await,
            Self::Condition => condition::measure(bench).await,
            Self::Memory => memory::measure(bench).await,
            Self::Singles => singles::measure(bench).await,
            Self::Idempotent => idempotent::measure(bench).await,
            Self::Batch => batch::measure(bench).await,
            Self::Scheduled => scheduled::measure(bench).await,
            Self::Arrival => arrival::measure(bench).await,
            Self::High => high::measure(bench).await,
            Self::Cleanup => cleanup::measure(bench).await,
            Self::Past => past::measure(bench).await,
            Self::Snapshot => snapshot::measure(bench).await,
            Self::Reads => reads::measure(bench).await,
            Self::Import => import::measure(bench).await,
            Self::Idle => idle::measure(bench).await,
            Self::Far => far::measure(bench).await,
            Self::Operate => operate::measure(bench).await,
            Self::Events => events::measure(bench).await,
            Self::Webhooks => webhooks::measure(bench).await,
        }
    }
}

/// The value in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
