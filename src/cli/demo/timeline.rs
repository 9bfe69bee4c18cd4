//! The timeline: while notifications keep coming, one thing after another goes wrong, and is overcome.

use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::{ApiClient, FinishedNotification, ReportedDelivery, SentNotification};
use super::fleet::{Behaviour, DemoDevice, Fleet};
use super::invalid_requests;
use super::notifications;
use super::progress::Progress;
use super::scenarios::{self, Disturbance, Scenario};
use super::system::DemoSystem;
use crate::cli::command_error::CommandError;
use pushpost_simulator::Provider;

/// Between two notifications of the stream that goes on all the time.
const EVERY: Duration = Duration::from_millis(100);
/// Between two looks at a notification.
const LOOK: Duration = Duration::from_millis(100);
/// Devices of each provider that show how a scenario is overcome.
const OBSERVERS_MAX: usize = 30;
/// Whatever goes wrong, it is overcome by then.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often Postgres's connections are cut, and in what time.
const CUTS: u32 = 3;
const BETWEEN_CUTS: Duration = Duration::from_millis(700);

/// What the scenarios play on.
pub(super) struct Timeline<'a> {
    pub(super) system: &'a DemoSystem,
    pub(super) client: &'a ApiClient,
    pub(super) fleet: &'a Fleet,
    pub(super) progress: &'a Progress,
}

impl Timeline<'_> {
    /// Plays all scenarios; answers what was posted meanwhile.
    ///
    /// # Errors
    /// A request failed, or something was not overcome in time.
    pub(super) async fn play(&self) -> Result<Vec<SentNotification>, CommandError> {
        let began = Instant::now();
        let mut posted = Vec::new();
        let mut scenarios = scenarios::all();
        scenarios.retain(|scenario| !self.observers(scenario).is_empty());
        let all = try_join_all(scenarios.iter().map(|scenario| self.act(scenario, began)));
        let observers = tokio::select! {
            played = all => played?,
            streamed = self.stream(&mut posted) => return Err(streamed.into()),
        };
        posted.extend(observers);
        Ok(posted)
    }

    /// Posts until dropped, or until a post fails.
    async fn stream(&self, posted: &mut Vec<SentNotification>) -> anyhow::Error {
        for number in 0.. {
            sleep(EVERY).await;
            let Some(post) = notifications::gentle(self.fleet, number) else { continue };
            match self.client.post_one(&post).await {
                Ok(one) => posted.push(one),
                Err(error) => return error,
            }
            self.progress.counted();
        }
        unreachable!("numbers have no end")
    }

    /// One scenario; answers the notification whose devices show how it was overcome.
    async fn act(&self, scenario: &Scenario, began: Instant) -> Result<SentNotification, CommandError> {
        sleep_until(began + Duration::from_secs(scenario.at)).await;
        self.tell(scenario, &format!("begins: {}", scenario.what))?;
        let start = Instant::now();
        let simulator = &self.system.simulator;
        scenario.rules().into_iter().for_each(|rule| simulator.add_rule(rule));
        let observed = self.client.post_one(&notice(scenario, &self.observers(scenario))).await?;
        match scenario.disturbance {
            Disturbance::Script(_) => {}
            Disturbance::Postgres => {
                let cut = self.system.cut_postgres(CUTS, BETWEEN_CUTS).await?;
                self.tell(scenario, &format!("{cut} connections were cut"))?;
            }
            Disturbance::InvalidRequests => {
                self.tell(scenario, &invalid_requests::post(self.client, self.system.url()).await?)?
            }
            Disturbance::Key(_) => self.until_suspended(scenario, &observed).await?,
        }
        if let Some((after, how)) = scenario.mended {
            sleep(after).await;
            simulator.remove_rules(scenario.name);
            if let Disturbance::Key(_) = scenario.disturbance {
                self.client.resume("fcm").await?;
            }
            self.tell(scenario, &format!("is mended: {how}"))?;
        }
        let ended = self.until_done(scenario, &observed).await?;
        simulator.remove_rules(scenario.name);
        self.tell(
            scenario,
            &format!("is over after {:.1} s: {}", start.elapsed().as_secs_f64(), self.account(&ended)),
        )?;
        Ok(observed)
    }

    fn tell(&self, scenario: &Scenario, text: &str) -> anyhow::Result<()> {
        self.progress.tell(&format!("{:<10} {text}", scenario.name))
    }

    /// The devices that show how a scenario is overcome; a small fleet may have none.
    fn observers(&self, scenario: &Scenario) -> Vec<&str> {
        let of = |provider: Provider| {
            let ours = move |device: &&DemoDevice| {
                device.provider == provider && device.behaviour == Behaviour::Fine
            };
            self.fleet.devices.iter().filter(ours).take(OBSERVERS_MAX)
        };
        scenario.who.iter().flat_map(|provider| of(*provider)).map(|device| &*device.id).collect()
    }

    async fn until_suspended(
        &self,
        scenario: &Scenario,
        observed: &SentNotification,
    ) -> Result<(), CommandError> {
        let suspended = async {
            while !self.client.is_held(observed, "suspended").await? {
                sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        match timeout(PATIENCE, suspended).await {
            Ok(done) => done?,
            Err(_) => {
                return Err(CommandError::failed(format_args!(
                    "{}: the lane was never suspended",
                    scenario.name
                )));
            }
        }
        self.tell(
            scenario,
            "the lane is suspended: its jobs wait as they are, nothing fails, no token is pruned",
        )?;
        Ok(())
    }

    async fn until_done(
        &self,
        scenario: &Scenario,
        observed: &SentNotification,
    ) -> Result<FinishedNotification, CommandError> {
        let done = async {
            loop {
                if let Some(ended) = self.client.outcome(observed).await? {
                    return anyhow::Ok(ended);
                }
                sleep(LOOK).await;
            }
        };
        match timeout(PATIENCE, done).await {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(CommandError::failed(format_args!(
                "{}: not overcome after {} s; {} is not done",
                scenario.name,
                PATIENCE.as_secs(),
                observed.id
            ))),
        }
    }

    /// What became of the devices that show it.
    fn account(&self, ended: &FinishedNotification) -> String {
        let count =
            |is: &dyn Fn(&ReportedDelivery) -> bool| ended.deliveries.iter().filter(|it| is(it)).count();
        let entries = self.system.simulator.ledger().entries();
        let sent = entries.iter().filter(|entry| entry.notification() == Some(&*ended.id)).count();
        format!(
            "{} of {} accepted, {} of them not at the first attempt; {sent} requests arrived",
            count(&|delivery| delivery.status == "accepted"),
            ended.deliveries.len(),
            count(&|delivery| delivery.status == "accepted" && delivery.attempts > 1),
        )
    }
}

fn notice(scenario: &Scenario, devices: &[&str]) -> Value {
    json!({"to": {"devices": devices}, "title": "Delayed", "body": scenario.name, "priority": "high", "ttl": "1h"})
}
