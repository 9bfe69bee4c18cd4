//! The demo's progress on screen: permanent lines on stdout for what has been reached, and below them, on a terminal,
//! lines that are redrawn. Without a terminal the redrawn lines become plain lines on stderr, one every few seconds.

use std::future::Future;
use std::io::IsTerminal as _;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cli::output::{self, grouped};
use pushpost_simulator::{Count, Ledger, Provider};

/// Between two redraws of the terminal's lines.
const REDRAW: Duration = Duration::from_millis(200);
/// Between two plain lines where there is no terminal.
const PLAIN: Duration = Duration::from_secs(3);

/// Counts what the demo has done, and shows the counts.
pub(super) struct Progress {
    started: Instant,
    /// None: stderr is no terminal.
    screen: Option<Screen>,
    phase: Mutex<Phase>,
    /// Devices registered, or notifications accepted, in this phase.
    requests: AtomicUsize,
    /// Notifications with an outcome for every device.
    done: AtomicUsize,
}

/// The redrawn lines: one for each scenario that goes on, and the counts as the last one.
struct Screen {
    lines: MultiProgress,
    counts: ProgressBar,
}

/// What the demo does right now, with what its line needs.
enum Phase {
    Starting,
    Registering { devices: usize },
    Sending { notifications: usize, ledger: Arc<Ledger>, rate: Rate },
}

/// Requests per second at the providers, measured over the last half second or more.
struct Rate {
    at: Instant,
    received: u64,
    per_second: f64,
}

/// What one scenario shows: on a terminal one redrawn line, which is replaced by all of its steps at the end; elsewhere
/// each step at once.
pub(super) struct ScenarioLine<'a> {
    progress: &'a Progress,
    name: &'static str,
    bar: Option<ProgressBar>,
    steps: Vec<String>,
}

impl Progress {
    /// In the phase in which Postgres and the service start.
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
            screen: std::io::stderr().is_terminal().then(Screen::new),
            phase: Mutex::new(Phase::Starting),
            requests: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        }
    }

    /// Begins the phase in which this many devices are registered.
    pub(super) fn start_registering(&self, devices: usize) {
        self.begin(Phase::Registering { devices });
    }

    /// Begins the phase in which notifications are sent. `notifications` is the number known in advance.
    pub(super) fn start_sending(&self, notifications: usize, ledger: Arc<Ledger>) {
        let rate = Rate { at: Instant::now(), received: ledger.received_count(), per_second: 0.0 };
        self.begin(Phase::Sending { notifications, ledger, rate });
    }

    fn begin(&self, phase: Phase) {
        self.requests.store(0, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// Counts one more device registered, or one more notification accepted.
    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets how many notifications have an outcome for every device.
    pub(super) fn set_done(&self, notifications: usize) {
        self.done.store(notifications, Ordering::Relaxed);
    }

    /// Waits for `work`, and shows the counts meanwhile.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut ticks = interval(if self.screen.is_some() { REDRAW } else { PLAIN });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => self.show(),
            }
        }
    }

    fn show(&self) {
        let text = self.text();
        match &self.screen {
            Some(screen) => {
                screen.counts.set_message(text);
                screen.counts.tick();
            }
            None => eprintln!("{}   … {text}", self.elapsed()),
        }
    }

    fn text(&self) -> String {
        let requests = self.requests.load(Ordering::Relaxed);
        match &mut *self.phase.lock().unwrap_or_else(PoisonError::into_inner) {
            Phase::Starting => "Postgres starts".to_owned(),
            Phase::Registering { devices } => {
                format!("registered {} of {}", grouped(requests as u64), grouped(*devices as u64))
            }
            Phase::Sending { notifications, ledger, rate } => {
                let counts = ledger.counts();
                let sum = |is: fn(&Count) -> bool| -> u64 {
                    let pushes = counts.iter().filter(|count| count.provider != Provider::Oauth && is(count));
                    pushes.map(|count| count.count).sum()
                };
                format!(
                    "posted {}, done {} of {}; at the providers: {:.0}/s, accepted {}, try again {}, dead {}",
                    grouped(requests as u64),
                    grouped(self.done.load(Ordering::Relaxed) as u64),
                    grouped((*notifications).max(requests) as u64),
                    rate.update(ledger.received_count()),
                    grouped(sum(|count| count.status == 200)),
                    grouped(sum(|count| count.status == 429 || count.status >= 500)),
                    grouped(sum(|count| matches!(count.status, 404 | 410))),
                )
            }
        }
    }

    /// Prints a permanent line. Further lines of the text are indented as far as the first.
    ///
    /// # Errors
    /// Stdout can't be written to.
    pub(super) fn tell(&self, text: &str) -> anyhow::Result<()> {
        let elapsed = self.elapsed();
        let indented = text.replace('\n', &format!("\n{:1$}", "", elapsed.len() + 1));
        let line = || output::line(&format!("{elapsed} {indented}"));
        match &self.screen {
            Some(screen) => screen.lines.suspend(line),
            None => line(),
        }
    }

    /// Shows the first step of a scenario.
    ///
    /// # Errors
    /// Stdout can't be written to.
    pub(super) fn start_scenario(&self, name: &'static str, what: &str) -> anyhow::Result<ScenarioLine<'_>> {
        let bar = self.screen.as_ref().map(|screen| screen.add_line(&scenario_text(name, what)));
        let mut line = ScenarioLine { progress: self, name, bar, steps: Vec::new() };
        line.step(what)?;
        Ok(line)
    }

    /// Removes the redrawn lines.
    pub(super) fn clear(&self) {
        if let Some(screen) = &self.screen {
            screen.counts.finish_and_clear();
        }
    }

    fn elapsed(&self) -> String {
        format!("[{:5.1} s]", self.started.elapsed().as_secs_f64())
    }
}

