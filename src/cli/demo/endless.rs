//! The demo without `--once`: after the report the service goes on until Ctrl-C, with enough going on to see in the dashboard: a
//! notification a second, dead tokens, a throttled and a suspended lane now and then. Commands to try on it are printed.

use std::time::Duration;

use tokio::time::sleep;

use super::client::ApiClient;
use super::fleet::{Behaviour, Fleet};
use super::notifications;
use super::progress::Progress;
use super::scenarios::{self, Disturbance};
use super::system::DemoSystem;
use crate::cli::command_error::CommandError;
use crate::cli::output;

/// Between two notifications.
const INTERVAL: Duration = Duration::from_secs(1);
/// One notification in this many goes to a token that turns out to be dead: few, so that the guard against mass verdicts stays
/// quiet.
const DEAD_EVERY: usize = 15;
/// Between two faults.
const QUIET: Duration = Duration::from_secs(25);
/// The ledger keeps every request, so it is cleared after this many notifications.
const CLEAR_EVERY: usize = 10_000;

/// Runs until dropped.
///
/// # Errors
/// A notification was not accepted.
pub(super) async fn run(system: &DemoSystem, fleet: &Fleet, progress: &Progress) -> Result<(), CommandError> {
    let client = ApiClient::new(system.url(), system.key())?;
    let fine = fleet.devices.iter().find(|device| device.behaviour == Behaviour::Fine);
    let user = fine.map_or(0, |device| device.user);
    let user = &fleet.users[user].id;
    output::line(&format!(
        "\nIt goes on, with a notification a second, and a fault at FCM now and then; Ctrl-C ends it. Send one yourself:\n\n  \
         URL={url} KEY={key}\n  \
         curl $URL/v1/notifications -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' \\\n    \
         -d '{{\"to\":{{\"users\":[\"{user}\"]}},\"title\":\"Hello\",\"ttl\":\"1h\"}}'\n\n\
         and see what became of it, by the id in the answer:\n\n  \
         curl $URL/v1/notifications/ntf_…/deliveries -H \"Authorization: Bearer $KEY\"\n",
        url = system.url(),
        key = system.key(),
    ))?;
    progress.start_sending(0, system.simulator.ledger());
    progress
        .during(async {
            tokio::select! {
                ended = send(system, &client, fleet, progress) => ended,
                ended = disturb(system, &client) => ended,
            }
        })
        .await
}

/// Sends until dropped.
async fn send(
    system: &DemoSystem,
    client: &ApiClient,
    fleet: &Fleet,
    progress: &Progress,
) -> Result<(), CommandError> {
    let ledger = system.simulator.ledger();
    for number in 0.. {
        sleep(INTERVAL).await;
        let dead = (number % DEAD_EVERY == 0).then(|| notifications::to_dead_token(&Fleet::dead_token()));
        for post in notifications::plain(fleet, number).into_iter().chain(dead) {
            client.post_one(&post).await?;
            progress.count_request();
        }
        if number % CLEAR_EVERY == CLEAR_EVERY - 1 {
            ledger.clear();
        }
    }
    Ok(())
}

/// Has one fault after the other at FCM, until dropped. Each is over before the next one begins.
async fn disturb(system: &DemoSystem, client: &ApiClient) -> Result<(), CommandError> {
    for fault in scenarios::recurring().iter().cycle() {
        sleep(QUIET).await;
        fault.rules().into_iter().for_each(|rule| system.simulator.add_rule(rule));
        let lasts = fault.repaired.map_or(Duration::ZERO, |(lasts, _)| lasts);
        sleep(lasts).await;
        system.simulator.remove_rules(fault.name);
        if let Disturbance::Credential(_) = fault.disturbance {
            client.resume("fcm").await?;
        }
    }
    Ok(())
}
