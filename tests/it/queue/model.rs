//! Random interleavings of everything that can happen to jobs, by three nodes over one database. After each phase,
//! whatever the recorders are just doing, every device of every notification stands in exactly one place; at the end
//! each has exactly one final outcome and no job is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pushpost::domain::{LaneId, NodeId, NotificationId, PushpostReason, Reason};
use pushpost::provider::{apns, fcm};
use pushpost::queue::recorder::{DeviceTicket, Disposition};
use pushpost::{maintenance, store};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use pushpost_testkit::held_time::until;
use pushpost_testkit::queue::TestQueue;
use pushpost_testkit::queue::{QueueNode, accepted, end, rejected};
use pushpost_testkit::seeds::seeds;

const PHASES: usize = 12;
const STEPS: usize = 40;
/// After so many attempts every device ends, so that the end can be reached.
const MOST_ATTEMPTS: u16 = 4;

struct Model {
    seed: u64,
    rng: StdRng,
    queue: TestQueue,
    lanes: [LaneId; 2],
    nodes: Vec<ModelNode>,
    /// The devices of each notification.
    addressed: BTreeMap<NotificationId, BTreeSet<i64>>,
    next_device: i64,
}

/// A node with what is in its lanes' hands.
struct ModelNode {
    node: QueueNode,
    tickets: Vec<DeviceTicket>,
}

impl Model {
    async fn start(seed: u64) -> Self {
        let queue = TestQueue::create().await;
        let lanes = [fcm::LANE, apns::lane(apns::PRODUCTION)].map(|key| queue.app.lane(key).id);
        let mut model = Self {
            seed,
            rng: StdRng::seed_from_u64(seed),
            queue,
            lanes,
            nodes: Vec::new(),
            addressed: BTreeMap::new(),
            next_device: 1,
        };
        for _ in 0..3 {
            let player = model.enter().await;
            model.nodes.push(player);
        }
        model
    }

    async fn enter(&mut self) -> ModelNode {
        let node = QueueNode::enter(&self.queue).await;
        if self.rng.random_ratio(2, 3) {
            node.open_intakes();
        }
        ModelNode { node, tickets: Vec::new() }
    }

    fn any(&mut self) -> usize {
        self.rng.random_range(0..self.nodes.len())
    }