impl Screen {
    fn new() -> Self {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let counts = lines.add(spinner());
        Self { lines, counts }
    }

    fn add_line(&self, text: &str) -> ProgressBar {
        let bar = self.lines.insert_before(&self.counts, spinner().with_message(text.to_owned()));
        bar.enable_steady_tick(REDRAW);
        bar
    }
}

/// `wide_msg` cuts a message at the terminal's width, so that each line stays one line.
fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {wide_msg}");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}

impl ScenarioLine<'_> {
    /// Shows the next step.
    ///
    /// # Errors
    /// Stdout can't be written to.
    pub(super) fn step(&mut self, text: &str) -> anyhow::Result<()> {
        let Some(bar) = &self.bar else { return self.progress.tell(&scenario_text(self.name, text)) };
        bar.set_message(scenario_text(self.name, text));
        self.steps.push(text.to_owned());
        Ok(())
    }

    /// Shows the last step.
    ///
    /// # Errors
    /// Stdout can't be written to.
    pub(super) fn finish(mut self, text: &str) -> anyhow::Result<()> {
        self.step(text)?;
        let Some(bar) = &self.bar else { return Ok(()) };
        bar.finish_and_clear();
        let steps = self.steps.join(&format!("\n{}", scenario_text("", "")));
        self.progress.tell(&scenario_text(self.name, &steps))
    }
}

/// The names of scenarios are in a column of ten characters.
fn scenario_text(name: &str, text: &str) -> String {
    format!("{name:<10} {text}")
}

impl Drop for ScenarioLine<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Rate {
    /// Requests per second up to now; the last value if that was measured less than half a second ago.
    fn update(&mut self, received: u64) -> f64 {
        let passed = self.at.elapsed().as_secs_f64();
        if passed >= 0.5 {
            let before = std::mem::replace(&mut self.received, received);
            self.per_second = received.saturating_sub(before) as f64 / passed;
            self.at = Instant::now();
        }
        self.per_second
    }
}
