//! Time that stands still while a test talks to a real Postgres, and moves only when the test says so.

use std::time::Duration;

use tokio::task::JoinHandle;

/// Holds the clock. Tokio moves a paused clock by itself while nothing but I/O is awaited, which would run every
/// time-out out; it does not while a blocking task runs.
pub struct HeldTime {
    let_go: Option<std::sync::mpsc::Sender<()>>,
    _inhibitor: JoinHandle<bool>,
}

impl HeldTime {
    pub fn hold() -> Self {
        tokio::time::pause();
        let (let_go, wait) = std::sync::mpsc::channel::<()>();
        // Ends when the sender is dropped.
        let _inhibitor = tokio::task::spawn_blocking(move || wait.recv().is_ok());
        Self { let_go: Some(let_go), _inhibitor }
    }

    /// Moves the clock, after every task that is ready has set the timers that it waits for.
    pub async fn pass(&self, time: Duration) {
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(time).await;
    }
}

impl Drop for HeldTime {
    fn drop(&mut self) {
        self.let_go.take();
    }
}

/// Waits for something that is to come without the clock's help; gives up after two minutes of real time.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let began = std::time::Instant::now();
    while !condition().await {
        assert!(began.elapsed() < Duration::from_secs(120), "in vain: {what}");
        // Neither the test's clock nor its runtime is needed to let other processes work for a moment.
        std::thread::sleep(Duration::from_millis(1));
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    }
}
