//! `pushpost demo`: the service, its own Postgres and stand-ins for the providers in one process, without
//! configuration. It sends notifications, makes things fail, and checks every outcome against what the stand-ins
//! received.
//!
//! | file | what it is |
//! |---|---|
//! | `system` | the folder, the stand-ins for the providers, the service and its log file |
//! | `fleet` | the devices, and how the stand-ins answer for each |
//! | `notifications` | the bodies that are posted |
//! | `client` | a client of the API: registers devices, sends, reads outcomes |
//! | `timeline` | the second half: a steady stream, during which the scenarios run |
//! | `scenarios`, `invalid_requests` | what the scenarios make fail, and when |
//! | `turns` | lets a scenario begin when the one before it is over and the lanes send |
//! | `progress` | what is shown meanwhile |
//! | `check` | compares the API's report with the stand-ins' ledger |
//! | `report` | the report at the end |
//! | `endless` | goes on after the report, without `--once`: notifications, dead tokens, a throttle or a suspension now and then |

mod check;
mod client;
mod endless;
mod fleet;
mod invalid_requests;
mod notifications;
mod progress;
mod report;
mod scenarios;
mod system;
mod timeline;
mod turns;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use self::client::{ApiClient, FinishedNotification, SentNotification};
use self::fleet::Fleet;
use self::progress::Progress;
use self::system::{DemoSystem, LOG_FILE, see_log};
use self::timeline::Timeline;
use self::turns::Turns;
use super::command_error::CommandError;
use super::output::{self, grouped};
use super::signals::StopSignals;

pub(super) use system::open_log;

/// The stand-ins' files and the database.
const FOLDER: &str = "./pushpost-demo";
/// All outcomes must be recorded after this time. The slowest device needs some seconds, on a slow machine a minute or two.
const OUTCOMES_TIMEOUT: Duration = Duration::from_secs(300);

const INTRODUCTION: &str = "\
Pushpost sends push notifications. A backend posts one over HTTP; Pushpost stores it in Postgres before it answers,
sends it to iPhones through APNs and to Androids through FCM, tries again what may be tried again, sets dead tokens
aside, and can say afterwards what became of every single device. This demo runs all of it on this machine: a Postgres
of its own, stand-ins for APNs and FCM behind real TLS and HTTP/2, the API and the workers. No phone gets anything.
First the providers answer for each device in its own way, then come faults that concern all devices, then a report.
";

/// Show everything on one machine, with no configuration
///
/// Starts a Postgres of its own, stand-ins for APNs and FCM, the API and the workers; registers devices, sends, and
/// ends with a table that is checked against what the stand-ins received.
#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// Devices to register
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    devices: u32,
    /// Notifications to send
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    notifications: u32,
    /// End when all is sent: 0 only if every device's outcome is what the stand-ins' ledger says
    #[arg(long)]
    once: bool,
}

impl DemoArgs {
    /// # Errors
    /// A part did not start, a request failed, or an outcome is not what the stand-ins received.
    pub(super) async fn run(self) -> Result<(), CommandError> {
        output::line(INTRODUCTION)?;
        let progress = Progress::start();
        let ended = self.run_all(&progress).await;
        progress.clear();
        output::line(&format!("The service's log: {LOG_FILE}"))?;
        ended
    }

    async fn run_all(&self, progress: &Progress) -> Result<(), CommandError> {
        let mut signals = StopSignals::catch()?;
        let (system, mut running) = DemoSystem::start(Path::new(FOLDER), progress).await?;
        if !self.once {
            output::line(&format!(
                "\nWatch it in the dashboard: {url}/dashboard\n  log in with the key {key}\n",
                url = system.url(),
                key = system.key(),
            ))?;
        }
        let reported = tokio::select! {
            reported = self.send_and_check(&system, progress) => reported,
            failed = running.failed() => Err(failed),
            () = signals.next() => Err(CommandError::failed("interrupted")),
        };
        let result = match reported {
            Ok(fleet) if !self.once => tokio::select! {
                ended = endless::run(&system, &fleet, progress) => ended,
                failed = running.failed() => Err(failed),
                () = signals.next() => Ok(()),
            },
            reported => reported.map(drop),
        };
        progress.clear();
        let ended = running.end(&mut signals).await;
        let stopped = system.stop().await;
        result.and(Ok(ended.and(stopped)?))
    }

