//! 503 `outcome_unknown`: the answer of a COMMIT is lost while the transaction still runs.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::json::assert_problem;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::processes::signal;
use pushpost_testkit::request::{ApiRequest, DEVICES, SEND};
use pushpost_testkit::service::TestService;

/// The first transaction that comes there sleeps until its session is ended.
const SLOW: &str = "
    create sequence turns;
    create function sleep_once() returns trigger language plpgsql as $$
    begin
      if nextval('turns') = 1 then perform pg_sleep(3600); end if;
      return coalesce(new, old);
    end $$";
/// While the statement runs.
const NOTIFICATIONS: &str = "create trigger slow before insert on notifications
                             for each row execute function sleep_once()";
/// While the transaction with a key is committed.
const COMMITTING_KEYS: &str =
    "create constraint trigger slow after insert on idempotency_keys deferrable initially deferred
                             for each row execute function sleep_once()";
/// While COMMIT runs.
const REGISTRATIONS: &str =
    "create constraint trigger slow after insert on devices deferrable initially deferred
                             for each row execute function sleep_once()";
const REMOVALS: &str = "create constraint trigger slow after delete on devices deferrable initially deferred
                        for each row execute function sleep_once()";
const SLEEPING: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
/// Sessions of the node that do not sleep.
const OTHERS: &str = "select count(*) from pg_stat_activity where datname = current_database()
                      and application_name = 'pushpost' and wait_event is distinct from 'PgSleep'";

/// A node behind a proxy, and a database that sleeps in one place.
async fn slow(place: &str) -> (TestService, PostgresProxy, String) {
    let mut service = TestService::builder().build().await;
    let proxy = PostgresProxy::of(&service.database).await;
    service.configure("DATABASE__URL", proxy.url());
    service.node(Role::All).await;
    let key = service.key("send,devices").await;
    sqlx::raw_sql(AssertSqlSafe(format!("{SLOW}; {place}"))).execute(&service.database.pool).await.unwrap();
    (service, proxy, key)
}

/// Cuts all connections once something sleeps, which does not notice. New ones work.
async fn cut(service: &TestService, proxy: &PostgresProxy) {
    service.database.until_count(SLEEPING, 1).await;
    cut_all(service, proxy).await;
}

async fn cut_all(service: &TestService, proxy: &PostgresProxy) {
    proxy.set_away(true);
    service.database.until_count(OTHERS, 0).await;
    proxy.set_away(false);
}

