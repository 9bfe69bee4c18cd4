//! The order of the scenarios: those at one provider take turns, and each begins when the provider's lane sends.
//!
//! So a fault never meets a lane that an earlier fault has stopped. Such a lane would send single probes with growing
//! pauses, and what the scenario shows would depend on their times.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{sleep, timeout};

use super::client::ApiClient;
use super::system::see_log;
use crate::cli::command_error::CommandError;
use pushpost_simulator::Provider;

/// Between two queries for the state of a lane.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A lane that stops is probed once a minute or more often, so on the slowest machine it sends again within this time.
const RUNNING_TIMEOUT: Duration = Duration::from_secs(300);

/// One lock for each provider. The scenario that holds it has the turn.
#[derive(Default)]
pub(super) struct Turns {
    apns: Mutex<()>,
    fcm: Mutex<()>,
}

/// The turn of one scenario at its providers, which ends when this is dropped.
#[must_use]
pub(super) struct Turn<'a> {
    apns: Option<MutexGuard<'a, ()>>,
    fcm: Option<MutexGuard<'a, ()>>,
}

impl Turns {
    /// Waits until no other scenario is under way at these providers, and until their lanes send.
    ///
    /// # Errors
    /// A request failed, or a lane still does not send after 300 s.
    pub(super) async fn begin(
        &self,
        client: &ApiClient,
        providers: &[Provider],
    ) -> Result<Turn<'_>, CommandError> {
        let turn = self.take(providers).await;
        for provider in providers {
            until_running(client, lane(*provider)).await?;
        }
        Ok(turn)
    }

    /// APNs first in all cases, so that two scenarios never wait for each other.
    async fn take(&self, providers: &[Provider]) -> Turn<'_> {
        let mut turn = Turn { apns: None, fcm: None };
        if providers.contains(&Provider::Apns) {
            turn.apns = Some(self.apns.lock().await);
        }
        if providers.contains(&Provider::Fcm) {
            turn.fcm = Some(self.fcm.lock().await);
        }
        turn
    }
}

/// The name of the provider's lane in the API.
fn lane(provider: Provider) -> &'static str {
    match provider {
        Provider::Apns => "apns-production",
        _ => "fcm",
    }
}

async fn until_running(client: &ApiClient, lane: &str) -> Result<(), CommandError> {
    let mut last = None;
    let running = async {
        loop {
            last = client.lane_state(lane).await?;
            if last.as_deref() == Some("running") {
                return anyhow::Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
    };
    match timeout(RUNNING_TIMEOUT, running).await {
        Ok(done) => Ok(done?),
        Err(_) => {
            let (state, seconds) = (last.unwrap_or_default(), RUNNING_TIMEOUT.as_secs());
            let what = format_args!("lane {lane} is {state} and does not send after {seconds} s");
            Err(see_log(CommandError::failed(what)))
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const BOTH: &[Provider] = &[Provider::Apns, Provider::Fcm];

    #[tokio::test]
    async fn scenarios_at_one_provider_take_turns_and_others_do_not_wait() {
        let turns = Turns::default();
        let at_fcm = turns.take(&[Provider::Fcm]).await;
        let at_apns = turns.take(&[Provider::Apns]).await;
        assert!(turns.take(&[Provider::Fcm]).now_or_never().is_none());
        let mut at_both = std::pin::pin!(turns.take(BOTH));
        assert!(at_both.as_mut().now_or_never().is_none());
        drop(at_apns);
        assert!(at_both.as_mut().now_or_never().is_none(), "FCM is still disturbed");
        drop(at_fcm);
        let at_both = at_both.now_or_never().expect("no other scenario is under way");
        assert!(turns.take(&[Provider::Apns]).now_or_never().is_none());
        drop(at_both);
        assert!(turns.take(BOTH).now_or_never().is_some());
    }
}
