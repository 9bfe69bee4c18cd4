//! Fewer attempts in flight while urgent work comes in beside a broadcast.
//!
//! Once the way to the provider and back is full, more attempts in flight are not answered sooner. Each waits longer, in
//! our queues or the provider's, and an urgent attempt waits behind all of them. So while urgent work comes in, a lower
//! limit is tried, in which an attempt would take little longer than the fastest. The lower limit is kept if about as many
//! attempts are answered per second as before.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// An attempt that takes this much longer than the fastest does not wait for other attempts.
const DELAY_MAX: Duration = Duration::from_millis(5);
/// Urgent work is expected to go on for this long after it last came in.
const URGENT_SPAN: Duration = Duration::from_secs(2);
/// Time between two judgements.
const STEP: Duration = Duration::from_millis(50);
/// The rate is compared only after so many steps with urgent work, because urgent work takes its own part of it.
const SETTLE_STEPS: u32 = 2;
/// One step lowers the limit at most to this part of it.
const STEP_RATIO_MIN: f64 = 0.125;
/// A lower limit is kept if it yields at least this part of the rate before. Where half of the limit yields half of the
/// rate, it is given up.
const RATE_RATIO_MIN: f64 = 0.7;
/// After a trial that failed no lower limit is tried for the first of these times. It doubles up to the second.
const COOLDOWN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// With each step the fastest answer known counts as slower by this factor, so that an old one is forgotten.
const FASTEST_DECAY: f64 = 1.0025;
/// The limit is never lower.
const LIMIT_MIN: usize = 64;

/// The adaptive limit of one lane.
#[derive(Debug)]
pub(in crate::dispatch) struct AdaptiveLimit {
    began_at: Instant,
    limit_max: usize,
    limit: AtomicUsize,
    /// Answers of this step, the sum of their times and the least of them, in microseconds.
    answers: AtomicU64,
    took_us: AtomicU64,
    fastest_us: AtomicU64,
    /// When the step ends, and until when urgent work is expected, in microseconds after `began_at`.
    step_ends_us: AtomicU64,
    urgent_until_us: AtomicU64,
    judged: Mutex<Judged>,
}

/// The last judgement.
#[derive(Debug)]
struct Judged {
    at: Instant,
    /// The fastest answer, in microseconds.
    fastest: f64,
    /// Answers per second, smoothed over a few steps.
    rate: f64,
    /// Steps with urgent work in a row, up to [`SETTLE_STEPS`].
    settled: u32,
    cooldown: Duration,
    cooldown_until: Instant,
    trial: Option<Trial>,
}

/// A lower limit that may be tried, and how many steps an attempt takes now.
struct LowerLimit {
    limit: usize,
    round: u32,
}

/// A lower limit on trial.
#[derive(Debug)]
struct Trial {
    /// What is answered within so many steps was sent before the trial. As many further steps are judged.
    round: u32,
    steps: u32,
    /// Sum over the steps that are judged.
    rates: f64,
    limit_before: usize,
    rate_before: f64,
}

impl AdaptiveLimit {
    /// Starts at its maximum.
    pub(in crate::dispatch) fn new(limit_max: usize) -> Self {
        let began_at = Instant::now();
        Self {
            began_at,
            limit_max,
            limit: AtomicUsize::new(limit_max),
            answers: AtomicU64::new(0),
            took_us: AtomicU64::new(0),
            fastest_us: AtomicU64::new(u64::MAX),
            step_ends_us: AtomicU64::new(micros(STEP)),
            urgent_until_us: AtomicU64::new(0),
            judged: Mutex::new(Judged::new(began_at)),
        }
    }

    /// Urgent work came in.
    pub(in crate::dispatch) fn note_urgent(&self) {
        self.urgent_until_us.store(micros(self.began_at.elapsed() + URGENT_SPAN), Ordering::Relaxed);
    }

    /// How many attempts may be in flight.
    pub(in crate::dispatch) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// An attempt was answered at `now`. True: the limit rose.
    pub(in crate::dispatch) fn answered(&self, now: Instant, took: Duration, in_flight: usize) -> bool {
        let took = micros(took);
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.took_us.fetch_add(took, Ordering::Relaxed);
        self.fastest_us.fetch_min(took, Ordering::Relaxed);
        let elapsed = micros(now.saturating_duration_since(self.began_at));
        elapsed >= self.step_ends_us.load(Ordering::Relaxed) && self.judge(now, in_flight)
    }

    fn judge(&self, now: Instant, in_flight: usize) -> bool {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(self.began_at);
        if micros(elapsed) < self.step_ends_us.load(Ordering::Relaxed) {
            return false;
        }
        self.step_ends_us.store(micros(elapsed + STEP), Ordering::Relaxed);
        let step = now.saturating_duration_since(std::mem::replace(&mut judged.at, now));
        let answers = self.answers.swap(0, Ordering::Relaxed) as f64;
        let mean = self.took_us.swap(0, Ordering::Relaxed) as f64 / answers.max(1.0);
        let fastest = self.fastest_us.swap(u64::MAX, Ordering::Relaxed) as f64;
        judged.fastest = (judged.fastest * FASTEST_DECAY).min(fastest);

        let limit = self.limit();
        let urgent = micros(elapsed) < self.urgent_until_us.load(Ordering::Relaxed);
        judged.settle(urgent);
        // Where much less is in flight than the limit allows, a lower limit would change nothing.
        let crowded = urgent && in_flight >= limit / 2 && mean > judged.fastest + micros(DELAY_MAX) as f64;
        let round = (mean / micros(STEP) as f64).ceil().max(1.0) as u32;
        let aim = (judged.fastest + micros(DELAY_MAX) as f64) / mean;
        let lower_limit = (limit.min(in_flight) as f64 * aim.clamp(STEP_RATIO_MIN, 0.5)) as usize;
        let lower = crowded.then_some(LowerLimit { limit: lower_limit.max(LIMIT_MIN), round });
        let next = judged.next_limit(limit, lower, answers / step.as_secs_f64());
        let next = next.min(self.limit_max);
        self.limit.store(next, Ordering::Relaxed);
        next > limit
    }
}

