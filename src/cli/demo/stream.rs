//! What goes on after the table, until Ctrl-C: a gentle stream, and a service to try things on.

use std::time::Duration;

use super::crowd::{Crowd, Fate};
use super::posts;
use super::progress::Progress;
use super::send::Backend;
use super::stage::Stage;
use crate::cli::failure::Failure;
use crate::cli::output;

const EVERY: Duration = Duration::from_secs(1);
/// The ledger keeps every request: it begins anew after so many.
const LEDGER: usize = 10_000;

/// Runs until dropped.
///
/// # Errors
/// A notification was not accepted.
pub(super) async fn run(stage: &Stage, crowd: &Crowd, progress: &Progress) -> Result<(), Failure> {
    let backend = Backend::new(stage.url(), stage.key())?;
    let fine = crowd.devices.iter().find(|device| device.fate == Fate::Fine);
    let user = fine.map_or(0, |device| device.user);
    let user = &crowd.users[user].id;
    output::line(&format!(
        "\nIt goes on, with a notification a second; Ctrl-C ends it. Send one yourself:\n\n  \
         URL={url} KEY={key}\n  \
         curl $URL/v1/notifications -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' \\\n    \
         -d '{{\"to\":{{\"users\":[\"{user}\"]}},\"title\":\"Hello\",\"ttl\":\"1h\"}}'\n\n\
         and see what became of it, by the id in the answer:\n\n  \
         curl $URL/v1/notifications/ntf_…/deliveries -H \"Authorization: Bearer $KEY\"\n",
        url = stage.url(),
        key = stage.key(),
    ))?;
    let ledger = stage.simulator.ledger();
    progress.sending(0, ledger.clone());
    progress
        .during(async {
            for number in 0.. {
                tokio::time::sleep(EVERY).await;
                if let Some(post) = posts::gentle(crowd, number) {
                    backend.post_one(&post).await?;
                    progress.counted();
                }
                if number % LEDGER == LEDGER - 1 {
                    ledger.clear();
                }
            }
            Ok(())
        })
        .await
}
