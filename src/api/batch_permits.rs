//! Bounds the memory and the share of the database that batches of notifications take on this node.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Parts of batches that are carried out at the same time: while one is committed, others are read and looked up. Each is
/// at most [`PART_BYTES`] of text, which may take sixty times as much memory.
const PARTS_MAX: usize = 4;
/// A part of a batch with this many bytes takes no further notification.
pub const PART_BYTES: usize = 512 << 10;

/// Permits to carry out parts of batches. Cheap to clone; clones share the permits.
#[derive(Clone, Debug)]
pub struct BatchPermits(Arc<Semaphore>);

impl Default for BatchPermits {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PARTS_MAX)))
    }
}

impl BatchPermits {
    /// Waits for a permit, in the order of the calls. It is given back when it is dropped.
    pub async fn acquire(&self) -> SemaphorePermit<'_> {
        self.0.acquire().await.expect("the semaphore is never closed")
    }
}
