//! How many attempts are worth having under way while something urgent comes in beside a broadcast.
//!
//! Beyond what fills the way to the provider and back, more attempts under way are not answered sooner: each waits longer,
//! in our queues or the provider's, and an urgent one behind all of them. So while there is something urgent, a window
//! is tried in which an attempt would take little longer than the fastest, and kept if about as many are answered a second
//! as before.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// An attempt that takes no longer than this beyond the fastest waits for nobody worth mentioning.
const SLACK: Duration = Duration::from_millis(5);
/// How long urgent work is taken to go on after the last that came in.
const URGENT: Duration = Duration::from_secs(2);
/// How often is judged.
const STEP: Duration = Duration::from_millis(50);
/// So many steps something urgent has to go on before the rate is one to compare with: it takes its own part.
const SETTLING: u32 = 2;
/// Not narrower than this part of it at once.
const AT_ONCE: f64 = 0.125;
/// This part of the rate before is about as many. Where half of the window makes half of the rate, far from it.
const ENOUGH: f64 = 0.7;
/// How long nothing narrower is tried after a trial that failed: at first, doubling up to the last.
const REST: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// How much slower the fastest answer is taken to be with each step that does not confirm it.
const FADING: f64 = 1.0025;
/// No fewer are let under way.
const LEAST: usize = 64;

/// One lane's pace.
#[derive(Debug)]
pub(in crate::dispatch) struct AdaptiveLimit {
    begun: Instant,
    most: usize,
    limit: AtomicUsize,
    /// Answers of this step, how long they took together, and the fastest; times in microseconds.
    answers: AtomicU64,
    took_us: AtomicU64,
    fastest_us: AtomicU64,
    /// When the step ends, and until when there is something urgent, in microseconds since it began.
    step_ends_us: AtomicU64,
    urgent_until_us: AtomicU64,
    judged: Mutex<Judged>,
}

/// What was known at the last judgement.
#[derive(Debug)]
struct Judged {
    at: Instant,
    fastest: f64,
    /// Smoothed over a few steps.
    rate: f64,
    /// Steps since something urgent came in, up to [`SETTLING`].
    settled: u32,
    rest: Duration,
    rest_until: Instant,
    trial: Option<Trial>,
}

/// A window to be tried, and how many steps an attempt takes now.
struct Narrower {
    limit: usize,
    round: u32,
}

/// A narrower window is tried.
#[derive(Debug)]
struct Trial {
    /// For so many steps what is answered was sent before; then as many are judged.
    round: u32,
    steps: u32,
    /// Of those that are judged.
    rates: f64,
    limit_before: usize,
    rate_before: f64,
}

impl AdaptiveLimit {
    /// For a window of at most so many.
    pub(in crate::dispatch) fn new(most: usize) -> Self {
        let begun = Instant::now();
        Self {
            begun,
            most,
            limit: AtomicUsize::new(most),
            answers: AtomicU64::new(0),
            took_us: AtomicU64::new(0),
            fastest_us: AtomicU64::new(u64::MAX),
            step_ends_us: AtomicU64::new(micros(STEP)),
            urgent_until_us: AtomicU64::new(0),
            judged: Mutex::new(Judged::new(begun)),
        }
    }

    /// Something came in that shall not wait.
    pub(in crate::dispatch) fn note_urgent(&self) {
        self.urgent_until_us.store(micros(self.begun.elapsed() + URGENT), Ordering::Relaxed);
    }

    /// How many attempts may be under way.
    pub(in crate::dispatch) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// An attempt was answered at `now`, one of so many under way. Returns whether more may be under way now.
    pub(in crate::dispatch) fn answered(&self, now: Instant, took: Duration, under_way: usize) -> bool {
        let took = micros(took);
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.took_us.fetch_add(took, Ordering::Relaxed);
        self.fastest_us.fetch_min(took, Ordering::Relaxed);
        let elapsed = micros(now.saturating_duration_since(self.begun));
        elapsed >= self.step_ends_us.load(Ordering::Relaxed) && self.judge(now, under_way)
    }

    fn judge(&self, now: Instant, under_way: usize) -> bool {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(self.begun);
        if micros(elapsed) < self.step_ends_us.load(Ordering::Relaxed) {
            return false;
        }
        self.step_ends_us.store(micros(elapsed + STEP), Ordering::Relaxed);
        let step = now.saturating_duration_since(std::mem::replace(&mut judged.at, now));
        let answers = self.answers.swap(0, Ordering::Relaxed) as f64;
        let mean = self.took_us.swap(0, Ordering::Relaxed) as f64 / answers.max(1.0);
        let fastest = self.fastest_us.swap(u64::MAX, Ordering::Relaxed) as f64;
        judged.fastest = (judged.fastest * FADING).min(fastest);

        let limit = self.limit();
        let urgent = micros(elapsed) < self.urgent_until_us.load(Ordering::Relaxed);
        judged.settle(urgent);
        // Where fewer are under way than may be, it is not the window that makes them wait.
        let crowded = urgent && under_way >= limit / 2 && mean > judged.fastest + micros(SLACK) as f64;
        let round = (mean / micros(STEP) as f64).ceil().max(1.0) as u32;
        let aim = (judged.fastest + micros(SLACK) as f64) / mean;
        let narrower = (limit.min(under_way) as f64 * aim.clamp(AT_ONCE, 0.5)) as usize;
        let try_out = crowded.then_some(Narrower { limit: narrower.max(LEAST), round });
        let next = judged.next_limit(limit, try_out, answers / step.as_secs_f64());
        let next = next.min(self.most);
        self.limit.store(next, Ordering::Relaxed);
        next > limit
    }
}

