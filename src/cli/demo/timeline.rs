//! The second half of the demo: a steady stream of notifications, during which one scenario after another makes
//! something fail. Each scenario ends when its own notification has reached every device.

use std::convert::Infallible;
use std::future::pending;
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
use super::system::{DemoSystem, see_log};
use super::turns::Turns;
use crate::cli::command_error::CommandError;
use pushpost_simulator::{Filter, Provider};

/// Between two notifications of the steady stream.
const STREAM_INTERVAL: Duration = Duration::from_millis(100);
/// Between two queries for the state of a notification.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Devices of each provider that a scenario's own notification goes to.
const OBSERVERS_MAX: usize = 30;
/// A step of a scenario that takes longer fails the demo. The longest one takes about 15 s. A lane probes a provider once a
/// minute or more often, so the slowest machine needs no more than this.
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(300);
/// Rules with a number of uses are left for this long. They are used up within about a second.
const USED_UP_MAX: Duration = Duration::from_secs(10);
/// How often Postgres's connections are cut, and how long after each other.
const CUTS: u32 = 3;
const CUT_INTERVAL: Duration = Duration::from_millis(700);

/// What the scenarios need.
pub(super) struct Timeline<'a> {
    pub(super) system: &'a DemoSystem,
    pub(super) client: &'a ApiClient,
    pub(super) fleet: &'a Fleet,
    pub(super) progress: &'a Progress,
    pub(super) turns: Turns,
}