impl Judged {
    fn new(at: Instant) -> Self {
        let (fastest, rate, cooldown) = (f64::INFINITY, 0.0, COOLDOWN[0]);
        Self { at, fastest, rate, settled: 0, cooldown, cooldown_until: at, trial: None }
    }

    /// Urgent work changes the rate, so the rate is measured anew when it begins.
    fn settle(&mut self, urgent: bool) {
        if urgent && self.settled == 0 {
            self.rate = 0.0;
        }
        self.settled = if urgent { (self.settled + 1).min(SETTLE_STEPS) } else { 0 };
    }

    /// `rate`: answers per second in the step that has just ended; `lower`: some, if attempts wait for each other.
    fn next_limit(&mut self, limit: usize, lower: Option<LowerLimit>, rate: f64) -> usize {
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
            if self.rate < RATE_RATIO_MIN * trial.rate_before {
                self.cooldown_until = self.at + self.cooldown;
                self.cooldown = (2 * self.cooldown).min(COOLDOWN[1]);
                // A little more than before the trial, because that may have been too low already.
                return raised(trial.limit_before);
            }
            self.cooldown = COOLDOWN[0];
        }
        let Some(LowerLimit { limit: lower_limit, round }) = lower else { return raised(limit) };
        if self.settled < SETTLE_STEPS || self.at < self.cooldown_until || lower_limit >= limit {
            return limit;
        }
        let rate_before = self.rate;
        self.trial = Some(Trial { round, steps: 0, rates: 0.0, limit_before: limit, rate_before });
        lower_limit
    }
}

fn raised(limit: usize) -> usize {
    limit + (limit / 4).max(1)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT_MAX: usize = 2_000;

    /// Where the limit settles at a provider that answers at most so many a second, and none before `nearest`; and its rate.
    fn settled(urgent: bool, per_second: f64, nearest: Duration) -> (usize, f64) {
        let pace = AdaptiveLimit::new(LIMIT_MAX);
        let rate = go_on(&pace, 0..300, urgent, per_second, nearest);
        (pace.limit(), rate)
    }

    /// Some steps at such a provider. Returns its rate in the last step.
    fn go_on(
        pace: &AdaptiveLimit,
        steps: std::ops::Range<u32>,
        urgent: bool,
        per_second: f64,
        nearest: Duration,
    ) -> f64 {
        let mut rate = 0.0;
        for step in steps {
            let now = pace.began_at + STEP * (step + 1);
            if urgent {
                let until = now.saturating_duration_since(pace.began_at) + URGENT_SPAN;
                pace.urgent_until_us.store(micros(until), Ordering::Relaxed);
            }
            let in_flight = pace.limit();
            rate = per_second.min(in_flight as f64 / nearest.as_secs_f64());
            let took = Duration::from_secs_f64(in_flight as f64 / rate);
            pace.answered(now - STEP / 2, nearest, in_flight);
            for _ in 1..(rate * STEP.as_secs_f64()) as usize {
                pace.answered(now, took, in_flight);
            }
        }
        rate
    }

    #[test]
    fn without_urgent_work_a_broadcast_has_the_whole_limit() {
        assert_eq!(settled(false, 40_000.0, Duration::from_millis(1)).0, LIMIT_MAX);
    }

    #[test]
    fn beside_urgent_work_the_limit_falls_until_attempts_wait_little() {
        let (limit, rate) = settled(true, 40_000.0, Duration::from_millis(1));
        assert!((100..=400).contains(&limit), "{limit}: 6 ms are 240");
        assert!(rate > 0.75 * 40_000.0, "{rate}");
    }

    #[test]
    fn the_part_that_urgent_work_takes_is_not_blamed_on_the_lower_limit() {
        let (pace, near) = (AdaptiveLimit::new(LIMIT_MAX), Duration::from_millis(1));
        go_on(&pace, 0..10, false, 50_000.0, near);
        go_on(&pace, 10..20, true, 30_000.0, near);
        assert!(pace.limit() <= LIMIT_MAX / 4, "{}", pace.limit());
    }

    #[test]
    fn a_distant_provider_keeps_its_limit() {
        assert_eq!(settled(true, 1e9, Duration::from_millis(80)).0, LIMIT_MAX);
    }

    /// Its answers take long whatever is in flight: a lower limit would only mean fewer answers.
    #[test]
    fn a_slow_provider_keeps_most_of_its_rate() {
        let pace = AdaptiveLimit::new(LIMIT_MAX);
        let mut now = pace.began_at;
        let mut widths = 0;
        for _ in 0..300 {
            now += STEP;
            pace.urgent_until_us.store(u64::MAX, Ordering::Relaxed);
            let in_flight = pace.limit();
            // One in a hundred comes after 5 ms, all others after 50.
            let answers = in_flight * 2;
            for number in 0..answers {
                let took = if number % 100 == 0 { 5 } else { 50 };
                pace.answered(now, Duration::from_millis(took), in_flight);
            }
            widths += pace.limit();
        }
        assert!(widths / 300 >= LIMIT_MAX * 9 / 10, "{}", widths / 300);
    }
}
