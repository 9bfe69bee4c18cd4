//! `pushpost demo`: everything on one machine, with no configuration.
//!
//! | file | what it is |
//! |---|---|
//! | `system` | the folder, the stand-ins for the providers, the service |
//! | `fleet` | devices, and what is scripted to happen to each |
//! | `notifications` | the notifications |
//! | `client` | the client: registers, notifies and asks over HTTP like any backend |
//! | `timeline` | while it sends, one thing after another goes wrong |
//! | `scenarios`, `invalid_requests` | what goes wrong, and when |
//! | `progress` | what is shown meanwhile |
//! | `check` | what the API says against what the stand-ins received |
//! | `report` | the table |
//! | `endless` | what goes on after the table |

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

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use self::client::{ApiClient, FinishedNotification, SentNotification};
use self::fleet::Fleet;
use self::progress::Progress;
use self::system::DemoSystem;
use self::timeline::Timeline;
use super::command_error::CommandError;
use super::output;
use super::signals::StopSignals;

/// Everything that the demo keeps.
const FOLDER: &str = "./pushpost-demo";
/// By then every outcome must be on record: the slowest device needs some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

const INTRODUCTION: &str = "\
Pushpost sends push notifications. A backend posts one over HTTP; Pushpost stores it in Postgres before it answers,
sends it to iPhones through APNs and to Androids through FCM, tries again what may be tried again, sets dead tokens
aside, and can say afterwards what became of every single device. This demo runs all of it on this machine: a Postgres
of its own, stand-ins for APNs and FCM behind real TLS and HTTP/2, the API and the workers. No phone gets anything.
First come devices that each have their own behaviour, then a timeline of what goes wrong for everybody, then the account.
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
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let mut signals = StopSignals::catch()?;
        output::line(INTRODUCTION)?;
        let progress = Progress::start();
        let (system, mut running) = DemoSystem::set_up(Path::new(FOLDER), &progress).await?;
        let played = tokio::select! {
            played = self.play(&system, &progress) => played,
            died = running.died() => Err(died),
            () = signals.next() => Err(CommandError::failed("interrupted")),
        };
        let played = match played {
            Ok(fleet) if !self.once => tokio::select! {
                streamed = endless::run(&system, &fleet, &progress) => streamed,
                died = running.died() => Err(died),
                () = signals.next() => Ok(()),
            },
            played => played.map(drop),
        };
        progress.clear();
        let ended = running.end(&mut signals).await;
        let left = system.leave().await;
        played.and(Ok(ended.and(left)?))
    }

    /// The whole story, up to the table.
    async fn play(&self, system: &DemoSystem, progress: &Progress) -> Result<Fleet, CommandError> {
        let client = ApiClient::new(system.url(), system.key())?;
        let mut fleet = Fleet::of(self.devices);
        fleet.rules().into_iter().for_each(|rule| system.simulator.add_rule(rule));
        progress.registering(fleet.devices.len());
        progress.during(client.register(&mut fleet, progress)).await?;
        progress.tell(&format!("{} registered by PUT /v1/devices", fleet.summary()))?;

        let posts = notifications::compose(&fleet, self.notifications);
        progress.sending(posts.len(), system.simulator.ledger());
        let (posted, calm, ended) = progress
            .during(async {
                let mut posted = client.post(&posts, progress).await?;
                let targets: u64 = posted.iter().map(|posted| posted.targets).sum();
                progress.tell(&format!(
                    "{} notifications, for {} devices in all, accepted by POST /v1/notifications: each 202 is in Postgres",
                    report::grouped(posted.len() as u64),
                    report::grouped(targets),
                ))?;
                let calm: HashSet<String> = posted.iter().map(|posted| posted.id.clone()).collect();
                let mut ended = Vec::new();
                outcomes(&client, &posted, &mut ended, progress).await?;
                progress.tell(&check::deaths(&system.simulator.ledger().entries()))?;
                progress.tell("every outcome is on record; now things go wrong while more is sent:")?;
                let timeline = Timeline { system, client: &client, fleet: &fleet, progress };
                let later = timeline.play().await?;
                outcomes(&client, &later, &mut ended, progress).await?;
                posted.extend(later);
                Ok::<_, CommandError>((posted, calm, ended))
            })
            .await?;
        progress.tell("every outcome is on record")?;

        let entries = system.simulator.ledger().entries();
        let dead = check::expected_quarantine(&fleet, &entries);
        let aside = client.quarantined(&fleet, dead.len()).await?;
        let findings = check::compare(&check::Evidence {
            fleet: &fleet,
            posted: &posted,
            ended: &ended,
            calm: &calm,
            entries: &entries,
            duplicates: &system.simulator.ledger().duplicates(),
            dead: &dead,
            aside: &aside,
        });
        progress.clear();
        output::line(&report::table(&findings))?;
        match findings.differences.len() {
            0 => Ok(fleet),
            _ => Err(CommandError::failed("what Pushpost recorded is not what the stand-ins received")),
        }
    }
}

/// Adds what became of these to `ended`.
async fn outcomes(
    client: &ApiClient,
    posted: &[SentNotification],
    ended: &mut Vec<FinishedNotification>,
    progress: &Progress,
) -> Result<(), CommandError> {
    if let Ok(done) = tokio::time::timeout(PATIENCE, client.outcomes(posted, ended, progress)).await {
        return Ok(done?);
    }
    let missing = posted.iter().filter(|posted| !ended.iter().any(|ended| ended.id == posted.id));
    let ids: Vec<&str> = missing.map(|posted| posted.id.as_str()).collect();
    Err(CommandError::failed(format_args!(
        "after {} s {} notifications are still not done, among them {}",
        PATIENCE.as_secs(),
        ids.len(),
        ids[..ids.len().min(5)].join(", ")
    )))
}
