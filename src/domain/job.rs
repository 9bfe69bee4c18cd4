//! Jobs: a list of devices of one notification in one lane, the unit of claiming, leasing and retrying.

use bit_vec::BitVec;
use chrono::{DateTime, Utc};

use super::wire_enum::wire_enum;
use super::{DeviceId, JobId, LaneId, NotificationId, Priority, Reason};

/// Most devices of a job.
pub const JOB_DEVICES_MAX: usize = 500;

/// A job that was lost with its node so often, with nothing of it recorded between, may be what kills them: it is taken
/// alone and sent one device at a time (docs/queue.md#isolated-attempt).
pub const SUSPECT: i16 = 2;

/// Which devices of a job have left it: bit i belongs to `devices[i]`.
pub type DoneBits = BitVec;

wire_enum! {
    /// Each class has its own range of the claim index and its share of a lane (docs/queue.md#claim).
    Class {
        /// Straight from a request.
        Direct = 0 "direct",
        /// Tried before.
        Retry = 1 "retry",
        /// From a fan-out.
        Bulk = 2 "bulk",
    }
}

/// A job as its holder knows it.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its row.
    pub id: JobId,
    /// What is to be sent.
    pub notification: NotificationId,
    /// Where.
    pub lane: LaneId,
    /// Order.
    pub priority: Priority,
    /// Share.
    pub class: Class,
    /// Fence: goes up with each claim, release and partial record.
    pub version: i32,
    /// Which attempt of its devices this is; 1 is the first.
    pub attempt: u16,
    /// How many of the attempts so far may have been sent without an answer.
    pub unanswered: u16,
    /// The present attempt may have been made already, by a node that died with the job in hand.
    pub in_doubt: bool,
    /// How often its node died with it and nothing of it recorded: see [`Suspicion`].
    pub node_deaths: u16,
    /// Since when it could be sent (Postgres's clock).
    pub due_at: DateTime<Utc>,
    /// When nothing is tried any more (Postgres's clock).
    pub expires_at: DateTime<Utc>,
    /// The provider's last word about its devices.
    pub last_reason: Option<Reason>,
    /// Some: its tokens are tried once in the other of Apple's environments, because theirs called them bad in an
    /// attempt that began then (Postgres's clock; docs/queue.md#environment-probe).
    pub environment_probe_since: Option<DateTime<Utc>>,
    /// Ascending.
    pub devices: Vec<DeviceId>,
    /// None: all are still in it.
    pub done: Option<DoneBits>,
}

/// What a job's losses say about it. One that is isolated and makes progress is back at [`SUSPECT`]; each device that
/// is rejected unseen adds a loss, so that the next one gets its try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suspicion {
    /// Nothing to speak of.
    None,
    /// Its next device is tried alone.
    Isolated,
    /// Its next device was the one that was being tried when the last nodes died: it is rejected unseen.
    NextIsGuilty,
    /// One device after the other kills its node: what they share does.
    AllAreGuilty,
}

impl Job {
    /// How many attempts may have been sent without an answer, the present one among them. While there is any, no device of
    /// the job ends as `expired` or `cancelled`.
    pub fn doubts(&self) -> u16 {
        self.unanswered.saturating_add(u16::from(self.in_doubt))
    }

    /// What its losses say about it.
    pub fn suspicion(&self) -> Suspicion {
        match self.node_deaths {
            0 | 1 => Suspicion::None,
            2..=4 | 6 | 8 => Suspicion::Isolated,
            5 | 7 => Suspicion::NextIsGuilty,
            9.. => Suspicion::AllAreGuilty,
        }
    }

    /// Positions of the devices that are still in it.
    pub fn open(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.devices.len()).filter(|i| self.done.as_ref().is_none_or(|bits| bits.get(*i) != Some(true)))
    }
}
