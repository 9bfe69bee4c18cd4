//! 413, 414, 429, 431 and 503: requests beyond a limit; each answer names the limit.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::json::assert_problem;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};

use pushpost_testkit::answer::Answer;
use pushpost_testkit::request::{ApiRequest, DEVICES, SEND, service_without_workers, stored};
use pushpost_testkit::wait::WAIT_MAX;

fn to(tokens: std::ops::Range<usize>) -> Value {
    let tokens: Vec<_> = tokens.map(|n| json!({"platform": "fcm", "token": format!("f{n}")})).collect();
    json!({"to": {"tokens": tokens}, "title": "A"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_beyond_a_limit_is_refused() {
    let service = service_without_workers(&[("LIMITS__BODY_BYTES", "1000000")]).await;
    let s = service.key("send,devices").await;
    let before = stored(&service).await;
    let large = [&br#"{"to":{"users":["u"]},"title":""#[..], &b"x".repeat(1_000_000)].concat();
    let answer = ApiRequest::json(Method::POST, SEND, large).key(&s).of(&service).await;
    assert_problem(&answer, 413, "body_too_large", &json!([]));
    assert_eq!(answer.body["limit"], 1_000_000);

    // Not read any further, so that its other faults cost nothing.
    let users = |count: usize| json!({"to": {"users": vec![""; count]}, "title": "A"});
    let answer = ApiRequest::post(SEND, &users(10_001)).key(&s).of(&service).await;
    assert_problem(&answer, 413, "too_many_targets", &json!([]));
    assert_eq!(answer.body["limit"], 10_000);
    let many = ApiRequest::post(SEND, &users(10_000)).key(&s).of(&service).await;
    assert_eq!(
        (many.status.as_u16(), many.body["errors"].as_array().unwrap().len()),
        (422, 1000),
        "the first thousand"
    );

    let tokens = json!({"tokens": vec![json!({"platform": "fcm"}); 1001]});
    let answer = ApiRequest::post("/v1/devices/lookup", &tokens).key(&s).of(&service).await;
    assert_problem(&answer, 413, "too_many_items", &json!([]));
    assert_eq!(answer.body["limit"], 1000);

    let long = format!("{DEVICES}?user={}", "x".repeat(9_000));
    let answer = ApiRequest::get(&long).key(&s).of(&service).await;
    assert_problem(&answer, 414, "url_too_long", &json!([]));
    assert_eq!(answer.body["limit"], 8192);
    let answer = ApiRequest::get(DEVICES).key(&s).header("x-large", &"x".repeat(17_000)).of(&service).await;
    assert_problem(&answer, 431, "headers_too_large", &json!([]));
    assert_eq!(answer.body["limit"], 16_384);
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_about_one_device_has_a_limit_of_its_own() {
    let service = service_without_workers(&[]).await;
    let (s, p) = (service.key("devices").await, service.key("register").await);
    let made =
        ApiRequest::put(DEVICES, &json!({"platform": "fcm", "token": "f1"})).key(&s).of(&service).await;
    let device = format!("{DEVICES}/{}", made.body["id"].as_str().unwrap());
    let before = stored(&service).await;
    let padded = |body: &str, bytes: usize| format!("{body}{}", " ".repeat(bytes - body.len()));
    let body = r#"{"platform":"fcm","token":"f2"}"#;
    for (method, path, key, body, fits) in [
        (Method::PUT, DEVICES, &p, r#"{"platform":"fcm","token":"?? "}"#, 422),
        (Method::PATCH, device.as_str(), &s, "{}", 200),
        (Method::POST, "/v1/devices/unregister", &p, body, 204),
    ] {
        let large =
            ApiRequest::json(method.clone(), path, padded(body, (256 << 10) + 1)).key(key).of(&service).await;
        assert_problem(&large, 413, "body_too_large", &json!([]));
        assert_eq!(large.body["limit"], 262_144, "{method} {path}");
        let answer =
            ApiRequest::json(method.clone(), path, padded(body, 256 << 10)).key(key).of(&service).await;
        assert_eq!(answer.status, fits, "{method} {path}: {answer:?}");
    }
    let tokens = padded(r#"{"tokens":[]}"#, 1 << 20);
    let lookup = |key| ApiRequest::json(Method::POST, "/v1/devices/lookup", tokens.clone()).key(key);
    assert_eq!(lookup(&s).of(&service).await.status, 200, "a look-up is about many");
    assert_problem(&lookup(&p).of(&service).await, 403, "missing_scope", &json!([]));
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exceptions_count_as_targets() {
    let service = service_without_workers(&[("LIMITS__TARGETS", "10")]).await;
    let s = service.key("send").await;
    let before = stored(&service).await;
    let names = |count: usize| (0..count).map(|n| format!("u{n}")).collect::<Vec<_>>();
    let to = |except: Value| json!({"to": {"users": names(4), "except": except}, "title": "A"});
    for except in [
        json!({"users": names(7)}),
        json!({"devices": vec!["dev_x"; 7]}),
        json!({"users": names(3), "devices": vec!["dev_x"; 3], "topics": ["news"]}),
    ] {
        let answer = ApiRequest::post(SEND, &to(except)).key(&s).of(&service).await;
        assert_problem(&answer, 413, "too_many_targets", &json!([]));
        assert_eq!(answer.body["limit"], 10);
    }
    assert_eq!(stored(&service).await, before);
    let fits = to(json!({"users": names(3), "devices": vec!["dev_x"; 3]}));
    assert_eq!(ApiRequest::post(SEND, &fits).key(&s).of(&service).await.status, 202);
    service.stop_undecided().await;
}

/// The seconds after which the client is to come again.
#[track_caller]
fn assert_rate_limited(answer: &Answer, limit: u32, per: &str) -> u64 {
    assert_problem(answer, 429, "rate_limited", &json!([]));
    assert_eq!((&answer.body["limit"], &answer.body["per"]), (&json!(limit), &json!(per)));
    answer.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_is_rate_limited_by_its_key() {
    let service = std::sync::Arc::new(service_without_workers(&[("LIMITS__REQUESTS_PER_SECOND", "3")]).await);
    let (hasty, patient) = (service.key("devices").await, service.key("devices").await);
    let mut asked = JoinSet::new();
    for _ in 0..60 {
        let (service, hasty) = (std::sync::Arc::clone(&service), hasty.clone());
        asked.spawn(async move { ApiRequest::get(DEVICES).key(&hasty).of(&service).await });
    }
    let answers = asked.join_all().await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!((1..=57).contains(&refused.len()), "{} of 60", refused.len());
    for answer in refused {
        assert_eq!(assert_rate_limited(answer, 3, "key"), 1);
    }
    assert_eq!(ApiRequest::get(DEVICES).key(&patient).of(&service).await.status, 200, "each key for itself");
    std::sync::Arc::into_inner(service).unwrap().stop_undecided().await;
}

async fn put(service: &pushpost_testkit::service::TestService, p: &str, token: &str, from: &str) -> Answer {
    let ask = ApiRequest::put(DEVICES, &json!({"platform": "fcm", "token": token})).key(p);
    ask.header("x-forwarded-for", from).of(service).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishable_keys_are_rate_limited_by_the_real_address() {
    let service = service_without_workers(&[("LIMITS__REGISTER_PER_MINUTE", "2")]).await;
    let (p, s) = (service.key("register").await, service.key("devices").await);
    for n in 0..2 {
        let answer = put(&service, &p, &format!("f{n}"), &format!("192.0.2.{n}")).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let before = stored(&service).await;
    let answer = put(&service, &p, "f2", "192.0.2.2").await;
    assert!((1..=60).contains(&assert_rate_limited(&answer, 2, "address")));
    let unregister = ApiRequest::post("/v1/devices/unregister", &json!({"platform": "fcm", "token": "f1"}));
    assert_rate_limited(&unregister.key(&p).of(&service).await, 2, "address");
    assert_eq!(stored(&service).await, before);
    for _ in 0..5 {
        let answer = put(&service, &s, "f3", "192.0.2.2").await;
        assert!(answer.status.is_success(), "a backend is not held back: {answer:?}");
    }
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_trusted_proxy_each_client_counts_and_each_token() {
    let service = service_without_workers(&[
        ("LIMITS__REGISTER_PER_MINUTE", "2"),
        ("SERVER__TRUSTED_PROXIES", "127.0.0.0/8"),
    ])
    .await;
    let p = service.key("register").await;
    for n in 0..2 {
        let forged = format!("203.0.113.{n}, 198.51.100.7");
        assert_eq!(put(&service, &p, &format!("f{n}"), &forged).await.status, 201);
    }
    assert_rate_limited(&put(&service, &p, "f2", "203.0.113.9, 198.51.100.7").await, 2, "address");
    assert_eq!(put(&service, &p, "f2", "198.51.100.8").await.status, 201);
    // All of 2001:db8:1:2::/64 is one client.
    for n in 0..2 {
        assert_eq!(put(&service, &p, &format!("g{n}"), &format!("2001:db8:1:2::{n}")).await.status, 201);
    }
    assert_rate_limited(&put(&service, &p, "g2", "2001:db8:1:2:3::4").await, 2, "address");
    assert_eq!(put(&service, &p, "g2", "2001:db8:1:3::1").await.status, 201);
    // A token from here, there and everywhere.
    assert_eq!(put(&service, &p, "f0", "198.51.100.20").await.status, 200);
    assert_rate_limited(&put(&service, &p, "f0", "198.51.100.21").await, 2, "token");
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_backlog_refuses_notifications() {
    let mut service = service_without_workers(&[("LIMITS__MAX_PENDING", "5")]).await;
    let s = service.key("send").await;
    assert_eq!(ApiRequest::post(SEND, &to(0..3)).key(&s).of(&service).await.status, 202);
    assert_eq!(ApiRequest::post(SEND, &to(3..5)).key(&s).of(&service).await.status, 202);
    let before = stored(&service).await;
    for _ in 0..3 {
        let answer = ApiRequest::post(SEND, &to(5..6)).key(&s).of(&service).await;
        assert_problem(&answer, 503, "queue_full", &json!([]));
        assert_eq!(answer.body["limit"], 5);
        assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    }
    assert_eq!(stored(&service).await, before, "not even the token's device");
    service.node(Role::Worker).await;
    let until = Instant::now() + WAIT_MAX;
    while ApiRequest::post(SEND, &to(5..6)).key(&s).of(&service).await.status != 202 {
        assert!(Instant::now() < until, "what was sent waits no more");
        sleep(Duration::from_millis(50)).await;
    }
    service.database.until_count("select count(*) from jobs", 0).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_keys_are_rate_limited_and_delay_no_known_key() {
    let service = service_without_workers(&[("SERVER__TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let s = service.key("devices").await;
    let ask = async |secret: &str, from: &str| {
        ApiRequest::get(DEVICES).key(secret).header("x-forwarded-for", from).of(&service).await
    };
    assert_eq!(ask(&s, "192.0.2.1").await.status, 200);
    let guess = |n: usize| format!("pushpost_sk_{n:064x}");
    let mut refused = None;
    for n in 0..61 {
        let answer = ask(&guess(n), "192.0.2.1").await;
        match n < 60 {
            true => assert_problem(&answer, 401, "unauthenticated", &json!([])),
            false => refused = Some(answer),
        }
    }
    assert!((1..=60).contains(&assert_rate_limited(&refused.unwrap(), 60, "address")));
    assert_eq!(ask(&s, "192.0.2.1").await.status, 200, "a key that is known");
    assert_eq!(ask(&guess(0), "192.0.2.1").await.status, 401, "a guess that is remembered");
    assert_eq!(ask(&guess(99), "192.0.2.2").await.status, 401, "another client");
    service.stop_undecided().await;
}

/// A burst of requests with a key that is new to the node is no burst of guesses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_once_with_a_new_key_share_its_look_up() {
    let service = std::sync::Arc::new(service_without_workers(&[]).await);
    let (s, bad) = (service.key("devices").await, format!("pushpost_sk_{}", "0b".repeat(32)));
    let mut asked = JoinSet::new();
    for (secret, status) in [(&s, 200), (&bad, 401)].into_iter().cycle().take(300) {
        let (service, secret) = (std::sync::Arc::clone(&service), secret.clone());
        asked.spawn(async move { (ApiRequest::get(DEVICES).key(&secret).of(&service).await.status, status) });
    }
    for (found, expected) in asked.join_all().await {
        assert_eq!(found, expected);
    }
    std::sync::Arc::into_inner(service).unwrap().stop_undecided().await;
}