impl Judged {
    fn new(at: Instant) -> Self {
        let (fastest, rate, rest) = (f64::INFINITY, 0.0, REST[0]);
        Self { at, fastest, rate, settled: 0, rest, rest_until: at, trial: None }
    }

    /// Beside something urgent, the rate is another one from the beginning.
    fn settle(&mut self, urgent: bool) {
        if urgent && self.settled == 0 {
            self.rate = 0.0;
        }
        self.settled = if urgent { (self.settled + 1).min(SETTLING) } else { 0 };
    }

    /// `rate`: answers a second in the step that has just ended; `try_out`: attempts wait for each other, and would less
    /// in this.
    fn next_limit(&mut self, limit: usize, try_out: Option<Narrower>, rate: f64) -> usize {
        self.rate = if self.rate == 0.0 { rate } else { (self.rate + rate) / 2.0 };
        if let Some(mut trial) = self.trial.take() {
            trial.steps += 1;
            if trial.steps > trial.round {
                trial.rates += rate;
            }
            if trial.steps < 2 * trial.round {
                self.trial = Some(trial);
                return limit;
            }
            self.rate = trial.rates / f64::from(trial.round);
            if self.rate < ENOUGH * trial.rate_before {
                self.rest_until = self.at + self.rest;
                self.rest = (2 * self.rest).min(REST[1]);
                // A little more than before: it may have been too narrow already.
                return wider(trial.limit_before);
            }
            self.rest = REST[0];
        }
        let Some(Narrower { limit: narrower, round }) = try_out else { return wider(limit) };
        if self.settled < SETTLING || self.at < self.rest_until || narrower >= limit {
            return limit;
        }
        let rate_before = self.rate;
        self.trial = Some(Trial { round, steps: 0, rates: 0.0, limit_before: limit, rate_before });
        narrower
    }
}

fn wider(limit: usize) -> usize {
    limit + (limit / 4).max(1)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 2_000;

    /// Where the window settles at a provider that answers at most so many a second, and none before `nearest`.
    fn settled(urgent: bool, per_second: f64, nearest: Duration) -> (usize, f64) {
        let pace = AdaptiveLimit::new(MOST);
        let rate = go_on(&pace, 0..300, urgent, per_second, nearest);
        (pace.limit(), rate)
    }

    /// Some steps at that provider, and its rate in the last.
    fn go_on(
        pace: &AdaptiveLimit,
        steps: std::ops::Range<u32>,
        urgent: bool,
        per_second: f64,
        nearest: Duration,
    ) -> f64 {
        let mut rate = 0.0;
        for step in steps {
            let now = pace.begun + STEP * (step + 1);
            if urgent {
                let until = now.saturating_duration_since(pace.begun) + URGENT;
                pace.urgent_until_us.store(micros(until), Ordering::Relaxed);
            }
            let under_way = pace.limit();
            rate = per_second.min(under_way as f64 / nearest.as_secs_f64());
            let took = Duration::from_secs_f64(under_way as f64 / rate);
            pace.answered(now - STEP / 2, nearest, under_way);
            for _ in 1..(rate * STEP.as_secs_f64()) as usize {
                pace.answered(now, took, under_way);
            }
        }
        rate
    }

    #[test]
    fn alone_a_broadcast_has_the_whole_window() {
        assert_eq!(settled(false, 40_000.0, Duration::from_millis(1)).0, MOST);
    }

    #[test]
    fn beside_something_urgent_it_narrows_to_what_waits_little() {
        let (limit, rate) = settled(true, 40_000.0, Duration::from_millis(1));
        assert!((100..=400).contains(&limit), "{limit}: 6 ms are 240");
        assert!(rate > 0.75 * 40_000.0, "{rate}");
    }

    #[test]
    fn what_the_urgent_itself_takes_is_not_put_down_to_the_narrower_window() {
        let (pace, near) = (AdaptiveLimit::new(MOST), Duration::from_millis(1));
        go_on(&pace, 0..10, false, 50_000.0, near);
        go_on(&pace, 10..20, true, 30_000.0, near);
        assert!(pace.limit() <= MOST / 4, "{}", pace.limit());
    }

    #[test]
    fn a_far_provider_keeps_its_window() {
        assert_eq!(settled(true, 1e9, Duration::from_millis(80)).0, MOST);
    }

    /// Its answers take long whoever else is under way: a narrower window would only mean fewer answers.
    #[test]
    fn a_provider_that_takes_its_time_keeps_most_of_its_rate() {
        let pace = AdaptiveLimit::new(MOST);
        let mut now = pace.begun;
        let mut widths = 0;
        for _ in 0..300 {
            now += STEP;
            pace.urgent_until_us.store(u64::MAX, Ordering::Relaxed);
            let under_way = pace.limit();
            // One in a hundred comes after 5 ms, all others after 50.
            let answers = under_way * 2;
            for number in 0..answers {
                let took = if number % 100 == 0 { 5 } else { 50 };
                pace.answered(now, Duration::from_millis(took), under_way);
            }
            widths += pace.limit();
        }
        assert!(widths / 300 >= MOST * 9 / 10, "{}", widths / 300);
    }
}
