//! Faults one after the other for minutes, against real processes and servers: `make chaos`. The environment variable
//! `CHAOS_ROUNDS` says how many; the tests of `make test` have the same faults once or twice.

mod events;
mod receivers;
mod webhooks;

/// Rounds of faults without `CHAOS_ROUNDS`: about a minute.
const ROUNDS: usize = 12;

/// How many rounds of faults to make.
fn rounds() -> usize {
    std::env::var("CHAOS_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("CHAOS_ROUNDS is a number"))
}
