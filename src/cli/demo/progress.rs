//! What is shown while one waits: a live line on a terminal, else a plain one every few seconds.

use std::future::Future;
use std::io::IsTerminal as _;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::report::grouped;
use crate::cli::output;
use pushpost_simulator::{Count, Ledger, Provider};

const LIVE: Duration = Duration::from_millis(200);
const PLAIN: Duration = Duration::from_secs(3);

/// Counts, and shows the counts.
pub(super) struct Progress {
    started: Instant,
    bar: Option<ProgressBar>,
    act: Mutex<Phase>,
    /// What the act counts: devices registered, notifications accepted.
    first: AtomicUsize,
    /// Notifications whose every outcome is on record.
    done: AtomicUsize,
}

enum Phase {
    Starting,
    Registering { devices: usize },
    Sending { posts: usize, ledger: Arc<Ledger>, rate: Rate },
}

/// Requests of the last moment.
struct Rate {
    at: Instant,
    received: u64,
    per_second: f64,
}

impl Progress {
    /// Nothing to show yet.
    pub(super) fn start() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Self {
            started: Instant::now(),
            bar,
            act: Mutex::new(Phase::Starting),
            first: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        }
    }

    /// From here on devices are registered.
    pub(super) fn registering(&self, devices: usize) {
        self.begin(Phase::Registering { devices });
    }

    /// From here on notifications are sent.
    pub(super) fn sending(&self, posts: usize, ledger: Arc<Ledger>) {
        let rate = Rate { at: Instant::now(), received: ledger.received_count(), per_second: 0.0 };
        self.begin(Phase::Sending { posts, ledger, rate });
    }

    fn begin(&self, act: Phase) {
        self.first.store(0, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        *self.act.lock().unwrap_or_else(PoisonError::into_inner) = act;
    }

    /// One more was registered, or accepted.
    pub(super) fn counted(&self) {
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    /// So many notifications have every outcome.
    pub(super) fn done(&self, notifications: usize) {
        self.done.store(notifications, Ordering::Relaxed);
    }

    /// Does the work, showing how far it is.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut beat = interval(if self.bar.is_some() { LIVE } else { PLAIN });
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.tick().await;
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = beat.tick() => self.show(),
            }
        }
    }

    fn show(&self) {
        let text = self.text();
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            None => eprintln!("{}   … {text}", self.elapsed()),
        }
    }

    fn text(&self) -> String {
        let first = self.first.load(Ordering::Relaxed);
        match &mut *self.act.lock().unwrap_or_else(PoisonError::into_inner) {
            Phase::Starting => "Postgres starts".to_owned(),
            Phase::Registering { devices } => {
                format!("registered {} of {}", grouped(first as u64), grouped(*devices as u64))
            }
            Phase::Sending { posts, ledger, rate } => {
                let counts = ledger.counts();
                let sum = |is: fn(&Count) -> bool| -> u64 {
                    let ours = counts.iter().filter(|count| count.provider != Provider::Oauth && is(count));
                    ours.map(|count| count.count).sum()
                };
                format!(
                    "posted {}, done {} of {}; at the providers: {:.0}/s, accepted {}, try again {}, dead {}",
                    grouped(first as u64),
                    grouped(self.done.load(Ordering::Relaxed) as u64),
                    grouped((*posts).max(first) as u64),
                    rate.now(ledger.received_count()),
                    grouped(sum(|count| count.status == 200)),
                    grouped(sum(|count| count.status == 429 || count.status >= 500)),
                    grouped(sum(|count| matches!(count.status, 404 | 410))),
                )
            }
        }
    }

    /// Says what has been reached, for good.
    ///
    /// # Errors
    /// Stdout takes nothing.
    pub(super) fn tell(&self, text: &str) -> anyhow::Result<()> {
        let line = || output::line(&format!("{} {text}", self.elapsed()));
        match &self.bar {
            Some(bar) => bar.suspend(line),
            None => line(),
        }
    }

    /// Takes the live line away.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn elapsed(&self) -> String {
        format!("[{:5.1} s]", self.started.elapsed().as_secs_f64())
    }
}

impl Rate {
    fn now(&mut self, received: u64) -> f64 {
        let passed = self.at.elapsed().as_secs_f64();
        if passed >= 0.5 {
            let before = std::mem::replace(&mut self.received, received);
            self.per_second = received.saturating_sub(before) as f64 / passed;
            self.at = Instant::now();
        }
        self.per_second
    }
}