impl Timeline<'_> {
    /// Runs all scenarios, and returns the notifications that were sent meanwhile. A scenario for which the fleet has
    /// no device is left out.
    ///
    /// # Errors
    /// A request failed, or a scenario took too long.
    pub(super) async fn run(&self) -> Result<Vec<SentNotification>, CommandError> {
        let started = Instant::now();
        let mut sent = Vec::new();
        let mut scenarios = scenarios::all();
        scenarios.retain(|scenario| !self.observers(scenario).is_empty());
        let all = try_join_all(scenarios.iter().map(|scenario| self.run_scenario(scenario, started)));
        let observed = tokio::select! {
            ended = all => ended?,
            error = self.stream(&mut sent) => return Err(error.into()),
        };
        sent.extend(observed);
        Ok(sent)
    }

    /// Sends notifications until dropped, or until a request fails.
    async fn stream(&self, sent: &mut Vec<SentNotification>) -> anyhow::Error {
        for number in 0.. {
            sleep(STREAM_INTERVAL).await;
            let Some(body) = notifications::plain(self.fleet, number) else { continue };
            match self.client.post_one(&body).await {
                Ok(one) => sent.push(one),
                Err(error) => return error,
            }
            self.progress.count_request();
        }
        unreachable!("numbers have no end")
    }

    /// Runs one scenario when its turn has come, and returns its own notification.
    async fn run_scenario(
        &self,
        scenario: &Scenario,
        started: Instant,
    ) -> Result<SentNotification, CommandError> {
        sleep_until(started + Duration::from_secs(scenario.at)).await;
        let _turn = self.turns.begin(self.client, scenario.observed_at).await?;
        let mut line = self.progress.start_scenario(scenario.name, scenario.what)?;
        let start = Instant::now();
        let simulator = &self.system.simulator;
        // The number of the last entry, because the ledger is not cleared before the demo's report.
        let before = simulator.ledger().received_count();
        scenario.rules().into_iter().for_each(|rule| simulator.add_rule(rule));
        let observed = self.client.post_one(&notification(scenario, &self.observers(scenario))).await?;
        match scenario.disturbance {
            Disturbance::Rules(_) => {}
            Disturbance::Postgres => {
                let cut = self.system.cut_postgres(CUTS, CUT_INTERVAL).await?;
                line.step(&format!("{cut} connections were cut"))?;
            }
            Disturbance::InvalidRequests => {
                line.step(&invalid_requests::post(self.client, self.system.url()).await?)?;
            }
            Disturbance::Credential(_) => {
                let is_suspended = async || {
                    let suspended = self.client.is_held(&observed, "suspended").await?;
                    Ok(suspended.then_some(()))
                };
                self.until(scenario, &observed, "its lane is not suspended", is_suspended).await?;
                line.step("the lane is suspended: its jobs wait, none fails, and no token is pruned")?;
            }
        }
        let finished = match scenario.repaired {
            Some((after, how)) => {
                self.until_met(scenario, &observed, before).await?;
                sleep(after).await;
                simulator.remove_rules(scenario.name);
                if let Disturbance::Credential(_) = scenario.disturbance {
                    self.client.resume("fcm").await?;
                }
                line.step(how)?;
                self.until_done(scenario, &observed).await?
            }
            None => tokio::select! {
                finished = self.until_done(scenario, &observed) => finished?,
                never = self.withdraw_unused(scenario) => match never {},
            },
        };
        simulator.remove_rules(scenario.name);
        let seconds = start.elapsed().as_secs_f64();
        line.finish(&format!("over after {seconds:.1} s: {}", self.summary(&finished)))?;
        Ok(observed)
    }

    /// The devices that the scenario's own notification goes to; none in a fleet without such devices.
    fn observers(&self, scenario: &Scenario) -> Vec<&str> {
        let of = |provider: Provider| {
            let fits = move |device: &&DemoDevice| {
                device.provider == provider && device.behaviour == Behaviour::Fine
            };
            self.fleet.devices.iter().filter(fits).take(OBSERVERS_MAX)
        };
        scenario.observed_at.iter().flat_map(|provider| of(*provider)).map(|device| &*device.id).collect()
    }

    /// Removes what is left of rules that are not used up in time. If they stopped the lane, its probes would meet them
    /// one by one, with growing pauses.
    async fn withdraw_unused(&self, scenario: &Scenario) -> Infallible {
        sleep(USED_UP_MAX).await;
        self.system.simulator.remove_rules(scenario.name);
        pending().await
    }

    /// Waits until a request after the entry `before` has met one of the scenario's rules.
    async fn until_met(
        &self,
        scenario: &Scenario,
        observed: &SentNotification,
        before: u64,
    ) -> Result<(), CommandError> {
        let since = Filter { since: before, ..Filter::default() };
        let is_met = async || {
            let entries = self.system.simulator.ledger().find(&since);
            let met = entries.iter().any(|entry| entry.rule.as_deref() == Some(scenario.name));
            Ok(met.then_some(()))
        };
        self.until(scenario, observed, "no request has met the fault", is_met).await
    }

    async fn until_done(
        &self,
        scenario: &Scenario,
        observed: &SentNotification,
    ) -> Result<FinishedNotification, CommandError> {
        self.until(scenario, observed, "not done", async || self.client.outcome(observed).await).await
    }

    /// Asks again and again until there is an answer. `otherwise` says in the error what has not happened in time.
    async fn until<T>(
        &self,
        scenario: &Scenario,
        observed: &SentNotification,
        otherwise: &str,
        ask: impl AsyncFn() -> anyhow::Result<Option<T>>,
    ) -> Result<T, CommandError> {
        let answered = async {
            loop {
                if let Some(answer) = ask().await? {
                    return anyhow::Ok(answer);
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        if let Ok(answer) = timeout(SCENARIO_TIMEOUT, answered).await {
            return Ok(answer?);
        }
        let held = self.client.held(&observed.id).await?;
        Err(see_log(CommandError::failed(format_args!(
            "{}: notification {} after {} s: {otherwise}; held: {held}",
            scenario.name,
            observed.id,
            SCENARIO_TIMEOUT.as_secs()
        ))))
    }

    /// How the scenario's own notification ended, in words.
    fn summary(&self, finished: &FinishedNotification) -> String {
        let count =
            |is: &dyn Fn(&ReportedDelivery) -> bool| finished.deliveries.iter().filter(|it| is(it)).count();
        let entries = self.system.simulator.ledger().entries();
        let arrived = entries.iter().filter(|entry| entry.notification() == Some(&*finished.id)).count();
        format!(
            "{} of {} devices accepted, {} of them retried; {arrived} requests arrived",
            count(&|delivery| delivery.status == "accepted"),
            finished.deliveries.len(),
            count(&|delivery| delivery.status == "accepted" && delivery.attempts > 1),
        )
    }
}

fn notification(scenario: &Scenario, devices: &[&str]) -> Value {
    let body = scenario.name;
    json!({"to": {"devices": devices}, "title": "Delayed", "body": body, "priority": "high", "ttl": "1h"})
}