    /// Everything up to the report.
    async fn send_and_check(&self, system: &DemoSystem, progress: &Progress) -> Result<Fleet, CommandError> {
        let client = ApiClient::new(system.url(), system.key())?;
        let mut fleet = Fleet::new(self.devices);
        fleet.rules().into_iter().for_each(|rule| system.simulator.add_rule(rule));
        progress.start_registering(fleet.devices.len());
        progress.during(client.register(&mut fleet, progress)).await?;
        progress.tell(&fleet.summary())?;

        let bodies = notifications::compose(&fleet, self.notifications);
        let ledger = system.simulator.ledger();
        progress.start_sending(bodies.len(), ledger.clone());
        let mut finished = Vec::new();
        let (sent, undisturbed) = progress
            .during(async {
                let mut sent = client.post(&bodies, progress).await?;
                let targets: u64 = sent.iter().map(|sent| sent.targets).sum();
                progress.tell(&format!(
                    "accepted by POST /v1/notifications: {} notifications for {} devices, stored in Postgres before the 202",
                    grouped(sent.len() as u64),
                    grouped(targets),
                ))?;
                let undisturbed: HashSet<String> = sent.iter().map(|sent| sent.id.clone()).collect();
                wait_for_outcomes(&client, &sent, &mut finished, progress).await?;
                progress.tell(&check::dead_tokens(&ledger.entries()))?;
                progress.tell("every outcome is recorded; now come faults, while more is sent:")?;
                let turns = Turns::default();
                let timeline = Timeline { system, client: &client, fleet: &fleet, progress, turns };
                let later = timeline.run().await?;
                wait_for_outcomes(&client, &later, &mut finished, progress).await?;
                sent.extend(later);
                Ok::<_, CommandError>((sent, undisturbed))
            })
            .await?;
        progress.tell("every outcome is recorded")?;

        let entries = ledger.entries();
        let dead = check::expected_quarantine(&fleet, &entries);
        let quarantined = client.quarantined(&fleet, dead.len()).await?;
        let result = check::compare(&check::Evidence {
            fleet: &fleet,
            sent: &sent,
            finished: &finished,
            undisturbed: &undisturbed,
            entries: &entries,
            duplicates: &ledger.duplicates(),
            dead: &dead,
            quarantined: &quarantined,
        });
        progress.clear();
        output::line(&report::text(&result))?;
        match result.differences.len() {
            0 => Ok(fleet),
            _ => Err(CommandError::failed("the recorded outcomes differ from what the stand-ins received")),
        }
    }
}

/// Waits until these notifications are done, and adds them to `finished`.
async fn wait_for_outcomes(
    client: &ApiClient,
    sent: &[SentNotification],
    finished: &mut Vec<FinishedNotification>,
    progress: &Progress,
) -> Result<(), CommandError> {
    let outcomes = client.outcomes(sent, finished, progress);
    if let Ok(done) = tokio::time::timeout(OUTCOMES_TIMEOUT, outcomes).await {
        return Ok(done?);
    }
    let missing = sent.iter().filter(|sent| !finished.iter().any(|finished| finished.id == sent.id));
    let ids: Vec<&str> = missing.map(|sent| sent.id.as_str()).collect();
    let held = match ids.first() {
        Some(id) => client.held(id).await?,
        None => Value::Null,
    };
    Err(see_log(CommandError::failed(format_args!(
        "{} notifications are not done after {} s, among them {}; the first is held: {held}",
        ids.len(),
        OUTCOMES_TIMEOUT.as_secs(),
        ids[..ids.len().min(5)].join(", ")
    ))))
}
