//! Time that stands still while a test talks to a real Postgres, and moves only when the test says so.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet};

/// A test that has not moved the clock for this long waits for the clock itself: a busy Postgres has refused a
/// connection, say, and the pool pauses before the next attempt. Then the clock moves on with real time.
const STANDSTILL_MAX: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_secs(1);

/// Holds the clock. Tokio moves a paused clock by itself while nothing but I/O is awaited, which would run every
/// time-out out; it does not while a blocking task runs.
pub struct HeldTime {
    /// When the test last moved the clock.
    moved: Arc<Mutex<Instant>>,
    let_go: Option<Sender<()>>,
    _inhibitor: JoinHandle<()>,
    _standstill: JoinSet<()>,
}

impl HeldTime {
    pub fn hold() -> Self {
        tokio::time::pause();
        let (let_go, wait) = channel::<()>();
        let (tick, ticks) = unbounded_channel();
        // Ends when the sender is dropped.
        let _inhibitor = tokio::task::spawn_blocking(move || {
            while wait.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let _ = tick.send(());
            }
        });
        let moved = Arc::new(Mutex::new(Instant::now()));
        let mut _standstill = JoinSet::new();
        _standstill.spawn(end_standstills(Arc::clone(&moved), ticks));
        Self { moved, let_go: Some(let_go), _inhibitor, _standstill }
    }

    /// Moves the clock, after every task that is ready has set the timers that it waits for.
    pub async fn pass(&self, time: Duration) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(time).await;
    }
}

async fn end_standstills(moved: Arc<Mutex<Instant>>, mut ticks: UnboundedReceiver<()>) {
    while ticks.recv().await.is_some() {
        let moved = *moved.lock().unwrap_or_else(PoisonError::into_inner);
        if moved.elapsed() > STANDSTILL_MAX {
            tokio::time::advance(TICK).await;
        }
    }
}

impl Drop for HeldTime {
    fn drop(&mut self) {
        self.let_go.take();
    }
}

/// Waits for something that is to come without the clock's help; gives up after two minutes of real time.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < Duration::from_secs(120), "in vain: {what}");
        // Neither the test's clock nor its runtime is needed to let other processes work for a moment.
        std::thread::sleep(Duration::from_millis(1));
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    }
}
