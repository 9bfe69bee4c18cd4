//! What a claim takes (docs/queue.md#claim).

use std::collections::HashSet;

use pushpost::domain::{Class, JobId, LaneId, NodeId, Priority};
use pushpost::queue::claim::Claimer;
use pushpost::store::SessionPool;
use pushpost::store::jobs::{self, ClaimRequest};
use tokio::time::timeout;

use super::{GENEROUS, queue_pool, waiting};
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::held_time::HeldTime;

const LANE: LaneId = LaneId(1);
const NODE: NodeId = NodeId(7);
const HOUR: f64 = 3_600.0;

fn normal(room: i32) -> ClaimRequest {
    ClaimRequest {
        lane: LANE,
        class: Class::Direct,
        priority: Priority::Normal,
        room,
        jobs_max: 512,
        since: None,
        node: NODE,
    }
}

async fn claimed(pool: &SessionPool, claim: ClaimRequest) -> Vec<i64> {
    let mut conn = pool.acquire().await.unwrap();
    jobs::claim(&mut conn, claim).await.unwrap().iter().map(|job| job.id.0).collect()
}

async fn next(claimer: &mut Claimer, room: usize) -> Vec<i64> {
    let jobs = claimer.claim(Class::Direct, Priority::Normal, room, NODE).await.unwrap();
    jobs.iter().map(|job| job.id.0).collect()
}

#[tokio::test]
async fn a_claim_is_limited_by_devices_and_takes_at_least_one_job() {
    let db = TestDatabase::create().await;
    let pool = queue_pool(&db, 2);
    let mut lists = Vec::new();
    for age in [4.0, 3.0, 2.0, 1.0] {
        lists.push(waiting(&pool, LANE, Priority::Normal, 500, age).await);
    }
    assert_eq!(claimed(&pool, normal(0)).await, lists[..1], "whatever the room");
    assert_eq!(claimed(&pool, normal(10)).await, lists[1..2], "larger than the room");
    assert_eq!(claimed(&pool, normal(501)).await, lists[2..], "room for more than one");
    let mut singles = Vec::new();
    for _ in 0..20 {
        singles.push(waiting(&pool, LANE, Priority::Normal, 1, 1.0).await);
    }
    assert_eq!(claimed(&pool, normal(8)).await.len(), 8);
    assert_eq!(claimed(&pool, normal(100)).await.len(), 12);
}

#[tokio::test]
async fn jobs_are_claimed_by_due_time_and_future_jobs_wait() {
    let db = TestDatabase::create().await;
    let pool = queue_pool(&db, 2);
    let late = waiting(&pool, LANE, Priority::Normal, 1, 1.0).await;
    let early = waiting(&pool, LANE, Priority::Normal, 1, HOUR).await;
    let scheduled = waiting(&pool, LANE, Priority::High, 1, -HOUR).await;
    let other_lane = waiting(&pool, LaneId(2), Priority::Normal, 1, HOUR).await;
    assert!(claimed(&pool, ClaimRequest { priority: Priority::High, ..normal(100) }).await.is_empty());
    assert_eq!(claimed(&pool, normal(1)).await, [early]);
    assert_eq!(claimed(&pool, normal(100)).await, [late]);
    assert!(claimed(&pool, normal(100)).await.is_empty());
    let left: Vec<i64> = sqlx::query_scalar("select job_id from jobs where node_id is null order by job_id")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(left, [scheduled, other_lane]);
}

#[tokio::test]
async fn a_claim_skips_jobs_that_another_session_has_locked() {
    let db = TestDatabase::create().await;
    let pool = queue_pool(&db, 3);
    let mut all = Vec::new();
    for age in (1..=6).rev() {
        all.push(waiting(&pool, LANE, Priority::Normal, 1, age.into()).await);
    }
    let mut slow = pushpost::store::begin(&pool).await.unwrap();
    let first = jobs::claim(&mut slow, ClaimRequest { jobs_max: 2, ..normal(2) }).await.unwrap();
    assert_eq!(first.iter().map(|job| job.id.0).collect::<Vec<_>>(), all[..2]);
    let rest = timeout(GENEROUS, claimed(&pool, normal(100))).await.expect("it doesn't wait");
    assert_eq!(rest, all[2..]);
    slow.rollback().await.unwrap();
    assert_eq!(claimed(&pool, normal(100)).await, all[..2], "given back by the rollback");
}

/// docs/queue.md#isolated-attempt: what else its holder has in hand would be suspected with it.
#[tokio::test]
async fn a_suspected_job_is_claimed_alone() {
    let db = TestDatabase::create().await;
    let pool = queue_pool(&db, 2);
    let mut all = Vec::new();
    for age in (1..=6_u32).rev() {
        all.push(waiting(&pool, LANE, Priority::Normal, 1, age.into()).await);
    }
    for (job, lost) in [(all[0], 1), (all[2], 2), (all[3], 7)] {
        let lost_so_often =
            sqlx::query("update jobs set node_deaths = $2 where job_id = $1").bind(job).bind(lost);
        lost_so_often.execute(&pool).await.unwrap();
    }
    for expected in [&all[..2], &all[2..3], &all[3..4], &all[4..]] {
        assert_eq!(claimed(&pool, normal(100)).await, expected);
    }
}

