//! A condition over twenty topics: from its POST to the first arrival at the provider.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock;
use crate::latency::{Latencies, millis};
use crate::notification;
use crate::report::{Findings, Line, grouped};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use crate::wait::{SHORT, until};
use pushpost::provider::apns;

const MOST: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);
/// How often each condition is sent. The first time counts too: a service that has sent nothing to topics yet has no plans.
const TIMES: usize = 3;
/// Each device has each of twenty topics by a chance of one in ten, and only the last device has all of them.
const SUBSCRIBE: [&str; 2] = [
    "insert into topics (app_id, name) select app_id, 't' || k from apps, generate_series(1, 20) k where name = 'shop';
     update apps set topic_count = 20 where name = 'shop';
     insert into subscriptions (topic_id, device_id)
     select topic_id, device_id from devices, topics
     where hashint8(device_id * 32 + topic_id) % 10 = 0 or device_id = (select max(device_id) from devices)
     order by device_id",
    "vacuum (freeze, analyze) subscriptions",
];

/// What the conditions are called, and what they ask for.
fn conditions() -> [(&'static str, String); 4] {
    let join = |with: &str| (1..=20).map(|k| format!("t{k}")).collect::<Vec<_>>().join(with);
    [
        ("any of them", join(" || ")),
        ("one without the others", join(" && !")),
        ("none of them", format!("!({})", join(" || "))),
        ("all of them", join(" && ")),
    ]
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let devices = bench.sizes.devices;
    let stage = Stage::set_up(bench, Template::of(apns::PLATFORM, devices), Manner::ARRIVALS, &[]).await?;
    bench.progress.begin("subscribing devices to twenty topics");
    stage.execute(&SUBSCRIBE).await?;
    let (mut lines, mut facts) = (Vec::new(), Vec::new());
    for (name, condition) in conditions() {
        bench.progress.begin(&format!("a condition over twenty topics: {name}"));
        let mut took = Vec::new();
        for _ in 0..TIMES {
            took.push(first_arrival(&stage, &condition).await?);
        }
        let took: Latencies = took.into_iter().collect();
        let row =
            format!("first arrival of a condition over 20 topics of {} devices, {name}", grouped(devices));
        let measured = format!("{} (the fastest {}, of {TIMES})", millis(took.worst()), millis(took.at(0.0)));
        lines.push(Line::new(row, measured).target(format!("under {}", millis(MOST)), took.worst() < MOST));
        facts.push(json!({ "condition": name, "post_to_first_arrival": took.facts() }));
    }
    stage.strike().await?;
    Ok(Findings { lines, facts: Value::Array(facts) })
}

/// Sends to the condition, and stops the rest once the first has arrived.
async fn first_arrival(stage: &Stage<'_>, condition: &str) -> anyhow::Result<Duration> {
    stage.simulator.forget().await?;
    let request = notification::to(json!({ "condition": condition }));
    let sent_us = clock::now_us();
    let id = stage.service.post(&request).await?;
    let arrived_us = until(SHORT, LOOK, "the first arrival", async || {
        Ok(stage.simulator.arrivals().await?.get(&id).copied())
    })
    .await?;
    stage.service.cancel(&id).await?;
    Ok(Duration::from_micros(u64::try_from(arrived_us - sent_us).unwrap_or_default()))
}
