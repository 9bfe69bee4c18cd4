//! The delay before an attempt is repeated: a minimum plus full jitter (docs/queue.md#retry-delay).

use std::time::Duration;

/// Delay = minimum + U(0, min(max, initial · 2^k)), where U is uniform and k is the number of failed attempts minus 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// The minimum delay after a 5xx, and the first jitter range.
    pub initial: Duration,
    /// The minimum delay after a 429 without `Retry-After`.
    pub throttled: Duration,
    /// The largest jitter range.
    pub max: Duration,
}

impl RetryPolicy {
    /// The delay after attempt number `attempt` (1 is the first); `draw` is a random number from 0 to 1.
    pub fn delay(&self, attempt: u16, floor: Duration, draw: f64) -> Duration {
        let doubled = self.initial.saturating_mul(2u32.saturating_pow(u32::from(attempt.saturating_sub(1))));
        floor + doubled.min(self.max).mul_f64(draw.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_is_never_below_its_floor_nor_above_floor_plus_max(
            attempt in 1u16.., floor in 0u64..4_000, draw in 0.0f64..1.0,
        ) {
            let policy = RetryPolicy {
                initial: Duration::from_secs(10), throttled: Duration::from_secs(60), max: Duration::from_secs(900),
            };
            let floor = Duration::from_secs(floor);
            let delay = policy.delay(attempt, floor, draw);
            prop_assert!(delay >= floor);
            prop_assert!(delay <= floor + policy.max);
        }
    }

    #[test]
    fn the_jitter_range_doubles_until_its_maximum() {
        let policy = RetryPolicy {
            initial: Duration::from_secs(10),
            throttled: Duration::from_secs(60),
            max: Duration::from_secs(60),
        };
        let widest = |attempt| policy.delay(attempt, Duration::ZERO, 1.0).as_secs();
        assert_eq!([widest(1), widest(2), widest(3), widest(4), widest(60_000)], [10, 20, 40, 60, 60]);
    }
}
