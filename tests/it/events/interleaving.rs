//! Recorders that commit out of order and roll back, fan-outs that end, several sequencers that are ended half-way, and a reader that
//! tails the log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bit_vec::BitVec;
use pushpost::domain::{DeviceId, FactKind, JobId, LogPosition, NotificationId};
use pushpost::store::events;
use pushpost::store::record::{NewReceipt, NewRetryJob, RecordBatch, record};
use pushpost::store::{Session, SessionPool, fan_outs};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};

use pushpost_testkit::queue::{TestQueue, small_queue_pool};
use pushpost_testkit::seeds::seeds;

const NOTIFICATIONS: i64 = 150;
const RECORDERS: u64 = 6;
const SEQUENCERS: u64 = 3;
const GENEROUS: Duration = Duration::from_secs(120);

/// What the tasks of one run share.
struct Run {
    queue: TestQueue,
    pool: SessionPool,
    /// Of the sequencers alone, because a session that is ended lets its pool distrust the others.
    sequencer_pool: SessionPool,
    seed: u64,
    /// The limits of the sequencers.
    limits: &'static [i64],
    is_over: AtomicBool,
}

/// A job that a recorder has locked.
#[derive(sqlx::FromRow)]
struct OpenJob {
    job_id: i64,
    notification_id: sqlx::types::Uuid,
    version: i32,
    devices: Vec<i64>,
    done: Option<BitVec>,
    attempt: i16,
}

impl Run {
    async fn start(seed: u64, limits: &'static [i64]) -> Self {
        let queue = TestQueue::create().await;
        // Up to three jobs each, of one to four devices; every third one has a fan-out, at first without jobs.
        queue
            .database
            .execute(&format!(
                "insert into notifications (notification_id, app_id, priority, due_at, expires_at)
                 select (left(id_floor(now())::text, 13) || right(gen_random_uuid()::text, 23))::uuid, {app}, 5, now(),
                        now() + interval '1 hour'
                 from generate_series(1, {NOTIFICATIONS});
                 create table numbered as select notification_id, row_number() over () as n from notifications;
                 insert into fan_outs (notification_id, app_id, priority, due_at, expires_at, target_count, audience)
                 select notification_id, {app}, 5, now(), now() + interval '1 hour', 0, '{{}}' from numbered where n % 3 = 0;
                 insert into jobs (notification_id, lane_id, priority, due_at, expires_at, device_count, devices)
                 select notification_id, {lane}, 5, now(), now() + interval '1 hour', 1 + n % 4,
                        array(select 10 * n + d from generate_series(1, 1 + n % 4) d)
                 from numbered, generate_series(1, 1 + n % 3) where n % 3 > 0;",
                app = queue.app.id,
                lane = queue.lane,
            ))
            .await;
        let pool = small_queue_pool(queue.database.url().parse().unwrap(), 16);
        let sequencer_pool = small_queue_pool(queue.database.url().parse().unwrap(), 4);
        Self { queue, pool, sequencer_pool, seed, limits, is_over: AtomicBool::new(false) }
    }

