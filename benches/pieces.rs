//! The hot pieces alone: what is made for each device, what an answer is taken for, and the two statements that a
//! delivery takes. `cargo bench --bench pieces`.
//!
//! The statements run in a database of their own on the bench's Postgres, without waiting for the disk at a commit:
//! what they cost is asked for, not what the disk does.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use bit_vec::BitVec;
use chrono::{DateTime, TimeDelta, Utc};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, StatusCode};
use pushpost::domain::{
    Class, Content, DeviceId, DeviceToken, InstallationKey, JobId, LaneId, NodeId, NotificationId, Priority,
};
use pushpost::provider::{Attempt, Validity, apns, built_in_platforms, fcm};
use pushpost::store::{Purpose, SessionPool, jobs, record};
use pushpost::telemetry::metrics::{AudienceKind, Exposition, Metrics};
use pushpost_embedded_postgres::{EmbeddedPostgres, Settings};
use serde_json::json;

use pushpost_testkit::database::MIGRATIONS;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

const POSTGRES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench/postgres");
const SCRATCH: &str = "pieces";
const CONNECTIONS: u16 = 100;
/// Devices of a job.
const LIST: i64 = 500;
/// Jobs that wait.
const WAITING: i64 = 2_000;
const LANE: LaneId = LaneId(1);
const NODE: NodeId = NodeId(1);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).expect("within range")
}

fn content() -> Content {
    let content = json!({
        "title": "Order shipped",
        "body": "Your order #789 has been dispatched and arrives tomorrow.",
        "sound": "default",
        "category": "ORDER",
        "thread": "orders",
        "data": { "order_id": "789", "lines": 3 },
    });
    serde_json::from_value(content).expect("content as requests have it")
}

fn requests(c: &mut Criterion) {
    let (content, id) = (content(), NotificationId::new(now()));
    let mut group = c.benchmark_group("request");
    group.bench_function("apns, once a notification", |b| {
        b.iter(|| apns::prepare(id, &content, "com.example.shop"));
    });
    group.bench_function("fcm, once a notification", |b| b.iter(|| fcm::prepare(id, &content, None)));

    let installation = InstallationKey::new([7; 32]);
    group.bench_function("apns-id", |b| b.iter(|| installation.message_id(id, DeviceId(42))));
    let token = DeviceToken::parse(apns::PLATFORM, &"0f".repeat(32)).expect("hexadecimal");
    let attempt = Attempt {
        token: &token,
        message_id: Uuid::nil(),
        now: now(),
        expires_at: now() + TimeDelta::days(1),
        once: false,
        deadline: tokio::time::Instant::now(),
        validity: Validity(&|| true),
        exchange: None,
    };
    let prepared = apns::prepare(id, &content, "com.example.shop");
    let authority = http::uri::Authority::from_static("api.push.apple.com");
    let bearer = HeaderValue::from_static("bearer eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJERUYxMjNHSElKIn0.c2ln");
    group.bench_function("apns, for each device", |b| {
        b.iter(|| prepared.head(&authority, &attempt, bearer.clone()));
    });
    let prepared = fcm::prepare(id, &content, None);
    let token = format!("{}:APA91b{}", "a".repeat(22), "b".repeat(134));
    group.bench_function("fcm, for each device", |b| b.iter(|| prepared.body(&token, attempt.expiry())));
}

fn answers(c: &mut Criterion) {
    let mut group = c.benchmark_group("answer");
    let headers = HeaderMap::new();
    let origin = apns::TopicOrigin::Configured;
    let gone = br#"{"reason":"Unregistered","timestamp":1795000000000}"#;
    group.bench_function("apns, accepted", |b| {
        b.iter(|| apns::classify(StatusCode::OK, &headers, b"", origin, now()));
    });
    group.bench_function("apns, token dead", |b| {
        b.iter(|| apns::classify(StatusCode::GONE, &headers, gone, origin, now()));
    });
    let name = br#"{"name":"projects/shop-1/messages/0:1500415314455276%31bd1c9631bd1c96"}"#;
    let gone =
        br#"{"error":{"code":404,"message":"Requested entity was not found.","status":"NOT_FOUND","details":
        [{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"UNREGISTERED"}]}}"#;
    group.bench_function("fcm, accepted", |b| {
        b.iter(|| fcm::classify(StatusCode::OK, &headers, name, fcm::Traits::default(), now()));
    });
    group.bench_function("fcm, token dead", |b| {
        b.iter(|| fcm::classify(StatusCode::NOT_FOUND, &headers, gone, fcm::Traits::default(), now()));
    });
}