    async fn step(&mut self) {
        let who = self.any();
        match self.rng.random_range(0..100) {
            0..20 => self.accept(who).await,
            20..40 => self.take(who).await,
            40..80 => self.report(who),
            80..85 => self.give_back(who),
            85..88 => self.crash(who).await,
            88..91 => self.call_dead(who).await,
            91..95 => self.expire().await,
            95..97 => self.reconcile(who).await,
            97 => self.cancel().await,
            _ => tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..30))).await,
        }
    }

    /// Some of it to lanes that take it without a claim; some of it refused at once.
    async fn accept(&mut self, who: usize) {
        let many = if self.rng.random_ratio(1, 4) { self.rng.random_range(1..=700) } else { 1 };
        let devices = self.next_device..self.next_device + many;
        self.next_device = devices.end;
        let mut new = self.queue.wanted(devices.clone());
        for target in &mut new.targets {
            target.lane = *self.lanes.choose(&mut self.rng).unwrap();
            target.refused =
                self.rng.random_ratio(1, 20).then(|| Reason::from(PushpostReason::PlatformNotConfigured));
        }
        let id = self.nodes[who].node.accept(new).await;
        self.addressed.insert(id, devices.collect());
    }

    async fn take(&mut self, who: usize) {
        let lane = *self.lanes.choose(&mut self.rng).unwrap();
        let player = &mut self.nodes[who];
        let mut taken = player.node.take_handed(lane);
        taken.extend(player.node.take(lane).await);
        player.tickets.extend(taken);
    }

    /// Some of its tickets end, old leases' or the present one's alike.
    fn report(&mut self, who: usize) {
        for _ in 0..self.rng.random_range(0..150) {
            let many = self.nodes[who].tickets.len();
            if many == 0 {
                return;
            }
            let ticket = self.nodes[who].tickets.swap_remove(self.rng.random_range(0..many));
            let ending = self.ending(ticket.leased_job().job.attempt);
            end(ticket, ending);
        }
    }

    fn ending(&mut self, attempt: u16) -> Disposition {
        match self.rng.random_range(0..10) {
            0..2 if attempt < MOST_ATTEMPTS => Disposition::Retry {
                lane: self.rng.random_ratio(1, 3).then(|| *self.lanes.choose(&mut self.rng).unwrap()),
                delay: Duration::ZERO,
                attempted: true,
                unanswered: self.rng.random_ratio(1, 3),
                reason: self.rng.random_ratio(1, 2).then(|| Reason::new("Busy")),
            },
            2 => Disposition::Returned,
            3..5 => rejected("BadRequest"),
            _ => accepted(),
        }
    }

    /// A lane that stops: what it holds goes back as it was.
    fn give_back(&mut self, who: usize) {
        let many = self.nodes[who].tickets.len();
        self.nodes[who].tickets.truncate(many / 2);
    }

    /// The process ends in the middle of whatever it was doing; the leader sees it at once.
    async fn crash(&mut self, who: usize) {
        let successor = self.enter().await;
        let dead = std::mem::replace(&mut self.nodes[who], successor);
        let id = dead.node.id();
        dead.node.crash().await;
        self.queue.lose(id).await;
    }

    /// It stood still for a while: its jobs are others', and it goes on under a new id with its old tickets.
    async fn call_dead(&mut self, who: usize) {
        let player = &self.nodes[who];
        self.queue.lose(player.node.id()).await;
        player.node.node_lease.beat(&mut self.queue.pool.acquire().await.unwrap()).await.unwrap();
    }

    async fn expire(&mut self) {
        let mut conn = self.queue.pool.acquire().await.unwrap();
        sqlx::query(
            "update jobs set expires_at = now() where job_id in
               (select job_id from jobs where node_id is null order by random() limit 2 for update skip locked)",
        )
        .execute(&mut conn)
        .await
        .unwrap();
        store::waiting_jobs::expire(&mut conn, 500).await.unwrap();
    }

    /// Any notification, done or not. Its nodes do not look: what they report counts, or comes too late.
    async fn cancel(&mut self) {
        let all: Vec<NotificationId> = self.addressed.keys().copied().collect();
        if let Some(id) = all.choose(&mut self.rng) {
            self.queue.cancel(*id).await;
        }
        self.queue.sweep_cancelled().await;
    }

    /// As the heartbeat does after two comparisons, but for what is on its way to a lane.
    async fn reconcile(&mut self, who: usize) {
        let player = &mut self.nodes[who];
        for lane in self.lanes {
            player.tickets.extend(player.node.take_handed(lane));
        }
        player.node.release_strangers(&self.queue).await;
    }

    async fn check(&self, when: &str) {
        let faults = self.queue.faults().await;
        assert!(faults.is_empty(), "seed {}, {when}: {faults:#?}", self.seed);
        for (id, devices) in &self.addressed {
            let targets = self.queue.counts(*id).await.targets();
            assert_eq!(targets, devices.len() as u64, "seed {}, {when}: sum of {id}", self.seed);
        }
    }

    /// All nodes go on until no job is left.
    async fn finish(&mut self) {
        for _ in 0..100 {
            for who in 0..self.nodes.len() {
                self.sweep_the_dead().await;
                self.reconcile(who).await;
                for lane in self.lanes {
                    let more = self.nodes[who].node.take(lane).await;
                    self.nodes[who].tickets.extend(more);
                }
                for ticket in std::mem::take(&mut self.nodes[who].tickets) {
                    end(ticket, accepted());
                }
                self.nodes[who].node.idle().await;
            }
            if self.queue.database.count("select count(*) from jobs").await == 0 {
                return;
            }
        }
        panic!("seed {}: jobs are left", self.seed);
    }

    async fn sweep_the_dead(&self) {
        let mut conn = self.queue.pool.acquire().await.unwrap();
        let nodes = store::nodes::watch(&mut conn).await.unwrap();
        let dead: Vec<NodeId> = nodes.iter().filter(|node| node.dead).map(|node| node.node).collect();
        maintenance::sweep(&mut conn, &dead).await.unwrap();
    }

    async fn run(mut self) {
        for phase in 0..PHASES {
            for _ in 0..STEPS {
                self.step().await;
            }
            self.check(&format!("phase {phase}")).await;
            let limit = self.rng.random_range(1..20);
            self.queue.sequence_all(limit).await;
        }
        self.finish().await;
        self.check("the end").await;
        self.queue.sweep_cancelled().await;
        let pending = self.queue.database.count("select count(*) from pending_cancellations").await;
        assert_eq!(pending, 0, "seed {}: cancellations", self.seed);
        for (id, devices) in &self.addressed {
            let counts = self.queue.counts(*id).await;
            assert_eq!(counts.pending, 0, "seed {}: {id}", self.seed);
            let ended: BTreeSet<i64> = self.queue.outcomes(*id).await.into_keys().collect();
            assert_eq!(&ended, devices, "seed {}: {id}", self.seed);
        }
        self.queue.sequence_all(3).await;
        self.queue.assert_all_is_told().await;
        let room = std::mem::take(&mut self.nodes);
        for player in room {
            until("all room of the intakes is back", async || player.node.has_all_room()).await;
            assert!(player.node.recorder.has_room());
            player.node.stop().await;
        }
    }
}

async fn play(seed: u64) {
    for seed in seeds(&[seed]) {
        let model = Model::start(seed).await;
        let played = tokio::time::timeout(Duration::from_secs(300), model.run()).await;
        assert!(played.is_ok(), "seed {seed}: it hangs");
    }
}

#[tokio::test]
async fn no_interleaving_loses_or_doubles_an_outcome_1() {
    play(1).await;
}

#[tokio::test]
async fn no_interleaving_loses_or_doubles_an_outcome_2() {
    play(2).await;
}

#[tokio::test]
async fn no_interleaving_loses_or_doubles_an_outcome_3() {
    play(3).await;
}