    fn rng(&self, task: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed * 1_000 + task)
    }

    /// Records a few jobs at a time, waits, and commits or rolls back, until no job and no fan-out is left.
    async fn record(&self, task: u64) {
        let mut rng = self.rng(task);
        loop {
            let mut tx = pushpost::store::begin(&self.pool).await.unwrap();
            let jobs: Vec<OpenJob> = sqlx::query_as(
                "select job_id, notification_id, version, devices, done, attempt from jobs
                 order by random() limit $1 for update skip locked",
            )
            .bind(rng.random_range(1..8_i64))
            .fetch_all(&mut *tx)
            .await
            .unwrap();
            if jobs.is_empty() {
                drop(tx);
                let left = "select (select count(*) from jobs) + (select count(*) from fan_outs)";
                if self.queue.database.count(left).await == 0 {
                    return;
                }
                continue;
            }
            write(&mut tx, &jobs, &mut rng).await;
            sleep(Duration::from_millis(rng.random_range(0..8))).await;
            if rng.random_ratio(1, 10) {
                tx.rollback().await.unwrap();
            } else {
                tx.commit().await.unwrap();
            }
        }
    }

    /// Writes a page of each fan-out and ends it, some without any job.
    async fn expand(&self) {
        let mut rng = self.rng(100);
        let ids: Vec<(sqlx::types::Uuid, i64)> =
            sqlx::query_as("select notification_id, n from numbered where n % 3 = 0 order by n")
                .fetch_all(&self.pool)
                .await
                .unwrap();
        for (id, n) in ids {
            let mut tx = pushpost::store::begin(&self.pool).await.unwrap();
            let found = rng.random_range(0..3_i64);
            sqlx::query(
                "insert into jobs (notification_id, lane_id, priority, due_at, expires_at, device_count, devices)
                 select $1, $2, 5, now(), now() + interval '1 hour', 1, array[10 * $3::bigint + d]
                 from generate_series(1, $4::int) d",
            )
            .bind(id)
            .bind(self.queue.lane.0)
            .bind(n)
            .bind(found)
            .execute(&mut *tx)
            .await
            .unwrap();
            fan_outs::finish(&mut tx, NotificationId(id), found).await.unwrap();
            sleep(Duration::from_millis(rng.random_range(0..4))).await;
            tx.commit().await.unwrap();
        }
    }

    /// Sequences until the run is over. Its session may be ended at any moment.
    async fn sequence(&self, task: u64) {
        let mut rng = self.rng(200 + task);
        while !self.is_over.load(Ordering::Acquire) {
            let limit = self.limits[rng.random_range(0..self.limits.len())];
            if let Ok(mut conn) = self.sequencer_pool.acquire().await {
                let _ended = events::sequence(&mut conn, limit).await;
            }
            sleep(Duration::from_millis(rng.random_range(0..3))).await;
        }
    }

    /// Ends sessions that sequence. Answers how many.
    async fn kill(&self) -> i64 {
        let mut ended = 0;
        while !self.is_over.load(Ordering::Acquire) {
            ended += self
                .queue
                .database
                .count(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity
                     where datname = current_database() and query like '%event_head for update%' and pid <> pg_backend_pid()
                       and state = 'active' and random() < 0.5",
                )
                .await;
            sleep(Duration::from_millis(3)).await;
        }
        ended
    }

    /// Tails the log by its cursor until the run is over and the log is read to its end.
    async fn tail(&self) -> (Vec<i64>, BTreeMap<NotificationId, usize>, i64) {
        let mut rng = self.rng(300);
        let mut conn = self.queue.database.pool.acquire().await.unwrap();
        let mut at = LogPosition { position: 0, day: events::first_day(&mut conn).await.unwrap() };
        let (mut receipts, mut ends) = (Vec::new(), BTreeMap::new());
        loop {
            let is_over = self.is_over.load(Ordering::Acquire);
            let page = events::page(&mut conn, self.queue.app.id, at, rng.random_range(1..50)).await.unwrap();
            for entry in &page {
                assert_eq!(entry.at.position, at.position + 1, "positions are dense");
                at = entry.at;
                match entry.kind {
                    FactKind::Recorded => receipts.extend(entry.receipts.iter().map(|receipt| receipt.0)),
                    _ => entry.notifications.iter().for_each(|id| *ends.entry(*id).or_default() += 1),
                }
            }
            if page.is_empty() && is_over {
                return (receipts, ends, at.position);
            }
        }
    }

    async fn check(&self) {
        let recording = async {
            let recorders = (0..RECORDERS).map(|task| self.record(task));
            tokio::join!(futures_util::future::join_all(recorders), self.expand());
            self.queue.database.until_count("select count(*) from event_outbox", 0).await;
            self.queue.database.until_count("select count(*) from event_ending", 0).await;
            self.is_over.store(true, Ordering::Release);
        };
        let sequencing = futures_util::future::join_all((0..SEQUENCERS).map(|task| self.sequence(task)));
        let all = async { tokio::join!(recording, sequencing, self.kill(), self.tail()) };
        let ((), _, ended, (mut receipts, ends, last)) = timeout(GENEROUS, all).await.expect("all is told");
        let seed = self.seed;
        receipts.sort_unstable();
        let recorded: Vec<i64> = sqlx::query_scalar(
            "select receipt_id from receipts where retried < cardinality(devices) order by receipt_id",
        )
        .fetch_all(&self.queue.database.pool)
        .await
        .unwrap();
        assert!(receipts == recorded, "seed {seed}: {} of {} receipts", receipts.len(), recorded.len());
        assert!(ends.values().all(|times| *times == 1), "seed {seed}: ended twice");
        assert_eq!(ends.len() as i64, NOTIFICATIONS, "seed {seed}");
        assert_eq!(self.queue.database.count("select count(*) from event_log").await, last, "seed {seed}");
        self.queue.assert_all_is_told().await;
        assert!(ended > 0 || self.limits.len() > 1, "seed {seed}: no sequencer was ended");
    }
}

