//! Topics are created with their first subscriber and deleted with their last; devices and apps have limits.

use pushpost_testkit::json::assert_has;
use std::time::Duration;

use http::{Method, StatusCode};
use pushpost::maintenance;
use pushpost::queue::node_lease::NodeLease;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use pushpost_testkit::answer::Answer;
use pushpost_testkit::api::{ApiClient, TestApi};
use pushpost_testkit::apps::kept;

const PUT: &str = "/v1/devices";

fn phone(token: &str, topics: &[&str]) -> Value {
    json!({"platform": "fcm", "token": token, "topics": topics})
}

/// Names of topics: `t0` and so on.
fn names(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("t{number}")).collect()
}

async fn put(client: &ApiClient<'_>, token: &str, topics: &[String]) -> Answer {
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    client.put(PUT, phone(token, &topics)).await
}

async fn registered(client: &ApiClient<'_>, token: &str, topics: &[String]) -> Value {
    let answer = put(client, token, topics).await;
    assert!(answer.status.is_success(), "{answer:?}");
    answer.body
}

/// The names of all topics, which are as many as their count says.
async fn topics(service: &TestApi) -> Vec<String> {
    let sql = "select array(select name from topics order by name collate \"C\"),
                      (select sum(topic_count) from apps)";
    let (names, count): (Vec<String>, i64) =
        sqlx::query_as(sql).fetch_one(&service.database.pool).await.unwrap();
    assert_eq!(count, names.len() as i64, "{names:?}");
    names
}

#[track_caller]
fn assert_too_many(answer: &Answer, limit: u64) {
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
    let errors = json!([{"pointer": "#/topics", "code": "too_many_topics", "limit": limit}]);
    assert_has(&answer.body, &json!({"code": "unprocessable", "errors": errors}));
}

#[tokio::test]
async fn a_topic_goes_with_its_last_subscriber() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let id = |body: &Value| body["id"].as_str().unwrap().to_owned();
    let f1 = id(&registered(&backend, "f1", &names(0..4)).await);
    let f2 = id(&registered(&backend, "f2", &names(3..5)).await);
    registered(&backend, "f3", &names(5..6)).await;
    assert_eq!(topics(&service).await, names(0..6));
    registered(&backend, "f1", &names(1..4)).await;
    assert_eq!(topics(&service).await, names(1..6), "by a registration");
    let patched = backend.json(Method::PATCH, &format!("{PUT}/{f1}"), json!({"topics": ["t2", "t3"]})).await;
    assert_eq!(patched.status, 200);
    assert_eq!(topics(&service).await, names(2..6), "by a description");
    backend.ask(Method::DELETE, &format!("{PUT}/{f1}")).await;
    assert_eq!(topics(&service).await, names(3..6), "with a device; f2 still has one of its topics");
    backend.post(&format!("{PUT}/unregister"), json!({"platform": "fcm", "token": "f3"})).await;
    assert_eq!(topics(&service).await, names(3..5), "with an app");
    let line = phone("f2", &[]);
    backend.import("", format!("{line}\n")).await;
    assert_eq!(topics(&service).await, Vec::<String>::new(), "by an import");
    backend.ask(Method::DELETE, &format!("{PUT}/{f2}")).await;
}

#[tokio::test]
async fn an_app_has_no_more_topics_than_it_may() {
    let service = TestApi::start_with(|app| app.topics_max = 10).await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    registered(&backend, "f1", &names(0..7)).await;

    // 80 % for publishable keys: the phone is registered, topics that there are count for nothing.
    let mixed = registered(&app, "f2", &[names(0..1), names(7..10)].concat()).await;
    assert_eq!(mixed["topics"], json!(["t0", "t7"]));
    let left_out = |place: &str| json!({"pointer": place, "reason": "too_many_topics"});
    assert_eq!(mixed["ignored"], json!([left_out("#/topics/2"), left_out("#/topics/3")]));
    assert_eq!(topics(&service).await, names(0..8));

    // All of it for backends.
    registered(&backend, "f3", &names(8..10)).await;
    assert_too_many(&put(&backend, "f4", &names(9..11)).await, 10);
    assert_eq!(put(&backend, "f4", &[]).await.status, 201, "nothing was stored");
    let id = registered(&backend, "f4", &[]).await["id"].as_str().unwrap().to_owned();
    let patched = backend.json(Method::PATCH, &format!("{PUT}/{id}"), json!({"topics": ["x"]})).await;
    assert_too_many(&patched, 10);
    registered(&backend, "f3", &["x".to_owned(), "y".to_owned()]).await;
    assert_eq!(topics(&service).await.len(), 10, "what goes makes room for what comes");
    registered(&backend, "f1", &names(1..2)).await;
    registered(&app, "f5", &["z".to_owned()]).await;
    assert_eq!(topics(&service).await, ["t0", "t1", "t7", "x", "y", "z"]);
}

