//! Notifications to one device each with an idempotency key each, beside the same without keys.

use anyhow::Context as _;
use serde_json::json;

use super::singles::play;
use crate::load::Load;
use crate::report::{Findings, Line, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use pushpost::provider::apns;

const LEAST_RATIO: f64 = 0.95;
/// Without keys, with keys, and once more in the other order: the machine may become slower meanwhile.
const ORDER: [bool; 4] = [false, true, true, false];

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let (devices, singles) = (bench.sizes.devices, bench.sizes.singles);
    let (mut rates, mut facts) = ([0.0; 2], Vec::new());
    for is_keyed in ORDER {
        let template = Template::of(apns::PLATFORM, devices);
        let stage = Stage::set_up(bench, template, Manner::COUNTS, &[]).await?;
        let load = match is_keyed {
            true => Load::keyed(&stage, singles, "normal"),
            false => Load::new(&stage, singles, "normal"),
        };
        let manner = if is_keyed { ", with keys" } else { ", without keys" };
        let played = play(bench, &stage, &load, manner).await.context(manner)?;
        let rate = singles as f64 / played.took.as_secs_f64();
        rates[usize::from(is_keyed)] += rate / 2.0;
        let per_million = 1e6 / singles as f64;
        facts.push(json!({
            "keys": is_keyed,
            "rate": rate,
            "answered": played.answered.facts(),
            "dispatcher_cpu_s_per_million": played.cpu.dispatcher.as_secs_f64() * per_million,
            "postgres_cpu_s_per_million": played.cpu.postgres.as_secs_f64() * per_million,
        }));
        stage.strike().await?;
    }
    let [without, with] = rates;
    let measured = format!("{} (without keys {})", per_second(with), per_second(without));
    let line = Line::new("single notifications with idempotency keys", measured)
        .ratio(with / without)
        .target(format!("at least {LEAST_RATIO} of those without"), with / without >= LEAST_RATIO);
    Ok(Findings { lines: vec![line], facts: json!({ "notifications": singles, "runs": facts }) })
}
