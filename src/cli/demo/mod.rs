//! `pushpost demo`: everything on one machine, with no configuration.
//!
//! | file | what it is |
//! |---|---|
//! | `stage` | the folder, the stand-ins for the providers, the service |
//! | `crowd` | devices, and what is scripted to happen to each |
//! | `posts` | the notifications |
//! | `send` | the client: registers, notifies and asks over HTTP like any backend |
//! | `timeline` | while it sends, one thing after another goes wrong |
//! | `scenes`, `garbage` | what goes wrong, and when |
//! | `progress` | what is shown meanwhile |
//! | `check` | what the API says against what the stand-ins received |
//! | `report` | the table |
//! | `stream` | what goes on after the table |

mod check;
mod crowd;
mod garbage;
mod posts;
mod progress;
mod report;
mod scenes;
mod send;
mod stage;
mod stream;
mod timeline;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use self::crowd::Crowd;
use self::progress::Progress;
use self::send::{Backend, Ended, Posted};
use self::stage::Stage;
use self::timeline::Timeline;
use super::failure::Failure;
use super::output;
use super::signals::Signals;

/// Everything that the demo keeps.
const FOLDER: &str = "./pushpost-demo";
/// By then every outcome must be on record: the slowest device needs some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

const INTRODUCTION: &str = "\
Pushpost sends push notifications. A backend posts one over HTTP; Pushpost stores it in Postgres before it answers,
sends it to iPhones through APNs and to Androids through FCM, tries again what may be tried again, sets dead tokens
aside, and can say afterwards what became of every single device. This demo runs all of it on this machine: a Postgres
of its own, stand-ins for APNs and FCM behind real TLS and HTTP/2, the API and the workers. No phone gets anything.
First come devices that each have their own fate, then a timeline of what goes wrong for everybody, then the account.
";

/// Show everything on one machine, with no configuration
///
/// Starts a Postgres of its own, stand-ins for APNs and FCM, the API and the workers; registers devices, sends, and
/// ends with a table that is checked against what the stand-ins received.
#[derive(Args, Debug)]
pub(super) struct Demo {
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

impl Demo {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut signals = Signals::catch()?;
        output::line(INTRODUCTION)?;
        let progress = Progress::start();
        let (stage, mut running) = Stage::set_up(Path::new(FOLDER), &progress).await?;
        let played = tokio::select! {
            played = self.play(&stage, &progress) => played,
            died = running.died() => Err(died),
            () = signals.next() => Err(Failure::failed("interrupted")),
        };
        let played = match played {
            Ok(crowd) if !self.once => tokio::select! {
                streamed = stream::run(&stage, &crowd, &progress) => streamed,
                died = running.died() => Err(died),
                () = signals.next() => Ok(()),
            },
            played => played.map(drop),
        };
        progress.clear();
        let ended = running.end(&mut signals).await;
        let left = stage.leave().await;
        played.and(Ok(ended.and(left)?))
    }

    /// The whole story, up to the table.
    async fn play(&self, stage: &Stage, progress: &Progress) -> Result<Crowd, Failure> {
        let backend = Backend::new(stage.url(), stage.key())?;
        let mut crowd = Crowd::of(self.devices);
        crowd.rules().into_iter().for_each(|rule| stage.simulator.add_rule(rule));
        progress.registering(crowd.devices.len());
        progress.during(backend.register(&mut crowd, progress)).await?;
        progress.tell(&format!("{} registered by PUT /v1/devices", crowd.summary()))?;

        let posts = posts::compose(&crowd, self.notifications);
        progress.sending(posts.len(), stage.simulator.ledger());
        let (posted, calm, ended) = progress
            .during(async {
                let mut posted = backend.post(&posts, progress).await?;
                let targets: u64 = posted.iter().map(|posted| posted.targets).sum();
                progress.tell(&format!(
                    "{} notifications, for {} devices in all, accepted by POST /v1/notifications: each 202 is in Postgres",
                    report::grouped(posted.len() as u64),
                    report::grouped(targets),
                ))?;
                let calm: HashSet<String> = posted.iter().map(|posted| posted.id.clone()).collect();
                let mut ended = Vec::new();
                outcomes(&backend, &posted, &mut ended, progress).await?;
                progress.tell(&check::deaths(&stage.simulator.ledger().entries()))?;
                progress.tell("every outcome is on record; now things go wrong while more is sent:")?;
                let timeline = Timeline { stage, backend: &backend, crowd: &crowd, progress };
                let later = timeline.play().await?;
                outcomes(&backend, &later, &mut ended, progress).await?;
                posted.extend(later);
                Ok::<_, Failure>((posted, calm, ended))
            })
            .await?;
        progress.tell("every outcome is on record")?;

        let entries = stage.simulator.ledger().entries();
        let dead = check::tokens_to_be_aside(&crowd, &entries);
        let aside = backend.quarantined(&crowd, dead.len()).await?;
        let findings = check::compare(&check::Evidence {
            crowd: &crowd,
            posted: &posted,
            ended: &ended,
            calm: &calm,
            entries: &entries,
            duplicates: &stage.simulator.ledger().duplicates(),
            dead: &dead,
            aside: &aside,
        });
        progress.clear();
        output::line(&report::table(&findings))?;
        match findings.differences.len() {
            0 => Ok(crowd),
            _ => Err(Failure::failed("what Pushpost recorded is not what the stand-ins received")),
        }
    }
}

/// Adds what became of these to `ended`.
async fn outcomes(
    backend: &Backend,
    posted: &[Posted],
    ended: &mut Vec<Ended>,
    progress: &Progress,
) -> Result<(), Failure> {
    if let Ok(done) = tokio::time::timeout(PATIENCE, backend.outcomes(posted, ended, progress)).await {
        return Ok(done?);
    }
    let missing = posted.iter().filter(|posted| !ended.iter().any(|ended| ended.id == posted.id));
    let ids: Vec<&str> = missing.map(|posted| posted.id.as_str()).collect();
    Err(Failure::failed(format_args!(
        "after {} s {} notifications are still not done, among them {}",
        PATIENCE.as_secs(),
        ids.len(),
        ids[..ids.len().min(5)].join(", ")
    )))
}