/// Ends some of the devices of each job, or sends some of them once more.
async fn write(conn: &mut Session, jobs: &[OpenJob], rng: &mut StdRng) {
    let mut batch = RecordBatch::default();
    let mut sorted: Vec<&OpenJob> = jobs.iter().collect();
    sorted.sort_unstable_by_key(|job| job.job_id);
    for job in sorted {
        let before = job.done.clone().unwrap_or_else(|| BitVec::from_elem(job.devices.len(), false));
        let open: Vec<usize> = (0..job.devices.len()).filter(|place| !before[*place]).collect();
        let count = rng.random_range(1..=open.len());
        let leaving = &open[..count];
        // After a few attempts every device ends, so that the run does.
        let retried: Vec<bool> = leaving.iter().map(|_| job.attempt < 3 && rng.random_ratio(1, 4)).collect();
        let retries = retried.iter().filter(|again| **again).count();
        let mut done = BitVec::from_elem(job.devices.len(), false);
        leaving.iter().for_each(|place| done.set(*place, true));
        let devices: Vec<DeviceId> = leaving.iter().map(|place| DeviceId(job.devices[*place])).collect();
        batch.receipt(NewReceipt {
            job: JobId(job.job_id),
            notification: NotificationId(job.notification_id),
            node: None,
            version: job.version,
            finished: count == open.len(),
            done,
            counts: [(count - retries) as i16, 0, 0, 0, 0, 0, retries as i16],
            devices: &devices,
            outcomes: retried.iter().map(|again| u8::from(!again)).collect(),
            reasons: Vec::new(),
            reason_indexes: Vec::new(),
            provider_ids: Vec::new(),
            began_ms: 0,
            progress: true,
        });
        let again: Vec<DeviceId> =
            devices.iter().zip(&retried).filter(|(_, again)| **again).map(|(device, _)| *device).collect();
        if !again.is_empty() {
            batch.retry(NewRetryJob {
                parent: JobId(job.job_id),
                lane: None,
                delay_ms: 0,
                step: 1,
                unanswered: 0,
                reason: None,
                environment_probe_since: None,
                devices: &again,
            });
        }
    }
    assert_eq!(record(conn, &batch).await.unwrap().len(), jobs.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_receipt_is_read_once_and_each_notification_ends_once_and_last() {
    for seed in seeds(&[1, 2, 3]) {
        Run::start(seed, &[1, 2, 3, 7, 50, 500]).await.check().await;
    }
}

/// At a limit of 1 a notification ends in another run than its last receipt, nearly always.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_for_one_row_at_a_time() {
    for seed in seeds(&[4, 5]) {
        Run::start(seed, &[1]).await.check().await;
    }
}