#[tokio::test]
async fn no_job_goes_to_two_of_many_claimers() {
    const JOBS: usize = 400;
    let db = TestDatabase::create().await;
    let pool = queue_pool(&db, 4);
    for _ in 0..JOBS {
        waiting(&pool, LANE, Priority::Normal, 1, 1.0).await;
    }
    let nodes = (0..4).map(|node| {
        let mut claimer = Claimer::new(pool.clone(), LANE);
        let pool = &pool;
        async move {
            let mut mine = Vec::new();
            loop {
                let jobs = claimer.claim(Class::Direct, Priority::Normal, 7, NodeId(node)).await.unwrap();
                mine.extend(jobs.iter().map(|job| job.id.0));
                let left: i64 = sqlx::query_scalar("select count(*) from jobs where node_id is null")
                    .fetch_one(pool)
                    .await
                    .unwrap();
                if left == 0 {
                    return mine;
                }
            }
        }
    });
    let taken: Vec<i64> = futures_util::future::join_all(nodes).await.into_iter().flatten().collect();
    let different: HashSet<i64> = taken.iter().copied().collect();
    assert_eq!((taken.len(), different.len()), (JOBS, JOBS));
}

#[tokio::test]
async fn equal_due_times_hide_nothing_behind_the_cursor() {
    let db = TestDatabase::create().await;
    let pool = queue_pool(&db, 2);
    let ids: Vec<i64> = sqlx::query_scalar(
        "insert into jobs (notification_id, lane_id, priority, due_at, expires_at, device_count, devices)
         select gen_random_uuid(), 1, 5, now() - interval '10 seconds', now() + interval '1 day', 1, array[1]
         from generate_series(1, 5) returning job_id",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut claimer = Claimer::new(pool, LANE);
    for id in ids {
        assert_eq!(next(&mut claimer, 1).await, [id]);
    }
}

#[tokio::test]
async fn a_claim_says_whether_it_may_have_left_something() {
    let db = TestDatabase::create().await;
    let pool = queue_pool(&db, 2);
    for _ in 0..5 {
        waiting(&pool, LANE, Priority::Normal, 1, 10.0).await;
    }
    let _time = HeldTime::hold();
    let mut claimer = Claimer::new(pool.clone(), LANE);
    let left = |claimer: &Claimer| claimer.may_have_left(Class::Direct, Priority::Normal);
    assert!(left(&claimer), "nothing is known yet");
    assert_eq!(next(&mut claimer, 3).await.len(), 3);
    assert!(left(&claimer));
    assert_eq!(next(&mut claimer, 3).await.len(), 2);
    assert!(!left(&claimer), "there was room for more");
    claimer.restart();
    assert!(left(&claimer), "nothing is known any more");
    let suspect = waiting(&pool, LANE, Priority::Normal, 1, 10.0).await;
    waiting(&pool, LANE, Priority::Normal, 1, 5.0).await;
    sqlx::query("update jobs set node_deaths = 2 where job_id = $1")
        .bind(suspect)
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(next(&mut claimer, 3).await, [suspect]);
    assert!(left(&claimer), "it is taken alone");
}

#[tokio::test]
async fn a_job_released_behind_the_cursor_is_found_from_the_start() {
    let db = TestDatabase::create().await;
    let pool = queue_pool(&db, 2);
    let old = waiting(&pool, LANE, Priority::Normal, 1, HOUR).await;
    let recent = waiting(&pool, LANE, Priority::Normal, 1, 10.0).await;
    // It starts anew after five seconds.
    let _time = HeldTime::hold();
    let mut claimer = Claimer::new(pool.clone(), LANE);
    assert_eq!(next(&mut claimer, 1).await, [old]);
    assert_eq!(next(&mut claimer, 1).await, [recent]);
    let mut conn = pool.acquire().await.unwrap();
    assert_eq!(jobs::release(&mut conn, NODE, &[(JobId(old), 1)]).await.unwrap(), [JobId(old)]);
    assert!(next(&mut claimer, 1).await.is_empty(), "it lies behind the cursor");
    claimer.restart();
    assert_eq!(next(&mut claimer, 1).await, [old]);
}

#[tokio::test]
async fn a_claim_of_large_jobs_locks_few_more_than_it_takes() {
    let db = TestDatabase::create().await;
    let pool = queue_pool(&db, 2);
    for _ in 0..4 {
        waiting(&pool, LANE, Priority::Normal, 500, 60.0).await;
    }
    let mut claimer = Claimer::new(pool.clone(), LANE);
    assert_eq!(next(&mut claimer, 2_000).await.len(), 4);
    // None of these was ever locked.
    for _ in 0..40 {
        waiting(&pool, LANE, Priority::Normal, 500, 59.5).await;
    }
    assert_eq!(next(&mut claimer, 1_000).await.len(), 2);
    let locked: i64 =
        sqlx::query_scalar("select count(*) from jobs where node_id is null and xmax::text <> '0'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(locked, 0, "locked, so invisible to other nodes' claims, and left");
}
