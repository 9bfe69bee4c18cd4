//! Notifications to one device each with an idempotency key each, beside the same without keys: once on a database without
//! earlier keys, once on one with many keys of the day before, none of which may be used again.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::median;
use super::singles::play;
use crate::load::Load;
use crate::report::{Findings, Line, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use pushpost::provider::apns;

const LEAST_RATIO: f64 = 0.95;
/// Runs of so many notifications follow each other, with and without keys by turns, on one service. A machine that is slow
/// for a second, for instance because its disk is, spoils one pair of many short runs, and not the median.
const RUNS_PER_SINGLES: u64 = 4;
/// Time in which a node reads the keys of the day before, with much to spare.
const READ: Duration = Duration::from_secs(30);
/// Makes the keys of the day before, as of a service with 12 keys a second.
const EARLIER: [&str; 3] = [
    "call create_day((now() at time zone 'UTC')::date - 1)",
    "insert into idempotency_keys (day, app_id, created_at, target_count, key_digest, request_digest, notification_id)
     select (now() at time zone 'UTC')::date - 1, 1, now() - interval '12 hours', 1, gen_random_uuid(), gen_random_uuid(),
            gen_random_uuid()
     from generate_series(1, 1000000)",
    "checkpoint",
];

/// A run without keys and one with keys, in this order or the other.
#[derive(Default)]
struct Pair {
    /// Notifications per second: without keys, with keys.
    rates: [f64; 2],
    facts: Vec<Value>,
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let name = "single notifications with idempotency keys";
    let (mut lines, mut facts) = (Vec::new(), serde_json::Map::new());
    for (name, earlier) in [(name, false), ("… after 1,000,000 keys of the day before", true)] {
        let pairs = measure_pairs(bench, earlier).await?;
        let rate = |keyed: usize| median(pairs.iter().map(|pair| pair.rates[keyed]));
        let ratio = median(pairs.iter().map(|pair| pair.rates[1] / pair.rates[0]));
        let measured = format!(
            "{} (without keys {}): medians of {} pairs",
            per_second(rate(1)),
            per_second(rate(0)),
            pairs.len()
        );
        let target = format!("at least {LEAST_RATIO} of those without");
        lines.push(Line::new(name, measured).ratio(ratio).target(target, ratio >= LEAST_RATIO));
        let key = if earlier { "after_earlier_keys" } else { "pairs" };
        facts.insert(key.to_owned(), pairs.into_iter().map(|pair| Value::from(pair.facts)).collect());
    }
    Ok(Findings { lines, facts: facts.into() })
}

/// `earlier`: the database has many keys of the day before.
async fn measure_pairs(bench: &Bench, earlier: bool) -> anyhow::Result<Vec<Pair>> {
    let template = Template::of(apns::PLATFORM, bench.sizes.devices);
    let mut stage = Stage::set_up(bench, template, Manner::COUNTS, &[]).await?;
    if earlier {
        bench.progress.begin("keys of the day before");
        stage.execute(&EARLIER).await?;
        // A node reads the day before when it starts.
        let node = stage.another_node(&[]).await?;
        std::mem::replace(&mut stage.service, node).end().await?;
        sleep(READ).await;
    }
    let loads = [Load::new, Load::keyed].map(|load| load(&stage, bench.sizes.devices, "normal"));
    let run = usize::try_from(bench.sizes.singles / RUNS_PER_SINGLES)?;
    let mut devices = (0..loads[0].len() / run).map(|number| number * run..(number + 1) * run);
    let mut pairs = Vec::new();
    for number in 0..bench.sizes.key_pairs {
        let mut pair = Pair::default();
        // The second of a pair goes first in the next one: the machine may become slower meanwhile.
        for keyed in [number % 2 == 1, number % 2 == 0] {
            let load = loads[usize::from(keyed)].part(devices.next().context("more devices for more runs")?);
            let manner = if keyed { ", with keys" } else { ", without keys" };
            let played = play(bench, &stage, &load, manner).await.context(manner)?;
            let rate = load.len() as f64 / played.took.as_secs_f64();
            let per_million = |cpu: Duration| cpu.as_secs_f64() * 1e6 / load.len() as f64;
            pair.rates[usize::from(keyed)] = rate;
            pair.facts.push(json!({
                "keys": keyed,
                "notifications": load.len(),
                "rate": rate,
                "answered": played.answered.facts(),
                "dispatcher_cpu_s_per_million": per_million(played.cpu.dispatcher),
                "postgres_cpu_s_per_million": per_million(played.cpu.postgres),
                "harness_cpu_s_per_million": per_million(played.cpu.harness),
            }));
        }
        pairs.push(pair);
    }
    stage.strike().await?;
    Ok(pairs)
}
