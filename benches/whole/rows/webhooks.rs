//! What webhooks do to sending: singles, a broadcast, and `high` notifications beside a broadcast, with ten webhooks of which
//! eight hang or refuse, beside the same without webhooks. The event log is on in both.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::broadcast::Broadcast;
use super::high;
use super::median;
use super::singles::{self, play};
use crate::latency::millis;
use crate::load::Load;
use crate::receivers::{Mix, Receivers};
use crate::report::{Findings, Line, grouped, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use pushpost::provider::apns;

const WEBHOOKS: Mix = Mix { good: 2, tar_pits: 4, refusing: 4 };
/// Of the rate without webhooks.
const LEAST_RATE: f64 = 0.97;
/// Of the p99 without webhooks.
const MOST_P99: f64 = 1.1;

/// One run, with webhooks or without.
struct Run {
    singles: singles::Played,
    broadcast: Broadcast,
    high: high::Played,
    /// Messages that the good receivers have taken.
    messages: u64,
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for pair in 0..bench.sizes.pairs {
        // The second of a pair goes first in the next one: the machine may become slower meanwhile.
        for has_webhooks in [pair % 2 == 1, pair % 2 == 0] {
            let run = play_one(bench, has_webhooks).await?;
            if has_webhooks { with.push(run) } else { without.push(run) }
        }
    }
    let (singles, devices) = (bench.sizes.singles, bench.sizes.devices);
    let rate = |name: String, of: &dyn Fn(&Run) -> f64| {
        let (plain, beside) = (median(without.iter().map(of)), median(with.iter().map(of)));
        let measured = format!("{} (without {})", per_second(beside), per_second(plain));
        let ratio = beside / plain;
        Line::new(name, measured)
            .ratio(ratio)
            .target(format!("at least {LEAST_RATE} of that without"), ratio >= LEAST_RATE)
    };
    let p99 = |runs: &[Run]| median(runs.iter().map(|run| run.high.arrived.at(0.99).as_secs_f64()));
    let (plain, beside) = (p99(&without), p99(&with));
    let refused: usize = with.iter().map(|run| run.high.refused).sum();
    let ratio = beside / plain;
    let [plain, beside] = [plain, beside].map(|seconds| millis(Duration::from_secs_f64(seconds)));
    let lines = vec![
        rate("webhooks: single notifications".to_owned(), &|run| run.singles_rate(singles)),
        rate(format!("webhooks: broadcast to {}", grouped(devices)), &|run| run.broadcast.rate()),
        Line::new(
            "webhooks: high beside a broadcast, p99",
            format!("{beside} (without {plain}; {refused} refused)"),
        )
        .ratio(ratio)
        .target(format!("at most {MOST_P99} of that without"), refused == 0 && ratio <= MOST_P99),
    ];
    let facts = |runs: &[Run]| runs.iter().map(|run| run.facts(singles)).collect::<Vec<_>>();
    Ok(Findings { lines, facts: json!({ "without": facts(&without), "with": facts(&with) }) })
}

/// Singles, then a broadcast, on a database and a service of their own; then `high` notifications on others.
async fn play_one(bench: &Bench, has_webhooks: bool) -> anyhow::Result<Run> {
    let receivers = Receivers::start().await?;
    let folder = bench.folder.join("simulator");
    std::fs::create_dir_all(&folder)?;
    let (tables, manner) = match has_webhooks {
        true => (receivers.tables(&folder, WEBHOOKS)?, ", with webhooks"),
        false => (String::new(), ""),
    };
    let template = Template::of(apns::PLATFORM, bench.sizes.devices);
    let stage = Stage::set_up_with(bench, template, Manner::COUNTS, &[], &tables).await?;
    let load = Load::new(&stage, bench.sizes.singles, "normal");
    let singles = play(bench, &stage, &load, manner).await?;
    bench.progress.begin(&format!("a broadcast{manner}"));
    let broadcast = Broadcast::run(&stage, bench.sizes.devices).await?;
    stage.strike().await?;
    let high = high::play(bench, &tables, manner).await?;
    let messages = receivers.messages();
    ensure!(has_webhooks == (messages > 0), "the good receivers took {messages} messages");
    Ok(Run { singles, broadcast, high, messages })
}

impl Run {
    fn singles_rate(&self, singles: u64) -> f64 {
        singles as f64 / self.singles.took.as_secs_f64()
    }

    fn facts(&self, singles: u64) -> Value {
        json!({
            "singles_rate": self.singles_rate(singles),
            "broadcast": self.broadcast.facts(),
            "high_post_to_arrival": self.high.arrived.facts(),
            "high_post_to_202": self.high.answered.facts(),
            "high_refused": self.high.refused,
            "messages_to_good_receivers": self.messages,
        })
    }
}