fn statements(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (postgres, pool) = runtime.block_on(database()).expect("a scratch database");
    let mut group = c.benchmark_group("statement");
    group.sample_size(20);
    group.throughput(Throughput::Elements(LIST.cast_unsigned()));
    group.bench_function("claim a list of 500", |b| {
        b.iter_custom(|times| runtime.block_on(claims(&pool, times)).expect("claims"));
    });
    group.bench_function("record a list of 500", |b| {
        b.iter_custom(|times| runtime.block_on(records(&pool, times, 1, LIST)).expect("records"));
    });
    group.throughput(Throughput::Elements(100));
    group.bench_function("record 100 single devices", |b| {
        b.iter_custom(|times| runtime.block_on(records(&pool, times, 100, 1)).expect("records"));
    });
    group.finish();
    runtime.block_on(leave(postgres, pool)).expect("Postgres stops");
}

/// An empty, migrated database, and connections as the queue has them.
async fn database() -> anyhow::Result<(EmbeddedPostgres, SessionPool)> {
    let settings = Settings {
        data_dir: Path::new(POSTGRES).to_owned(),
        postgres_bin_dir: None,
        max_connections: CONNECTIONS,
    };
    let postgres = EmbeddedPostgres::start(&settings).await?;
    remake(&postgres, &format!("create database {SCRATCH}")).await?;
    let options = postgres.connect_options().database(SCRATCH);
    MIGRATIONS.run(&mut PgConnection::connect_with(&options).await?).await?;
    let pool = SessionPool::new(options, Purpose::Queue, 1).with_platforms(built_in_platforms());
    // The pool has one session, which keeps this: what is measured is the statements, not the disk.
    pool.execute("set synchronous_commit = off").await?;
    let waiting = "insert into jobs (notification_id, lane_id, priority, class, due_at, expires_at, device_count, devices)
         select $1, $2, 5, 2, now(), now() + interval '1 day', $3, array(select generate_series(i * $4 + 1, i * $4 + $4))
         from generate_series(1, $5) i";
    let id = NotificationId::new(now()).0;
    let waiting = sqlx::query(waiting).bind(id).bind(LANE.0).bind(i16::try_from(LIST)?).bind(LIST);
    waiting.bind(WAITING).execute(&pool).await?;
    pool.execute("analyze").await?;
    Ok((postgres, pool))
}

/// Drops the scratch database, then does something else.
async fn remake(postgres: &EmbeddedPostgres, then: &str) -> anyhow::Result<()> {
    let mut conn = PgConnection::connect_with(&postgres.connect_options()).await?;
    conn.execute(AssertSqlSafe(format!("drop database if exists {SCRATCH} with (force)"))).await?;
    conn.execute(AssertSqlSafe(then.to_owned())).await?;
    Ok(conn.close().await?)
}

async fn leave(postgres: EmbeddedPostgres, pool: SessionPool) -> anyhow::Result<()> {
    pool.close().await;
    remake(&postgres, "select 1").await?;
    Ok(postgres.stop().await?)
}

/// Only claims are timed; each is given back.
async fn claims(pool: &SessionPool, times: u64) -> anyhow::Result<Duration> {
    let mut conn = pool.acquire().await?;
    let claim = jobs::ClaimRequest {
        lane: LANE,
        class: Class::Bulk,
        priority: Priority::Normal,
        room: i32::try_from(LIST)?,
        jobs_max: 1,
        since: None,
        node: NODE,
    };
    let mut took = Duration::ZERO;
    for _ in 0..times {
        let begun = Instant::now();
        let claimed = jobs::claim(&mut conn, claim).await?;
        took += begun.elapsed();
        let held: Vec<_> = claimed.iter().map(|job| (job.id, job.version)).collect();
        anyhow::ensure!(held.len() == 1, "one list is claimed");
        jobs::release(&mut conn, NODE, &held).await?;
    }
    Ok(took)
}

