//! A broadcast to a topic that all devices have, beside one to `all`.

use serde_json::{Value, json};

use super::broadcast::{Broadcast, mean};
use crate::report::{Findings, Line, grouped, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use pushpost::provider::apns;

const LEAST_RATIO: f64 = 0.85;
/// To all, to the topic, and once more in the other order: the machine may become slower meanwhile.
const ORDER: [bool; 4] = [false, true, true, false];
/// All devices have one topic.
const SUBSCRIBE: [&str; 2] = [
    "insert into topics (app_id, name) select app_id, 'news' from apps where name = 'shop';
     update apps set topic_count = 1 where name = 'shop';
     insert into subscriptions (topic_id, device_id) select topic_id, device_id from topics, devices order by device_id",
    "vacuum (freeze, analyze) subscriptions",
];

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let devices = bench.sizes.devices;
    let stage = Stage::set_up(bench, Template::of(apns::PLATFORM, devices), Manner::COUNTS, &[]).await?;
    bench.progress.begin("subscribing all devices to a topic");
    stage.execute(&SUBSCRIBE).await?;
    Broadcast::warm_up(bench, &stage, devices).await?;
    let (mut to_all, mut to_topic) = (Vec::new(), Vec::new());
    for is_topic in ORDER {
        let (to, name) = match is_topic {
            true => (json!({ "topics": ["news"] }), "a topic"),
            false => (json!({ "all": true }), "all"),
        };
        bench.progress.begin(&format!("broadcast to {name}"));
        let broadcast = Broadcast::run_to(&stage, to, devices).await?;
        bench.progress.tell(&format!("broadcast to {name}: {}", per_second(broadcast.rate())));
        let same = if is_topic { &mut to_topic } else { &mut to_all };
        same.push(broadcast);
    }
    stage.strike().await?;
    let rate = |some: &[Broadcast]| mean(some.iter().map(Broadcast::rate));
    let (all, topic) = (rate(&to_all), rate(&to_topic));
    let row = format!("broadcast to a topic of {}", grouped(devices));
    let line = Line::new(row, format!("{} (to all {})", per_second(topic), per_second(all)))
        .ratio(topic / all)
        .target(format!("at least {LEAST_RATIO} of that to all"), topic / all >= LEAST_RATIO);
    let facts = |some: &[Broadcast]| some.iter().map(Broadcast::facts).collect::<Vec<Value>>();
    Ok(Findings { lines: vec![line], facts: json!({ "all": facts(&to_all), "topic": facts(&to_topic) }) })
}
