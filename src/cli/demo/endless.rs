//! The demo without `--once`: after the report the service goes on, with one notification a second, until Ctrl-C.
//! Commands to try on it are printed.

use std::time::Duration;

use super::client::ApiClient;
use super::fleet::{Behaviour, Fleet};
use super::notifications;
use super::progress::Progress;
use super::system::DemoSystem;
use crate::cli::command_error::CommandError;
use crate::cli::output;

/// Between two notifications.
const INTERVAL: Duration = Duration::from_secs(1);
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
        "\nIt goes on, with a notification a second; Ctrl-C ends it. Send one yourself:\n\n  \
         URL={url} KEY={key}\n  \
         curl $URL/v1/notifications -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' \\\n    \
         -d '{{\"to\":{{\"users\":[\"{user}\"]}},\"title\":\"Hello\",\"ttl\":\"1h\"}}'\n\n\
         and see what became of it, by the id in the answer:\n\n  \
         curl $URL/v1/notifications/ntf_…/deliveries -H \"Authorization: Bearer $KEY\"\n",
        url = system.url(),
        key = system.key(),
    ))?;
    let ledger = system.simulator.ledger();
    progress.start_sending(0, ledger.clone());
    progress
        .during(async {
            for number in 0.. {
                tokio::time::sleep(INTERVAL).await;
                if let Some(post) = notifications::plain(fleet, number) {
                    client.post_one(&post).await?;
                    progress.count_request();
                }
                if number % CLEAR_EVERY == CLEAR_EVERY - 1 {
                    ledger.clear();
                }
            }
            Ok(())
        })
        .await
}