/// Only records are timed: of so many jobs of so many devices, all accepted.
async fn records(pool: &SessionPool, times: u64, jobs: i64, devices: i64) -> anyhow::Result<Duration> {
    let mut conn = pool.acquire().await?;
    let held = "insert into jobs (notification_id, lane_id, priority, due_at, expires_at, node_id, version, device_count, devices)
         select $1, $2, 5, now(), now() + interval '1 day', $3, 1, $4, array(select generate_series(i + 1, i + $5))
         from generate_series(1, $6) i returning job_id";
    let n = i16::try_from(devices)?;
    let mut took = Duration::ZERO;
    for _ in 0..times {
        let at: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(&mut conn).await?;
        let id = NotificationId::new(at);
        let held =
            sqlx::query_scalar(held).bind(id.0).bind(LANE.0).bind(NODE.0).bind(n).bind(devices).bind(jobs);
        let mut held: Vec<i64> = held.fetch_all(&mut conn).await?;
        held.sort_unstable();
        let batch = batch(id, &held, n);
        let begun = Instant::now();
        let recorded = record::record(&mut conn, &batch).await?;
        took += begun.elapsed();
        anyhow::ensure!(recorded.len() == held.len(), "all of them are recorded");
    }
    Ok(took)
}

fn batch(id: NotificationId, jobs: &[i64], devices: i16) -> record::RecordBatch {
    let mut batch = record::RecordBatch::default();
    let size = usize::try_from(devices).expect("it is positive");
    for job in jobs {
        let listed: Vec<DeviceId> = (1..=i64::from(devices)).map(DeviceId).collect();
        batch.receipt(record::NewReceipt {
            job: JobId(*job),
            notification: id,
            node: Some(NODE),
            version: 1,
            finished: true,
            done: BitVec::from_elem(size, true),
            counts: [devices, 0, 0, 0, 0, 0, 0],
            devices: &listed,
            outcomes: vec![1; size],
            reasons: Vec::new(),
            reason_indexes: Vec::new(),
            provider_ids: Vec::new(),
            began_ms: 5,
            progress: true,
        });
    }
    batch
}

/// What counting costs, each alone and on two threads at once, and one answer of `/metrics` for ten lanes.
fn metrics(c: &mut Criterion) {
    let metrics = Metrics::new();
    let lane = metrics.lanes.lane("shop/fcm");
    let time = Duration::from_millis(12);
    let mut group = c.benchmark_group("metrics");
    group.bench_function("counter", |b| b.iter(|| lane.resends.inc()));
    group.bench_function("histogram", |b| b.iter(|| lane.provider_seconds.observe(black_box(time))));
    group.bench_function("histogram, two threads on it", |b| {
        b.iter_custom(|times| {
            std::thread::scope(|scope| {
                let others = scope.spawn(|| {
                    for _ in 0..times {
                        lane.provider_seconds.observe(black_box(time));
                    }
                });
                let begun = Instant::now();
                for _ in 0..times {
                    lane.provider_seconds.observe(black_box(time));
                }
                let took = begun.elapsed();
                others.join().expect("it counts");
                took
            })
        });
    });
    group.bench_function("reason", |b| b.iter(|| lane.attempt_reasons(black_box("UNREGISTERED")).inc()));
    group.bench_function("request", |b| {
        b.iter(|| {
            let route = metrics.http.of_route(black_box("/v1/notifications"));
            route.count("POST", 202);
            route.seconds.observe(black_box(time));
        });
    });
    group.bench_function("notification", |b| {
        b.iter(|| metrics.accept.app(black_box("shop")).notifications(AudienceKind::Direct).inc());
    });
    let lanes: Vec<_> = (0..10).map(|n| metrics.lanes.lane(&format!("app-{n}/fcm"))).collect();
    for pool in ["requests", "queue", "accept", "accept_keyed", "record", "heartbeat", "observe"] {
        metrics.postgres.pool(pool);
    }
    let series = metrics.expose(Exposition::Text).lines().filter(|line| !line.starts_with('#')).count();
    group.bench_function(format!("a scrape of {series} series"), |b| {
        b.iter(|| metrics.expose(Exposition::Text));
    });
    drop(lanes);
}

criterion_group!(pieces, requests, answers, statements, metrics);
criterion_main!(pieces);
