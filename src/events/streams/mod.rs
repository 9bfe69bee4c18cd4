//! Streams of events to clients that stay connected.
//!
//! A ring has the newest pages of an app's log. One task per ring reads it, and every stream at the head of the log gets its pages from there, so that a
//! page is read once, however many clients look. A stream that is further behind reads for itself, when its socket asks
//! for more. While no stream is open, nothing is read.

mod admission;
mod ring;
mod stream;
mod worker;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use admission::{StreamLimits, StreamPulse, StreamRefusal, StreamSlot};
pub use stream::{EventStream, StreamEnd, StreamStart, StreamStep};
pub use worker::StreamWorker;

use super::{DeviceDetail, EventReader};
use crate::domain::{App, EventPlace, KeyId};
use crate::telemetry::metrics::{EventStreamMetrics, Held, StreamKind};
use admission::Admission;
use ring::{Ring, RingKey};

/// Pages that streams behind the head read at the same time. The connections of operators are two.
const OWN_READS_MAX: usize = 1;

/// The streams of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventStreams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    reader: EventReader,
    admission: Arc<Admission>,
    rings: Mutex<HashMap<RingKey, (usize, Arc<Ring>)>>,
    new_rings: mpsc::UnboundedSender<(Arc<App>, Arc<Ring>)>,
    /// The end of the log that was read last.
    head: watch::Sender<EventPlace>,
    own_reads: Semaphore,
    /// Cancelled when the node begins to shut down.
    draining: CancellationToken,
    metrics: EventStreamMetrics,
}

/// The use of a ring by one stream.
#[derive(Debug)]
struct RingUse {
    shared: Arc<Shared>,
    ring: Arc<Ring>,
}

impl EventStreams {
    /// Without streams. The worker reads for them; without it a stream gets only what is there when it begins.
    /// `draining`: cancelled when the node begins to shut down.
    pub fn new(
        reader: EventReader,
        limits: StreamLimits,
        draining: CancellationToken,
        metrics: EventStreamMetrics,
    ) -> (Self, StreamWorker) {
        let (new_rings, started) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            reader,
            admission: Arc::new(Admission::new(limits)),
            rings: Mutex::default(),
            new_rings,
            head: watch::Sender::new(EventPlace::START),
            own_reads: Semaphore::new(OWN_READS_MAX),
            draining,
            metrics,
        });
        (Self(Arc::clone(&shared)), StreamWorker::new(shared, started))
    }

    /// Takes a place for a stream. `cut` ends its connection.
    ///
    /// # Errors
    /// The node serves as many streams as it may, or is being shut down.
    pub fn admit(
        &self,
        key: KeyId,
        kind: StreamKind,
        cut: CancellationToken,
    ) -> Result<StreamSlot, StreamRefusal> {
        if self.0.draining.is_cancelled() {
            return Err(StreamRefusal::ShuttingDown);
        }
        self.0.admission.admit(key, cut, Held::new(self.0.metrics.open(kind)))
    }

    /// Begins a stream.
    pub fn open(&self, slot: StreamSlot, app: Arc<App>, start: StreamStart) -> EventStream {
        let ring = self.0.take_ring(&app, start.filter.devices, start.head);
        EventStream::new(slot, app, ring, start)
    }
}

impl Shared {
    fn take_ring(self: &Arc<Self>, app: &Arc<App>, devices: DeviceDetail, head: EventPlace) -> RingUse {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = match rings.entry((app.id, devices)) {
            Entry::Occupied(mut known) => {
                let (uses, ring) = known.get_mut();
                *uses += 1;
                Arc::clone(ring)
            }
            Entry::Vacant(unknown) => {
                let ring = Arc::new(Ring::new((app.id, devices), head));
                unknown.insert((1, Arc::clone(&ring)));
                // Without a worker the ring is not read.
                let _started = self.new_rings.send((Arc::clone(app), Arc::clone(&ring)));
                ring
            }
        };
        drop(rings);
        RingUse { shared: Arc::clone(self), ring }
    }
}

impl Drop for RingUse {
    fn drop(&mut self) {
        let mut rings = self.shared.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((uses, _)) = rings.get_mut(&self.ring.key) else { return };
        *uses -= 1;
        if *uses == 0 {
            rings.remove(&self.ring.key);
            self.ring.unused.cancel();
        }
    }
}
