//! The timeline: while notifications keep coming, one thing after another goes wrong, and is overcome.

use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::crowd::{Crowd, Device, Fate};
use super::garbage;
use super::posts;
use super::progress::Progress;
use super::scenes::{self, Scene, Trouble};
use super::send::{Backend, Delivery, Ended, Posted};
use super::stage::Stage;
use crate::cli::failure::Failure;
use pushpost_simulator::Provider;

/// Between two notifications of the stream that goes on all the time.
const EVERY: Duration = Duration::from_millis(100);
/// Between two looks at a notification.
const LOOK: Duration = Duration::from_millis(100);
/// Devices of each provider that show how a scene is overcome.
const WITNESSES: usize = 30;
/// Whatever goes wrong, it is overcome by then.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often Postgres's connections are cut, and in what time.
const CUTS: u32 = 3;
const BETWEEN_CUTS: Duration = Duration::from_millis(700);

/// What the scenes play on.
pub(super) struct Timeline<'a> {
    pub(super) stage: &'a Stage,
    pub(super) backend: &'a Backend,
    pub(super) crowd: &'a Crowd,
    pub(super) progress: &'a Progress,
}

impl Timeline<'_> {
    /// Plays all scenes; answers what was posted meanwhile.
    ///
    /// # Errors
    /// A request failed, or something was not overcome in time.
    pub(super) async fn play(&self) -> Result<Vec<Posted>, Failure> {
        let began = Instant::now();
        let mut posted = Vec::new();
        let mut scenes = scenes::all();
        scenes.retain(|scene| !self.witnesses(scene).is_empty());
        let all = try_join_all(scenes.iter().map(|scene| self.act(scene, began)));
        let witnesses = tokio::select! {
            played = all => played?,
            streamed = self.stream(&mut posted) => return Err(streamed.into()),
        };
        posted.extend(witnesses);
        Ok(posted)
    }

    /// Posts until dropped, or until a post fails.
    async fn stream(&self, posted: &mut Vec<Posted>) -> anyhow::Error {
        for number in 0.. {
            sleep(EVERY).await;
            let Some(post) = posts::gentle(self.crowd, number) else { continue };
            match self.backend.post_one(&post).await {
                Ok(one) => posted.push(one),
                Err(error) => return error,
            }
            self.progress.counted();
        }
        unreachable!("numbers have no end")
    }

    /// One scene; answers the notification whose devices show how it was overcome.
    async fn act(&self, scene: &Scene, began: Instant) -> Result<Posted, Failure> {
        sleep_until(began + Duration::from_secs(scene.at)).await;
        self.tell(scene, &format!("begins: {}", scene.what))?;
        let start = Instant::now();
        let simulator = &self.stage.simulator;
        scene.rules().into_iter().for_each(|rule| simulator.add_rule(rule));
        let witness = self.backend.post_one(&notice(scene, &self.witnesses(scene))).await?;
        match scene.trouble {
            Trouble::Script(_) => {}
            Trouble::Postgres => {
                let cut = self.stage.cut_postgres(CUTS, BETWEEN_CUTS).await?;
                self.tell(scene, &format!("{cut} connections were cut"))?;
            }
            Trouble::Garbage => self.tell(scene, &garbage::post(self.backend, self.stage.url()).await?)?,
            Trouble::Key(_) => self.until_suspended(scene, &witness).await?,
        }
        if let Some((after, how)) = scene.mended {
            sleep(after).await;
            simulator.remove_rules(scene.name);
            if let Trouble::Key(_) = scene.trouble {
                self.backend.resume("fcm").await?;
            }
            self.tell(scene, &format!("is mended: {how}"))?;
        }
        let ended = self.until_done(scene, &witness).await?;
        simulator.remove_rules(scene.name);
        self.tell(
            scene,
            &format!("is over after {:.1} s: {}", start.elapsed().as_secs_f64(), self.account(&ended)),
        )?;
        Ok(witness)
    }

    fn tell(&self, scene: &Scene, text: &str) -> anyhow::Result<()> {
        self.progress.tell(&format!("{:<10} {text}", scene.name))
    }

    /// The devices that show how a scene is overcome; a small crowd may have none.
    fn witnesses(&self, scene: &Scene) -> Vec<&str> {
        let of = |provider: Provider| {
            let ours = move |device: &&Device| device.provider == provider && device.fate == Fate::Fine;
            self.crowd.devices.iter().filter(ours).take(WITNESSES)
        };
        scene.who.iter().flat_map(|provider| of(*provider)).map(|device| &*device.id).collect()
    }

    async fn until_suspended(&self, scene: &Scene, witness: &Posted) -> Result<(), Failure> {
        let suspended = async {
            while !self.backend.is_held(witness, "suspended").await? {
                sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        match timeout(PATIENCE, suspended).await {
            Ok(done) => done?,
            Err(_) => {
                return Err(Failure::failed(format_args!("{}: the lane was never suspended", scene.name)));
            }
        }
        self.tell(
            scene,
            "the lane is suspended: its jobs wait as they are, nothing fails, no token is pruned",
        )?;
        Ok(())
    }

    async fn until_done(&self, scene: &Scene, witness: &Posted) -> Result<Ended, Failure> {
        let done = async {
            loop {
                if let Some(ended) = self.backend.outcome(witness).await? {
                    return anyhow::Ok(ended);
                }
                sleep(LOOK).await;
            }
        };
        match timeout(PATIENCE, done).await {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(Failure::failed(format_args!(
                "{}: not overcome after {} s; {} is not done",
                scene.name,
                PATIENCE.as_secs(),
                witness.id
            ))),
        }
    }

    /// What became of the devices that show it.
    fn account(&self, ended: &Ended) -> String {
        let count = |is: &dyn Fn(&Delivery) -> bool| ended.deliveries.iter().filter(|it| is(it)).count();
        let entries = self.stage.simulator.ledger().entries();
        let sent = entries.iter().filter(|entry| entry.notification() == Some(&*ended.id)).count();
        format!(
            "{} of {} accepted, {} of them not at the first attempt; {sent} requests arrived",
            count(&|delivery| delivery.status == "accepted"),
            ended.deliveries.len(),
            count(&|delivery| delivery.status == "accepted" && delivery.attempts > 1),
        )
    }
}

fn notice(scene: &Scene, devices: &[&str]) -> Value {
    json!({"to": {"devices": devices}, "title": "Delayed", "body": scene.name, "priority": "high", "ttl": "1h"})
}
