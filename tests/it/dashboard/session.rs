//! Logging in and out, and what the cookie is.

use pushpost::domain::{AppId, InstallationKey, KeyId};
use pushpost::runtime::Role;
use pushpost::store;
use pushpost_testkit::json::assert_problem;
use pushpost_testkit::processes::TestProcess;
use pushpost_testkit::request::service_without_workers;
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::{until, until_some};
use serde_json::{Value, json};

use super::{Browser, SESSION, apps_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_logs_in_and_the_cookie_is_for_the_dashboard_alone() {
    let service = service_without_workers(&[]).await;
    let admin = service.key("admin").await;
    let mut browser = Browser::of(&service);
    assert_problem(&browser.get(SESSION).await, 401, "unauthenticated", &json!([]));
    let answer = browser.log_in(&admin).await;
    let set = answer.headers["set-cookie"].to_str().unwrap();
    let (value, attributes) = set.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/dashboard; Max-Age=43200; HttpOnly; SameSite=Strict");
    assert!(!value.contains(&admin[12..40]), "the cookie does not hold the key");
    assert_eq!(apps_of(&answer.body), [("shop", true)]);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&answer.body["version"], &answer.body["apps"][0]["name"]), (&json!(version), &Value::Null));
    assert!(answer.body["node"].as_str().unwrap().contains('-'), "{answer:?}");
    let shown = browser.get(SESSION).await;
    assert_eq!((shown.status.as_u16(), &shown.body), (200, &answer.body));

    let ended = browser.ask(http::Method::DELETE, SESSION, None).await;
    assert_eq!(ended.status, 204);
    let cleared = ended.headers["set-cookie"].to_str().unwrap();
    assert_eq!(cleared, "pushpost_session=; Path=/dashboard; Max-Age=0; HttpOnly; SameSite=Strict");
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_keys_for_people_log_in() {
    let service = service_without_workers(&[]).await;
    let phone = service.key("register").await;
    let (sender, devices) = (service.key("send").await, service.key("devices").await);
    let unknown = format!("pushpost_sk_{}", "0a".repeat(32));
    for (secret, status, code) in [
        (&*phone, 403, "missing_scope"),
        (&sender, 403, "missing_scope"),
        (&devices, 403, "missing_scope"),
        (&unknown, 401, "unauthenticated"),
    ] {
        // A browser of its own address would be refused for its tries.
        let answer = Browser::of(&service).log_in(secret).await;
        assert_problem(&answer, status, code, &json!([]));
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    let form =
        Browser::of(&service).ask(http::Method::POST, SESSION, Some(json!({"key": 7, "kez": 1}))).await;
    assert_eq!((form.status.as_u16(), form.body["errors"].as_array().unwrap().len()), (400, 2), "{form:?}");
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sixth_try_in_a_minute_from_one_address_is_refused() {
    let trusted = [("SERVER__TRUSTED_PROXIES", "127.0.0.1")];
    let service = service_without_workers(&trusted).await;
    let admin = service.key("admin").await;
    let from = |address: &str| Browser::of(&service).sends("x-forwarded-for", address);
    for _ in 0..5 {
        let answer = from("198.51.100.1").log_in("pushpost_sk_").await;
        assert_eq!(answer.status, 401);
    }
    let sixth = from("198.51.100.1").log_in(&admin).await;
    assert_eq!((sixth.status.as_u16(), &sixth.body["code"]), (429, &json!("rate_limited")));
    let wait: u64 = sixth.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait) && sixth.body["limit"] == 5, "{sixth:?}");
    assert_eq!(from("198.51.100.2").log_in(&admin).await.status, 200, "another address has tries of its own");
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_has_an_app_per_key_and_a_call_chooses_one() {
    let mut service = TestService::builder().app("other").build().await;
    service.node(Role::Api).await;
    let other = service.key_of("other", "admin").await;
    let reader = service.key("read").await;
    let mut browser = Browser::with_key(&service, &service.key("admin").await).await;
    let both = browser.log_in(&other).await;
    assert_eq!(apps_of(&both.body), [("shop", true), ("other", true)]);
    let lanes = |answer: &Value| answer["items"].as_array().unwrap().len();
    for (path, app, count) in [
        ("/dashboard/api/admin/lanes", "", 3),
        ("/dashboard/api/admin/lanes?app=shop", "", 3),
        ("/dashboard/api/admin/lanes?app=other", "", 0),
        ("/dashboard/api/admin/lanes", "other", 0),
        ("/dashboard/api/admin/lanes?app=other", "shop", 3),
    ] {
        let answer = browser.sends("x-pushpost-app", app).get(path).await;
        assert_eq!((answer.status.as_u16(), lanes(&answer.body)), (200, count), "{path} {app}");
    }
    let none = browser.get("/dashboard/api/admin/lanes?app=third").await;
    assert_problem(&none, 401, "unauthenticated", &json!([]));
    for unknown in ["third", "sh\u{f6}p", "\u{1f514}"] {
        let none = browser.sends("x-pushpost-app", unknown).get("/dashboard/api/admin/lanes").await;
        assert_problem(&none, 401, "unauthenticated", &json!([]));
    }
    // Another key of the same app takes the place of the first.
    let again = browser.log_in(&reader).await;
    assert_eq!(apps_of(&again.body), [("other", true), ("shop", false)]);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_that_this_installation_did_not_seal_or_that_has_ended_is_none() {
    let service = service_without_workers(&[]).await;
    let admin = service.key("admin").await;
    let mut browser = Browser::with_key(&service, &admin).await;
    let cookie = browser.cookie.clone().unwrap();
    let app: i16 = sqlx::query_scalar("select app_id from apps where name = 'shop'")
        .fetch_one(&service.database.pool)
        .await
        .unwrap();
    let id: uuid::Uuid =
        sqlx::query_scalar("select key_id from api_keys where scopes = 16 order by created_at desc limit 1")
            .fetch_one(&service.database.pool)
            .await
            .unwrap();
    let mut conn = service.database.pool.acquire().await.unwrap();
    let installation = store::apps::installation_key(&mut conn).await.unwrap();
    drop(conn);
    // As the service seals it: app, key, and the end in seconds.
    let sealed = |key: &InstallationKey, purpose: &[u8], seconds: i64| {
        let ends_at = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
        let (app, key_id) = (AppId(app), KeyId(id));
        let plain =
            [&app.0.to_be_bytes()[..], key_id.0.as_bytes(), &ends_at.timestamp().to_be_bytes()].concat();
        format!("pushpost_session={}", key.seal(purpose, &plain))
    };
    let now = service.database.now_ms().await / 1000;
    let purpose = b"dashboard session 1";
    let mut changed = cookie.clone().into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    for (what, cookie, status) in [
        ("as it is", cookie.clone(), 200),
        ("sealed here", sealed(&installation, purpose, now + 60), 200),
        ("ended", sealed(&installation, purpose, now - 1), 401),
        ("changed", String::from_utf8(changed).unwrap(), 401),
        ("cut off", cookie[..cookie.len() - 3].to_owned(), 401),
        ("of another installation", sealed(&InstallationKey::new([7; 32]), purpose, now + 60), 401),
        ("for another purpose", sealed(&installation, b"cursor", now + 60), 401),
        ("a key", format!("pushpost_session={admin}"), 401),
    ] {
        browser.cookie = Some(cookie);
        for path in [SESSION, "/dashboard/api/admin/lanes"] {
            assert_eq!(browser.get(path).await.status, status, "{what}: {path}");
        }
    }
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_holds_on_every_node_until_its_key_is_revoked() {
    let service = TestService::builder().node(Role::Api).node(Role::Api).build().await;
    let browser = Browser::with_key(&service, &service.key("admin").await).await;
    let mut second = Browser::at(service.node_url(1, ""));
    second.cookie = browser.cookie.clone();
    for browser in [&browser, &second] {
        assert_eq!(browser.get("/dashboard/api/admin/lanes").await.status, 200);
    }
    service.database.execute("update api_keys set revoked_at = now()").await;
    assert_eq!(second.get(SESSION).await.status, 401, "the session is looked up at once");
    for browser in [&browser, &second] {
        until("calls are refused", async || browser.get("/dashboard/api/admin/lanes").await.status == 401)
            .await;
    }
    service.stop_undecided().await;
}

/// How many lines of the audit have this result, and how many lines they say were left out.
fn lines_and_suppressed(audit: &[Value], result: &str) -> (u64, u64) {
    let of_result: Vec<_> = audit.iter().filter(|line| line["result"] == result).collect();
    assert!(of_result.iter().all(|line| line["key"] == "unknown" && line.get("app").is_none()), "{audit:#?}");
    let suppressed = of_result.iter().filter_map(|line| line["suppressed"].as_u64()).sum();
    (of_result.len() as u64, suppressed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_without_an_operators_key_are_few_lines_of_the_audit_and_no_events() {
    const TRIES: u64 = 60;
    let mut process = TestProcess::create().await;
    process.variable("PUSHPOST__SERVER__TRUSTED_PROXIES", "127.0.0.1");
    process.variable("PUSHPOST_LOG_FORMAT", "json");
    process.serve().await;
    let (phone, admin) = (process.key("register").await, process.key("admin").await);
    let from =
        |host: u64| Browser::at(process.url("")).sends("x-forwarded-for", &format!("198.51.100.{host}"));
    for host in 0..TRIES {
        assert_eq!(from(host).log_in(&phone).await.status, 403, "each address has tries of its own");
        assert_eq!(from(host).log_in("pushpost_sk_x").await.status, 401);
        assert_eq!(from(host).sends("origin", "https://evil.example").log_in(&phone).await.status, 403);
    }
    let post = http::Method::POST;
    assert_eq!(process.ask(post.clone(), "/v1/admin/lanes/fcm/pause", &phone, None).await.status, 403);
    assert_eq!(process.ask(post, "/v1/admin/lanes/fcm/resume", &admin, None).await.status, 200);
    let told = until_some("the action of the operator is told", async || {
        let page = process.ask(http::Method::GET, "/v1/events?type=admin.action", &admin, None).await;
        let actions: Vec<_> = page.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["data"]["action"].clone())
            .collect();
        actions.contains(&json!("lane.resume")).then_some(actions)
    })
    .await;
    assert!(!told.contains(&json!("session.start")) && !told.contains(&json!("lane.pause")), "{told:?}");
    assert!(process.stop().await.success());
    let log = process.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let audit: Vec<Value> = lines.filter(|line| line["action"] == "session.start").collect();
    for result in ["missing_scope", "unauthenticated", "cross_site"] {
        let (written, suppressed) = lines_and_suppressed(&audit, result);
        assert_eq!(written + suppressed, TRIES, "{result}: {audit:#?}");
        assert!(suppressed > 0, "{result}: {audit:#?}");
    }
    assert!(!log.contains("lane.pause"), "a phone's key is no operator's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_and_changes_are_in_the_audit_with_key_and_address() {
    let mut process = TestProcess::create().await;
    process.variable("PUSHPOST__SERVER__TRUSTED_PROXIES", "127.0.0.1");
    process.variable("PUSHPOST_LOG_FORMAT", "json");
    process.serve().await;
    let (admin, reader) = (process.key("admin").await, process.key("read").await);
    let at = || Browser::at(process.url("")).sends("x-forwarded-for", "198.51.100.7");
    let (mut operator, mut guest) = (at(), at());
    assert_eq!(guest.log_in("pushpost_sk_x").await.status, 401);
    assert_eq!(guest.log_in(&reader).await.status, 200);
    let first = operator.log_in(&admin).await;
    let key = first.body["apps"][0]["key"].as_str().unwrap().to_owned();
    assert_eq!(operator.post("/dashboard/api/admin/lanes/fcm/pause").await.status, 200);
    assert_eq!(
        operator.ask(http::Method::DELETE, "/dashboard/api/notifications/ntf_x", None).await.status,
        404
    );
    assert_eq!(guest.post("/dashboard/api/admin/lanes/fcm/resume").await.status, 403);
    assert_eq!(operator.ask(http::Method::DELETE, SESSION, None).await.status, 204);
    assert!(process.stop().await.success());
    let log = process.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let audit: Vec<Value> =
        lines.filter(|line| line["target"] == "pushpost::audit" && line["via"] == "dashboard").collect();
    let told: Vec<_> = audit.iter().map(|line| [&line["action"], &line["object"], &line["result"]]).collect();
    let expected = [
        ["session.start", "", "unauthenticated"],
        ["session.start", "", "done"],
        ["session.start", "", "done"],
        ["lane.pause", "fcm", "done"],
        ["notification.cancel", "ntf_x", "not_found"],
        ["lane.resume", "fcm", "missing_scope"],
        ["session.end", "", "done"],
    ];
    assert_eq!(
        told,
        expected.map(|line| line.map(Value::from)).each_ref().map(|line| line.each_ref()),
        "{audit:#?}"
    );
    assert_eq!(audit[0]["key"], "unknown");
    assert!(
        audit[2..5].iter().all(|line| line["key"] == key.as_str() && line["app"] == "shop"),
        "{audit:#?}"
    );
    assert!(audit.iter().all(|line| line["address"] == "198.51.100.7"), "{audit:#?}");
    assert!(!log.contains(&admin[12..]) && !log.contains(&reader[12..]), "no key is logged");
}