#[tokio::test]
async fn a_line_of_an_import_with_a_topic_too_many_fails_alone() {
    let service = TestApi::start_with(|app| app.topics_max = 10).await;
    let backend = service.client("devices").await;
    let lines = (0..40).map(|n| phone(&format!("f{n}"), &["all", &format!("t{}", n % 20)]));
    let answer = backend.import("", lines.map(|line| format!("{line}\n")).collect::<String>()).await;
    // Nine topics beside `all`, each of two lines.
    assert_has(&answer.body, &json!({"lines": 40, "created": 18, "failed": 22}));
    assert_has(
        &answer.body["errors"][0]["problem"],
        &json!({"errors": [{"code": "too_many_topics", "limit": 10}]}),
    );
    assert_eq!(topics(&service).await.len(), 10);
}

#[tokio::test]
async fn a_publishable_key_names_at_most_a_hundred_open_topics_of_a_device() {
    let service = TestApi::start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    assert_eq!(put(&app, "f1", &names(0..100)).await.status, 201);
    assert_too_many(&put(&app, "f1", &names(0..101)).await, 100);
    assert_eq!(put(&backend, "f2", &names(0..500)).await.status, 201);
    // Nor does it take more over.
    let heir = app.put(PUT, json!({"platform": "fcm", "token": "f3", "replaces": "f2"})).await;
    assert_eq!(heir.body["topics"].as_array().unwrap().len(), 100);
    assert_eq!(heir.body["ignored"], json!([{"pointer": "#/replaces", "reason": "too_many_topics"}]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imports_and_registrations_at_once_keep_to_the_limit_and_the_count() {
    let service = TestApi::start_with(|app| app.topics_max = 50).await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let import = async |first: usize| {
        for round in 0..4 {
            let lines = (0..30).map(|n| {
                let name = format!("t{}", (first + n + 7 * round) % 70);
                let topics = if n % 3 == round % 3 { vec![] } else { vec!["all", &name] };
                format!("{}\n", phone(&format!("f{first}-{n}"), &topics))
            });
            let answer = backend.import("", lines.collect::<String>()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    };
    let register = async |first: usize| {
        for n in 0..40 {
            let topics = [format!("t{}", (first + n) % 70), format!("p{}", n % 9)];
            let topics = if n % 4 == 3 { &[][..] } else { &topics[..] };
            registered(&app, &format!("p{first}-{}", n % 5), topics).await;
        }
    };
    tokio::join!(import(0), import(20), import(45), register(5), register(30), register(60));
    assert!(topics(&service).await.len() <= 50);

    // What two of them emptied at once is left to the leader.
    let pool = &service.database.pool;
    let node_lease = NodeLease::register(
        pool,
        pushpost::store::nodes::NodeDescription::of_this_program("leader"),
        Duration::from_secs(15),
    )
    .await
    .unwrap();
    let settings = maintenance::Settings {
        pool: pool.clone(),
        node_lease: node_lease.into(),
        retention: kept(30),
        apps: std::sync::Arc::default(),
    };
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    tasks.spawn(maintenance::run(settings, stop.clone()));
    let empty = "select count(*) from topics where topic_id not in (select topic_id from subscriptions)";
    let cleaned = async {
        while sqlx::query_scalar::<_, i64>(empty).fetch_one(pool).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), cleaned).await.unwrap();
    topics(&service).await;
}

#[tokio::test]
async fn ids_of_topics_do_not_run_out() {
    let service = TestApi::start().await;
    let sql = "select format_type(seqtypid, null) from pg_sequence
               where seqrelid = pg_get_serial_sequence('topics', 'topic_id')::regclass";
    let kind: String = sqlx::query_scalar(sql).fetch_one(&service.database.pool).await.unwrap();
    assert_eq!(kind, "bigint");
}