fn notification() -> Value {
    json!({"to": {"tokens": [{"platform": "fcm", "token": "f1"}]}, "title": "A"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_with_a_running_transaction_is_stored_and_sent_once() {
    let (service, proxy, key) = slow(NOTIFICATIONS).await;
    let post = ApiRequest::post(SEND, &notification()).key(&key);
    let (answer, ()) = tokio::join!(post.of(&service), cut(&service, &proxy));
    assert_eq!(answer.status, 202, "{answer:?}");
    service.notifications().until_done(answer.body["id"].as_str().unwrap()).await;
    assert_eq!(service.database.count("select count(*) from notifications").await, 1);
    assert_eq!(service.database.count(SLEEPING).await, 0, "the first transaction has ended");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_after_a_lost_answer_sends_nothing_twice() {
    // The statement was not carried out; it was, and its answer did not come.
    for place in [NOTIFICATIONS, COMMITTING_KEYS] {
        let (service, proxy, key) = slow(place).await;
        let post = ApiRequest::post(SEND, &notification()).key(&key).header("idempotency-key", "k");
        let (answer, ()) = tokio::join!(post.clone().of(&service), cut(&service, &proxy));
        assert_eq!(answer.status, 202, "{answer:?}");
        let repeated = post.of(&service).await;
        assert_eq!((repeated.status.as_u16(), &repeated.bytes), (202, &answer.bytes));
        assert_eq!(repeated.headers["idempotent-replayed"], "true");
        service.notifications().until_done(answer.body["id"].as_str().unwrap()).await;
        assert_eq!(service.database.count("select count(*) from notifications").await, 1);
        assert_eq!(service.database.count(SLEEPING).await, 0, "the first transaction has ended");
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_after_an_unknown_outcome_sends_nothing_twice() {
    let (service, proxy, key) = slow(NOTIFICATIONS).await;
    let post = ApiRequest::post(SEND, &notification()).key(&key).header("idempotency-key", "k");
    let (answer, pid) = tokio::join!(post.clone().of(&service), cut_and_stop(&service, &proxy));
    assert_problem(&answer, 503, "outcome_unknown", &json!([]));
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.ends_with("twice, unless both requests have the same idempotency key."), "{detail}");
    // The first transaction still holds the key.
    assert_problem(&post.clone().of(&service).await, 409, "idempotency_key_in_use", &json!([]));
    signal("-CONT", pid).await;
    service.database.until_count(SLEEPING, 0).await;
    let repeated = post.clone().of(&service).await;
    assert_eq!(repeated.status, 202, "{repeated:?}");
    assert_eq!(post.of(&service).await.bytes, repeated.bytes);
    service.notifications().until_done(repeated.body["id"].as_str().unwrap()).await;
    assert_eq!(service.database.count("select count(*) from notifications").await, 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_write_with_a_running_commit_never_takes_effect() {
    let device = json!({"platform": "fcm", "token": "f1"});
    let (service, proxy, key) = slow(REGISTRATIONS).await;
    let put = ApiRequest::put(DEVICES, &device).key(&key);
    let (answer, ()) = tokio::join!(put.of(&service), cut(&service, &proxy));
    assert_problem(&answer, 503, "unavailable", &json!([]));
    assert_eq!(service.database.count("select count(*) from devices").await, 0);
    assert_eq!(service.database.count(SLEEPING).await, 0, "its transaction has ended");
    assert_eq!(ApiRequest::put(DEVICES, &device).key(&key).of(&service).await.status, 201);
    service.stop_undecided().await;

    let (service, proxy, key) = slow(REMOVALS).await;
    let registered = ApiRequest::put(DEVICES, &device).key(&key).of(&service).await;
    let path = format!("{DEVICES}/{}", registered.body["id"].as_str().unwrap());
    let delete = ApiRequest::new(Method::DELETE, &path).key(&key);
    let (answer, ()) = tokio::join!(delete.of(&service), cut(&service, &proxy));
    assert_problem(&answer, 503, "unavailable", &json!([]));
    assert_eq!(service.database.count("select count(*) from devices").await, 1);
    assert_eq!(ApiRequest::new(Method::DELETE, &path).key(&key).of(&service).await.status, 204);
    service.stop_undecided().await;
}

/// The server's process is stopped, so that it can't be ended either.
async fn cut_and_stop(service: &TestService, proxy: &PostgresProxy) -> u32 {
    service.database.until_count(SLEEPING, 1).await;
    let pid = service.database.count(&SLEEPING.replace("count(*)", "pid::bigint")).await;
    let pid = u32::try_from(pid).unwrap();
    signal("-STOP", pid).await;
    cut_all(service, proxy).await;
    pid
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_commit_is_reported_with_what_a_repeat_does() {
    for (place, path, body, repeat) in [
        (NOTIFICATIONS, SEND, notification(), "A repeat may send the notification twice, unless"),
        (REGISTRATIONS, DEVICES, json!({"platform": "fcm", "token": "f1"}), "may be repeated"),
    ] {
        let (service, proxy, key) = slow(place).await;
        let ask = if path == SEND { ApiRequest::post(path, &body) } else { ApiRequest::put(path, &body) };
        let ask = ask.key(&key);
        let (answer, pid) = tokio::join!(ask.of(&service), cut_and_stop(&service, &proxy));
        signal("-CONT", pid).await;
        assert_problem(&answer, 503, "outcome_unknown", &json!([]));
        assert!(answer.body["detail"].as_str().unwrap().contains(repeat), "{answer:?}");
        assert!(answer.headers.contains_key("retry-after"));
        service.database.until_count(SLEEPING, 0).await;
        service.stop_undecided().await;
    }
}
