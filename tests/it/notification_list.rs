//! `GET /v1/notifications`: filters, pages and what a request reads at most. And `POST /v1/notifications/cancel`, which finds
//! notifications by their label too.

use http::Method;
use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost_testkit::answer::Answer;
use pushpost_testkit::json::{assert_problem, fcm_targets, hex, text};
use pushpost_testkit::request::{ApiRequest, SEND, service_without_workers};
use pushpost_testkit::service::{TestService, sent};
use serde_json::{Value, json};

/// Sends to FCM devices; answers the id.
async fn send(service: &TestService, label: &str, devices: usize) -> String {
    let tokens = fcm_targets(label, devices);
    service.notifications().send(json!({"to": {"tokens": tokens}, "title": "Hi", "label": label})).await
}

fn ids(page: &Answer) -> Vec<String> {
    assert_eq!(page.status, 200, "{page:?}");
    page.body["items"].as_array().unwrap().iter().map(|item| text(&item["id"])).collect()
}

async fn list(service: &TestService, query: &str) -> Vec<String> {
    let page = service.get(&format!("{SEND}{query}")).await;
    assert_eq!(page.body["next_cursor"], Value::Null, "{page:?}");
    ids(&page)
}

/// Every page of a list, one after the other.
async fn list_all(service: &TestService, query: &str) -> (Vec<String>, usize) {
    let (mut all, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = service.get(&format!("{SEND}?{query}{cursor}")).await;
        all.extend(ids(&page));
        pages += 1;
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (all, pages),
        }
    }
}

