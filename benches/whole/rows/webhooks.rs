//! What webhooks do to sending: singles, a broadcast, and `high` notifications beside a broadcast, with ten webhooks of which
//! eight hang or refuse, beside the same without webhooks. The event log is on in both.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use sqlx::Connection as _;

use super::broadcast::Broadcast;
use super::high;
use super::singles::{Played, play};
use super::turns::{Compared, broadcasts, by_turns, compare};
use crate::latency::millis;
use crate::load::Load;
use crate::receivers::{Mix, Receivers, all_read};
use crate::report::{Findings, Line, grouped, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use pushpost::provider::apns;

const WEBHOOKS: Mix = Mix { good: 2, tar_pits: 4, refusing: 4 };
const MANNERS: [&str; 2] = ["", ", with webhooks"];
/// Of the rate without webhooks.
const LEAST_RATE: f64 = 0.97;
/// Of the p99 without webhooks.
const MOST_P99: f64 = 1.1;

/// A service with webhooks or without.
struct Player<'a> {
    stage: Stage<'a>,
    load: Load,
    manner: &'static str,
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let receivers = Receivers::start().await?;
    let tables = [String::new(), receivers.tables(&bench.folder, WEBHOOKS)?];
    let mut players = Vec::new();
    for (tables, manner) in tables.iter().zip(MANNERS) {
        players.push(Player::set_up(bench, tables, manner).await?);
    }
    let turns = bench.sizes.turns;
    // The first turn fills caches and opens connections.
    by_turns(&mut players, 1, async |player| player.singles(bench).await).await?;
    let singles = by_turns(&mut players, turns, async |player| player.singles(bench).await).await?;
    let broadcasts_of =
        by_turns(&mut players, broadcasts(turns), async |player| player.broadcast(bench).await).await?;
    for player in players {
        player.stage.strike().await?;
    }
    let messages = receivers.messages();
    ensure!(messages > 0, "the good receivers took no message");
    let mut tables = tables.iter().zip(MANNERS).collect::<Vec<_>>();
    let high = by_turns(&mut tables, broadcasts(turns), async |(tables, manner)| {
        high::play(bench, tables, manner).await
    })
    .await?;

    let rate = |name: String, Compared { plain, other, ratio }: Compared| {
        Line::new(name, format!("{} (without {})", per_second(other), per_second(plain)))
            .ratio(ratio)
            .target(format!("at least {LEAST_RATE} of that without"), ratio >= LEAST_RATE)
    };
    let p99 = compare(&high[0], &high[1], |played| played.arrived.at(0.99).as_secs_f64());
    let refused: usize = high[1].iter().map(|played| played.refused).sum();
    let [plain, beside] = [p99.plain, p99.other].map(|seconds| millis(Duration::from_secs_f64(seconds)));
    let lines = vec![
        rate(
            "webhooks: single notifications".to_owned(),
            compare(&singles[0], &singles[1], |played| {
                bench.sizes.turn_singles as f64 / played.took.as_secs_f64()
            }),
        ),
        rate(
            format!("webhooks: broadcast to {}", grouped(bench.sizes.devices)),
            compare(&broadcasts_of[0], &broadcasts_of[1], Broadcast::rate),
        ),
        Line::new(
            "webhooks: high beside a broadcast, p99",
            format!("{beside} (without {plain}; {refused} refused)"),
        )
        .ratio(p99.ratio)
        .target(format!("at most {MOST_P99} of that without"), refused == 0 && p99.ratio <= MOST_P99),
    ];
    let of_player = |place: usize| {
        json!({
            "singles_seconds": singles[place].iter().map(|played| played.took.as_secs_f64()).collect::<Vec<_>>(),
            "broadcasts": broadcasts_of[place].iter().map(Broadcast::facts).collect::<Vec<_>>(),
            "high_post_to_arrival": high[place].iter().map(|played| played.arrived.facts()).collect::<Vec<_>>(),
        })
    };
    let facts =
        json!({ "without": of_player(0), "with": of_player(1), "messages_to_good_receivers": messages });
    Ok(Findings { lines, facts })
}

impl<'a> Player<'a> {
    async fn set_up(bench: &'a Bench, tables: &str, manner: &'static str) -> anyhow::Result<Self> {
        let template = Template::of(apns::PLATFORM, bench.sizes.devices);
        let stage = Stage::set_up_with(bench, template, Manner::COUNTS, &[], tables).await?;
        let load = Load::new(&stage, bench.sizes.turn_singles, "normal");
        Ok(Self { stage, load, manner })
    }

    async fn singles(&self, bench: &Bench) -> anyhow::Result<Played> {
        let played = play(bench, &self.stage, &self.load, self.manner).await?;
        self.catch_up().await?;
        Ok(played)
    }

    async fn broadcast(&self, bench: &Bench) -> anyhow::Result<Broadcast> {
        bench.progress.begin(&format!("a broadcast{}", self.manner));
        let broadcast = Broadcast::run(&self.stage, bench.sizes.devices).await?;
        self.catch_up().await?;
        Ok(broadcast)
    }

    /// Waits until the good receivers have everything, so that the next turn is the other service's alone.
    async fn catch_up(&self) -> anyhow::Result<()> {
        let mut conn = self.stage.connect().await?;
        all_read(&mut conn).await?;
        Ok(conn.close().await?)
    }
}
