//! Webhooks that the API makes: only for hosts of the configuration; their secrets; what belongs to the configuration.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::wait::until;
use pushpost_testkit::webhook_receiver::{Reply, WebhookReceiver};
use serde_json::{Value, json};

use super::{SECRET, ask, done, is_signed, push, service, until_told, webhook, webhooks};

const PATH: &str = "/v1/admin/webhooks";
/// Statements that wait for a lock of another one.
const WAITING: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_of_the_api_is_made_changed_rotated_and_deleted() {
    let receiver = WebhookReceiver::start().await;
    let service =
        service().config("APPS__SHOP__WEBHOOK_HOSTS", "[\"127.0.0.1\"]").node(Role::All).build().await;
    let body = json!({"name": "made", "url": receiver.url(), "types": ["notification.*"]});
    let made = ask(&service, Method::POST, PATH, body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let secret = made.body["secret"].as_str().unwrap().to_owned();
    let path = format!("{PATH}/{}", made.body["id"].as_str().unwrap());
    assert_eq!((&made.body["source"], &made.body["batch_max"]), (&json!("api"), &json!(100)));
    assert_eq!(ask(&service, Method::POST, PATH, body).await.body["code"], "webhook_exists");
    let read = service.by_admin(Method::GET, &path).await.body;
    assert!(read["secret"].is_null() && read["secrets"][0]["expires_at"].is_null(), "{read}");

    push(&service, "a").await;
    let first = receiver.until("the first end", |all| done(all).len() == 1).await;
    assert!(is_signed(&first[0], &secret));

    let rotated = ask(&service, Method::POST, &format!("{path}/rotate"), json!({"keep_old": "1h"})).await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    let new = rotated.body["secret"].as_str().unwrap().to_owned();
    assert_eq!(rotated.body["secrets"].as_array().unwrap().len(), 2);
    push(&service, "b").await;
    let second = receiver.until("the second end", |all| done(all).len() == 2).await;
    let both = second.last().unwrap();
    assert!(is_signed(both, &secret) && is_signed(both, &new), "{both:?}");
    let rotated = ask(&service, Method::POST, &format!("{path}/rotate"), json!({"keep_old": "0s"})).await;
    let newest = rotated.body["secret"].as_str().unwrap().to_owned();
    push(&service, "c").await;
    let third = receiver.until("the third end", |all| done(all).len() == 3).await;
    let one = third.last().unwrap();
    assert!(is_signed(one, &newest) && !is_signed(one, &new) && !is_signed(one, &secret));

    let changed = ask(&service, Method::PATCH, &path, json!({"types": ["device.*"], "batch_max": 7})).await;
    assert_eq!((&changed.body["types"], &changed.body["batch_max"]), (&json!(["device.*"]), &json!(7)));
    assert_eq!(
        ask(&service, Method::PATCH, &path, json!({"url": "https://x.example/"})).await.body["code"],
        "host_not_allowed"
    );
    assert_eq!(service.by_admin(Method::DELETE, &path).await.status, 204);
    assert_eq!(service.by_admin(Method::GET, &path).await.status, 404);
    service.stop().await;
}

/// The last characters of the secrets that sign, the newest first.
fn hints(webhook: &Value) -> Vec<String> {
    let secrets = webhook["secrets"].as_array().unwrap().iter();
    secrets.map(|secret| secret["hint"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_ends_no_kept_secret_unless_the_request_says_so() {
    let service =
        service().config("APPS__SHOP__WEBHOOK_HOSTS", "[\"127.0.0.1\"]").node(Role::Api).build().await;
    let made =
        ask(&service, Method::POST, PATH, json!({"name": "w", "url": "http://127.0.0.1:9/"})).await.body;
    let path = format!("{PATH}/{}/rotate", made["id"].as_str().unwrap());
    let rotate = async |body: Value| ask(&service, Method::POST, &path, body).await;
    let second = rotate(json!({"keep_old": "1h"})).await.body;
    let third = rotate(json!({"keep_old": "2h"})).await.body;
    let all = [&third, &second, &made].map(|webhook| hints(webhook)[0].clone());
    assert_eq!(hints(&third), all);

    let refused = rotate(json!({})).await;
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (409, &json!("too_many_secrets")));
    assert_eq!(
        (&refused.body["limit"], &refused.body["expires_at"]),
        (&json!(3), &third["secrets"][2]["expires_at"])
    );
    assert_eq!(hints(&service.by_admin(Method::GET, path.trim_end_matches("/rotate")).await.body), all);

    let fourth = rotate(json!({"drop_oldest": true})).await.body;
    assert_eq!(hints(&fourth)[1..], all[..2], "the oldest one has ended");
    let over = "update webhooks set secrets_expire_at[3] = now()";
    service.database.execute(over).await;
    let fifth = rotate(json!({})).await.body;
    assert_eq!(hints(&fifth)[1..], hints(&fourth)[..2], "the time of the oldest one was over");
    assert_eq!(hints(&rotate(json!({"keep_old": "0s"})).await.body).len(), 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_secret_ends_in_the_middle_of_a_lease() {
    let receiver = WebhookReceiver::start().await;
    let service =
        service().config("APPS__SHOP__WEBHOOK_HOSTS", "[\"127.0.0.1\"]").node(Role::All).build().await;
    let body = json!({"name": "w", "url": receiver.url(), "types": ["notification.done"], "batch_max": 1});
    let made = ask(&service, Method::POST, PATH, body).await.body;
    let old = made["secret"].as_str().unwrap();
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap());
    assert_eq!(service.by_admin(Method::POST, &format!("{path}/pause")).await.status, 200);
    for token in ["a", "b"] {
        push(&service, token).await;
    }
    until_told(&service, "notification.done", 2).await;
    receiver.reply(Reply::Held(200));
    let rotated =
        ask(&service, Method::POST, &format!("{path}/rotate"), json!({"keep_old": "8s"})).await.body;
    let ends = &rotated["secrets"][1]["expires_at"];
    let ends = chrono::DateTime::parse_from_rfc3339(ends.as_str().unwrap()).unwrap().timestamp_millis();
    assert_eq!(service.by_admin(Method::POST, &format!("{path}/resume")).await.status, 200);
    let first = receiver.until("the first message", |all| all.len() == 1).await;
    assert!(is_signed(&first[0], old), "{first:?}");
    // The node's view of the clock may be a little behind.
    until("the old secret has ended", async || service.database.now_ms().await > ends + 200).await;
    receiver.let_answer(2);
    let both = receiver.until("the second message", |all| all.len() == 2).await;
    assert!(is_signed(&both[1], rotated["secret"].as_str().unwrap()), "{both:?}");
    assert!(!is_signed(&both[1], old), "{both:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_at_the_same_time_lose_no_secret() {
    let service =
        service().config("APPS__SHOP__WEBHOOK_HOSTS", "[\"127.0.0.1\"]").node(Role::Api).build().await;
    let made =
        ask(&service, Method::POST, PATH, json!({"name": "w", "url": "http://127.0.0.1:9/"})).await.body;
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap());
    let rotate = async || ask(&service, Method::POST, &format!("{path}/rotate"), json!({})).await;
    let mut conn = service.database.raw_connection().await;
    sqlx::raw_sql("begin; select from webhooks for update").execute(&mut conn).await.unwrap();
    let release = async {
        service.database.until_count(WAITING, 2).await;
        sqlx::raw_sql("rollback").execute(&mut conn).await.unwrap();
    };
    let (first, second, ()) = tokio::join!(rotate(), rotate(), release);
    let shown = hints(&service.by_admin(Method::GET, &path).await.body);
    for answer in [first, second] {
        assert_eq!(answer.status, 200, "{answer:?}");
        let secret = answer.body["secret"].as_str().unwrap().trim_end_matches('=').to_owned();
        assert!(shown.iter().any(|hint| secret.ends_with(hint)), "{shown:?} {answer:?}");
    }
    assert!(shown.len() == 3 && shown[2] == hints(&made)[0], "{shown:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_configuration_names_hosts() {
    let receiver = WebhookReceiver::start().await;
    let setting = webhooks(&[("declared", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    let refused = ask(&service, Method::POST, PATH, json!({"name": "x", "url": receiver.url()})).await;
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (403, &json!("host_not_allowed")));
    let path = format!("{PATH}/{}", webhook(&service, "declared").await["id"].as_str().unwrap());
    for (method, path, body) in [
        (Method::PATCH, path.clone(), Some(json!({"batch_max": 1}))),
        (Method::DELETE, path.clone(), None),
        (Method::POST, format!("{path}/rotate"), Some(json!({}))),
    ] {
        let answer = match body {
            Some(body) => ask(&service, method, &path, body).await,
            None => service.by_admin(method, &path).await,
        };
        assert_eq!(
            (answer.status.as_u16(), &answer.body["code"]),
            (409, &json!("declared_in_configuration"))
        );
    }
    let listed = service.by_admin(Method::GET, PATH).await;
    assert!(!listed.body.to_string().contains(SECRET));
    assert_eq!(listed.body["items"][0]["secrets"], json!([{"hint": "LaSw", "expires_at": null}]));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_makes_twenty_webhooks_of_an_app() {
    let service =
        service().config("APPS__SHOP__WEBHOOK_HOSTS", "[\"127.0.0.1\"]").node(Role::Api).build().await;
    let body = |number: usize| json!({"name": format!("w{number}"), "url": "http://127.0.0.1:9/"});
    for number in 0..20 {
        assert_eq!(ask(&service, Method::POST, PATH, body(number)).await.status, 201);
    }
    let refused = ask(&service, Method::POST, PATH, body(20)).await;
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (409, &json!("too_many_webhooks")));
    assert_eq!(refused.body["limit"], 20);
    assert_eq!(ask(&service, Method::POST, PATH, body(0)).await.body["code"], "webhook_exists");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_requests_at_the_same_time_do_not_pass_the_limit_together() {
    let service =
        service().config("APPS__SHOP__WEBHOOK_HOSTS", "[\"127.0.0.1\"]").node(Role::Api).build().await;
    let make = async |number: usize| {
        let body = json!({"name": format!("w{number}"), "url": "http://127.0.0.1:9/"});
        ask(&service, Method::POST, PATH, body).await.status.as_u16()
    };
    for number in 0..19 {
        assert_eq!(make(number).await, 201);
    }
    // A statement waits when it has counted and inserts.
    service
        .database
        .execute(
            "create function hold() returns trigger language plpgsql as
             $$begin perform pg_advisory_xact_lock(7); return new; end$$;
             create trigger hold before insert on webhooks for each row execute function hold()",
        )
        .await;
    let mut conn = service.database.raw_connection().await;
    sqlx::raw_sql("begin; select pg_advisory_xact_lock(7)").execute(&mut conn).await.unwrap();
    let release = async {
        service.database.until_count(WAITING, 2).await;
        sqlx::raw_sql("rollback").execute(&mut conn).await.unwrap();
    };
    let (first, second, ()) = tokio::join!(make(19), make(20), release);
    let mut statuses = [first, second];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_body_is_told() {
    let service =
        service().config("APPS__SHOP__WEBHOOK_HOSTS", "[\"127.0.0.1\"]").node(Role::Api).build().await;
    let codes = |answer: &Value| -> Vec<(String, String)> {
        let errors = answer["errors"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        errors.iter().map(|error| (text(&error["pointer"]), text(&error["code"]))).collect()
    };
    let wrong = json!({"name": "A b", "url": "ftp://x", "types": ["notification.doen"], "devices": "some",
                       "batch_max": 50});
    let answer = ask(&service, Method::POST, PATH, wrong).await;
    assert_eq!(answer.status, 422, "{}", answer.body);
    let bad = |pointer: &str| (pointer.to_owned(), "bad_value".to_owned());
    assert_eq!(codes(&answer.body), [bad("#/name"), bad("#/url"), bad("#/types/0"), bad("#/devices")]);
    assert_eq!(answer.body["errors"][2]["suggestion"], "notification.done");
    let supported = answer.body["errors"][2]["supported"].as_array().unwrap();
    assert!(["notification.*", "notification.done"].iter().all(|each| supported.contains(&json!(each))));
    let answer = ask(&service, Method::POST, PATH, json!({"batch_max": 101, "nmae": "x"})).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    service.stop().await;
}