async fn cancel(service: &TestService, label: &str) -> Value {
    let answer = service.post("/v1/notifications/cancel", json!({"label": label})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_are_as_a_notification_is_read_and_come_newest_first() {
    let service = TestService::builder().app("other").node(Role::All).build().await;
    let mut sent = Vec::new();
    for label in ["one", "two", "three"] {
        sent.insert(0, send(&service, label, 2).await);
        service.notifications().until_done(&sent[0]).await;
    }
    let page = service.get(SEND).await;
    assert_eq!(ids(&page), sent);
    for (item, id) in page.body["items"].as_array().unwrap().iter().zip(&sent) {
        assert_eq!(*item, service.get(&format!("{SEND}/{id}")).await.body);
    }
    assert_eq!(
        list_all(&service, "limit=1").await,
        (sent.clone(), 3),
        "the last page is known to be the last"
    );
    assert_eq!(list_all(&service, "limit=2&status=done").await.0, sent);
    let other = service.key_of("other", "read").await;
    let of_other = ApiRequest::get(SEND).key(&other).of(&service).await;
    assert_eq!(of_other.body, json!({"items": [], "next_cursor": null}));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_narrow_the_list_and_a_filter_given_twice_means_either() {
    let service = TestService::start().await;
    let done = send(&service, "done", 1).await;
    service.notifications().until_done(&done).await;
    service.lanes().pause(fcm::LANE).await;
    let queued = send(&service, "queued", 1).await;
    let cancelled = send(&service, "cancelled", 1).await;
    assert_eq!(service.delete(&format!("{SEND}/{cancelled}")).await.status, 200);
    let (all, both) = ([&*cancelled, &*queued, &*done], [&*queued, &*done]);
    assert_eq!(list(&service, "").await, all);
    assert_eq!(list(&service, "?status=done").await, [&*done]);
    assert_eq!(list(&service, "?status=cancelled").await, [&*cancelled]);
    assert_eq!(list(&service, "?status=queued&status=done").await, both);
    assert_eq!(list(&service, "?status=sending").await, [""; 0]);
    assert_eq!(list(&service, "?label=done&label=queued&label=done").await, both);
    assert_eq!(list(&service, "?label=done&status=queued").await, [""; 0]);
    assert_eq!(list_all(&service, "label=done&label=cancelled&limit=1").await.0, [&*cancelled, &*done]);
    let created = text(&service.get(&format!("{SEND}/{queued}")).await.body["created_at"]);
    // The answer has milliseconds, the row has microseconds.
    sqlx::query("update notifications set created_at = date_trunc('milliseconds', created_at)")
        .execute(&service.database.pool)
        .await
        .unwrap();
    assert_eq!(list(&service, &format!("?created_before={created}")).await, [&*done]);
    assert_eq!(list(&service, &format!("?created_after={created}")).await, [&*cancelled]);
    assert_eq!(list(&service, "?created_after=2020-01-01T00:00:00%2B02:00").await, all);
    assert_eq!(list(&service, "?created_before=2020-01-01T00:00:00Z").await, [""; 0]);
    assert_eq!(list(&service, "?created_before=9999-12-31T23:59:59Z").await, all);
    let wide = format!("?created_after={created}&created_after=2020-01-01T00:00:00Z");
    assert_eq!(list(&service, &wide).await, all, "the wider bound counts");
    service.lanes().resume(fcm::LANE).await;
    service.notifications().until_done(&queued).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_matches_few_reads_a_bounded_number() {
    let service = service_without_workers(&[]).await;
    let oldest = send(&service, "old", 1).await;
    // As many notifications as two requests look at, all of them done.
    let rows = "insert into notifications (notification_id, app_id, priority, due_at, expires_at, target_count, label)
        select (left(id_floor(now() + interval '1 second')::text, 13) || right(gen_random_uuid()::text, 23))::uuid, 1, 5,
               now(), now(), 0, 'many' from generate_series(1, 10000)";
    assert_eq!(service.database.execute(rows).await, 10_000);
    let (found, pages) = list_all(&service, "status=queued").await;
    assert_eq!((found, pages), (vec![oldest.clone()], 3), "5,000 of 10,001 are looked at by a request");
    assert_eq!(list_all(&service, "status=queued&label=old").await, (vec![oldest], 1));
    assert_eq!(list_all(&service, "status=done&limit=1000").await.0.len(), 10_000);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faulty_parameters_are_refused_all_at_once() {
    let service = service_without_workers(&[]).await;
    let query = "?status=sent&statsu=done&label=a%20b&created_after=yesterday&limit=0&cursor=00";
    let expected = json!([
        {"parameter": "status", "code": "out_of_range", "supported": ["scheduled", "queued", "sending", "done", "cancelled"]},
        {"parameter": "label", "code": "bad_value"},
        {"parameter": "created_after", "code": "out_of_range"},
        {"parameter": "limit", "code": "out_of_range"},
        {"parameter": "cursor", "code": "invalid_cursor"},
        {"parameter": "statsu", "code": "unknown_parameter", "suggestion": "status"},
    ]);
    assert_problem(&service.get(&format!("{SEND}{query}")).await, 400, "invalid_request", &expected);
    for (body, fault) in [
        (json!({}), json!({"pointer": "#/label", "code": "missing_field"})),
        (json!({"label": 7}), json!({"pointer": "#/label", "code": "wrong_type"})),
        (json!({"label": "a", "lable": "a"}), json!({"pointer": "#/lable", "code": "unknown_field"})),
    ] {
        let answer = service.post("/v1/notifications/cancel", body).await;
        assert_problem(&answer, 400, "invalid_request", &json!([fault]));
    }
    let answer = service.post("/v1/notifications/cancel", json!({"label": "spring sale"})).await;
    assert_problem(&answer, 422, "unprocessable", &json!([{"pointer": "#/label", "code": "bad_value"}]));
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_is_cancelled_with_all_that_is_left_of_it() {
    let service = TestService::builder().app("other").node(Role::All).build().await;
    let done = send(&service, "spring", 2).await;
    service.notifications().until_done(&done).await;
    service.lanes().pause(fcm::LANE).await;
    service.devices().register(json!({"platform": "apns", "token": hex("a1")})).await;
    let mut stopped = Vec::new();
    for devices in [1, 3] {
        stopped.push(send(&service, "spring", devices).await);
    }
    let kept = send(&service, "summer", 1).await;
    let other = service.key_of("other", "send").await;
    let of_other = ApiRequest::post("/v1/notifications/cancel", &json!({"label": "spring"})).key(&other);
    assert_eq!(of_other.of(&service).await.body, json!({"notifications": 0, "devices": 0}));
    assert_eq!(cancel(&service, "spring").await, json!({"notifications": 2, "devices": 4}));
    assert_eq!(cancel(&service, "spring").await, json!({"notifications": 0, "devices": 0}));
    assert_eq!(cancel(&service, "autumn").await, json!({"notifications": 0, "devices": 0}));
    stopped.reverse();
    assert_eq!(list(&service, "?status=cancelled").await, stopped);
    assert_eq!(list(&service, "?status=done").await, [done]);
    assert_eq!(list(&service, "?status=queued").await, [&*kept]);
    service.lanes().resume(fcm::LANE).await;
    service.notifications().until_done(&kept).await;
    assert_eq!(sent(&service.ledger()).len(), 3);
    service.stop().await;
}

/// Several requests at once, in pages: each notification is counted by one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_campaign_is_cancelled_once_by_two_requests() {
    const CAMPAIGN: u64 = 1_200;
    let service = service_without_workers(&[]).await;
    let first = send(&service, "spring", 1).await;
    let copies = format!(
        "with made as (
           insert into notifications (notification_id, app_id, priority, due_at, expires_at, target_count, label)
           select (left(id_floor(now())::text, 13) || right(gen_random_uuid()::text, 23))::uuid, app_id, priority, due_at,
                  expires_at, target_count, label from notifications, generate_series(2, {CAMPAIGN})
           returning notification_id)
         insert into jobs (notification_id, lane_id, priority, due_at, expires_at, device_count, devices)
         select made.notification_id, lane_id, priority, due_at, expires_at, 1, devices from made, jobs"
    );
    assert_eq!(service.database.execute(&copies).await, CAMPAIGN - 1);
    let (one, other) = tokio::join!(cancel(&service, "spring"), cancel(&service, "spring"));
    let total = |member: &str| one[member].as_u64().unwrap() + other[member].as_u64().unwrap();
    assert_eq!(total("notifications"), CAMPAIGN);
    // On a slow machine the leader ends some of the devices before the requests come to them.
    assert!((1..=CAMPAIGN).contains(&total("devices")), "{one} {other}");
    let cancelled = "select sum(cancelled)::bigint from receipts";
    assert_eq!(service.database.count(cancelled).await, CAMPAIGN.cast_signed());
    assert_eq!(service.database.count("select count(*) from jobs").await, 0);
    assert_eq!(service.get(&format!("{SEND}/{first}")).await.body["status"], "cancelled");
    let refused = ApiRequest::json(Method::POST, "/v1/notifications/cancel", r#"{"label":"spring"}"#);
    let r = service.key("read").await;
    assert_problem(&refused.key(&r).of(&service).await, 403, "missing_scope", &json!([]));
    service.stop_undecided().await;
}

/// Both lists of deliveries have the same items; the stream has all of them, filtered alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_are_a_stream_for_those_who_ask_for_it_and_a_page_for_others() {
    let service = TestService::start().await;
    let id = send(&service, "f", 1_500).await;
    service.notifications().until_done(&id).await;
    let path = format!("{SEND}/{id}/deliveries");
    let stream = service.get_as(&path, "application/x-ndjson").await;
    let lines: Vec<Value> = stream.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), stream.ends_with('\n')), (1_500, true));
    let device = text(&lines[7]["device"]);
    let one =
        service.get_as(&format!("{path}?device={device}&status=accepted"), "application/x-ndjson").await;
    assert_eq!(serde_json::from_str::<Value>(&one).unwrap(), lines[7]);
    let none = service.get_as(&format!("{path}?status=rejected"), "application/x-ndjson").await;
    assert_eq!(none, "");
    let s = service.key("read").await;
    for accept in ["application/json", "text/csv", "*/*", "application/x-ndjson-other"] {
        let page = ApiRequest::get(&path).key(&s).header("accept", accept).of(&service).await;
        assert_eq!(page.headers["content-type"], "application/json", "{accept}");
        assert_eq!(page.body["items"].as_array().unwrap().len(), 100, "{accept}");
    }
    let faulty =
        ApiRequest::get(&format!("{path}?statsu=x")).key(&s).header("accept", "application/x-ndjson");
    let fault = json!([{"parameter": "statsu", "code": "unknown_parameter", "suggestion": "status"}]);
    assert_problem(&faulty.of(&service).await, 400, "invalid_request", &fault);
    service.stop().await;
}
