//! `/v1/notifications` as far as it is read from the database: status, deliveries, and the keys that may see them.
//!
//! The rows are written here, not by the queue, so that every shape of them is met.

use http::{HeaderMap, Method};
use pushpost::domain::{InstallationKey, NotificationId};
use pushpost::provider::{apns, fcm};
use pushpost::store;
use pushpost_testkit::json::assert_has;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use pushpost_testkit::api::TestApi;

/// A notification of seven devices: in a paused APNs lane 1 and 3 wait, 2 went on to another job and waits there, 5 is
/// accepted; by FCM 7 is refused unsent and 8 accepted; 9 ended when it was accepted.
struct Sent {
    id: NotificationId,
    key: InstallationKey,
}

async fn sent(service: &TestApi) -> Sent {
    let mut conn = service.database.pool.acquire().await.unwrap();
    let now = sqlx::query_scalar("select now()").fetch_one(&mut conn).await.unwrap();
    let id = NotificationId::new(now);
    let apns = service.shop.lane(apns::lane(apns::PRODUCTION)).id;
    let fcm = service.shop.lane(fcm::LANE).id;
    let (uuid, app) = (id.0, service.shop.id);
    let script = format!(
        r"update lanes set paused_at = now() where lane_id = {apns};
        insert into notifications (notification_id, app_id, priority, due_at, expires_at, target_count, label)
          values ('{uuid}', {app}, 10, now(), now() + interval '1h', 7, 'orders');
        insert into jobs (notification_id, lane_id, priority, due_at, expires_at, device_count, devices, done)
          values ('{uuid}', {apns}, 10, now(), now() + interval '1h', 4, '{{1,2,3,5}}', b'0101');
        insert into jobs (notification_id, lane_id, priority, class, due_at, expires_at, attempt, device_count, devices)
          values ('{uuid}', {apns}, 10, 1, now() + interval '1m', now() + interval '1h', 2, 1, '{{2}}');
        insert into receipts (notification_id, job_id, lane_id, attempt, accepted, retried, shape, first_device,
                              last_device, devices, outcomes, reasons, reason_indexes)
          values ('{uuid}', 1, {apns}, 1, 1, 1, 'r', 2, 5, '{{2,5}}', '\x0001', '{{InternalServerError}}', '\x0100');
        insert into receipts (notification_id, job_id, lane_id, attempt, accepted, rejected, shape, first_device,
                              last_device, devices, outcomes, reasons, reason_indexes, provider_ids)
          values ('{uuid}', 2, {fcm}, 1, 1, 1, 'r', 7, 8, '{{7,8}}', '\x8201', '{{internal}}', '\x0100',
                  '{{null,projects/shop-1/messages/8}}');
        insert into receipts (notification_id, job_id, lane_id, attempt, token_dead, shape, first_device, last_device,
                              devices, outcomes, reasons, reason_indexes)
          values ('{uuid}', 0, {fcm}, 1, 1, '1', 9, 9, '{{9}}', '\x83', '{{quarantined}}', '\x01');
        insert into targets values ('{uuid}', 5, 'u7', null), ('{uuid}', 8, null, 'row-8');"
    );
    sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut conn).await.unwrap();
    Sent { id, key: store::apps::installation_key(&mut conn).await.unwrap() }
}

impl Sent {
    fn path(&self, rest: &str) -> String {
        format!("/v1/notifications/{}{rest}", self.id)
    }

    fn device(&self, service: &TestApi, number: i64) -> String {
        self.key.device_id(service.shop.id, pushpost::domain::DeviceId(number))
    }
}

/// Number and status of each item.
fn lines(sent: &Sent, service: &TestApi, items: &Value) -> Vec<(i64, String)> {
    let items = items.as_array().unwrap().iter().map(|item| {
        let device = sent.key.parse_device_id(service.shop.id, item["device"].as_str().unwrap()).unwrap();
        (device.0, item["status"].as_str().unwrap().to_owned())
    });
    items.collect()
}

fn expected(lines: &[(i64, &str)]) -> Vec<(i64, String)> {
    lines.iter().map(|(number, status)| (*number, (*status).to_owned())).collect()
}

const ALL: [(i64, &str); 7] = [
    (1, "pending"),
    (3, "pending"),
    (2, "pending"),
    (5, "accepted"),
    (7, "rejected"),
    (8, "accepted"),
    (9, "token_dead"),
];

#[tokio::test]
async fn a_status_sums_jobs_and_receipts() {
    let service = TestApi::start().await;
    let sent = sent(&service).await;
    let answer = service.client("read").await.get(&sent.path("")).await;
    assert_eq!(answer.status, 200);
    assert_has(
        &answer.body,
        &json!({
            "id": sent.id.to_string(), "status": "sending", "priority": "high", "label": "orders", "metadata": null,
            "created_at": "<time>", "send_at": null, "expires_at": "<time>", "started_at": "<time>", "done_at": null,
            "counts": {"targets": 7, "pending": 3, "accepted": 2, "unknown": 0, "rejected": 1, "token_dead": 1,
                       "expired": 0, "cancelled": 0},
            "unmatched": {"users": [], "users_total": 0, "devices": [], "devices_total": 0},
            "held": [{"lane": "apns-production", "state": "paused", "why": "lane_paused", "from": "<time>", "to": null}],
        }),
    );
}

/// The lane that [`sent`] uses first was throttled for a second every two seconds, until it was paused.
#[tokio::test]
async fn only_the_last_times_in_which_a_lane_held_a_notification_are_told() {
    const TOLD: usize = 100;
    let service = TestApi::start().await;
    let sent = sent(&service).await;
    let due = |before: i32| {
        format!(
            "update notifications set due_at = now() - interval '{before} seconds' where notification_id = '{}'",
            sent.id.0
        )
    };
    let throttles = "insert into lane_changes (lane_id, began_at, ended_at, state, reason)
        select lane_id, paused_at - (2 * g + 2) * interval '1 second', paused_at - (2 * g + 1) * interval '1 second', 1, 'Quota'
        from lanes, generate_series(0, 249) g where paused_at is not null";
    service.database.execute(throttles).await;
    let client = service.client("read").await;
    let held = async || client.get(&sent.path("")).await.body["held"].as_array().unwrap().clone();
    service.database.execute(&due(3_600)).await;
    let told = held().await;
    assert_eq!(told.len(), TOLD);
    assert_has(&told[TOLD - 1], &json!({"state": "paused", "to": null}));
    assert_has(&told[TOLD - 2], &json!({"state": "throttled", "why": "Quota", "to": "<time>"}));
    assert!(told.windows(2).all(|two| two[0]["from"].as_str() < two[1]["from"].as_str()), "{told:?}");
    service.database.execute(&due(4)).await;
    assert!((1..=3).contains(&held().await.len()), "what ended before it was due did not hold it");
    // Nothing holds what is not due.
    service.database.execute(&due(-3_600)).await;
    assert_eq!(held().await, [] as [Value; 0]);
    service.database.execute(&due(3_600)).await;
    service.database.execute("delete from jobs").await;
    // The last device in the lane ended when its receipt was written, a moment after the pause.
    assert!(held().await.iter().all(|one| one["to"].is_string()), "what held it is over");
}

#[tokio::test]
async fn deliveries_say_what_became_of_each_device() {
    let service = TestApi::start().await;
    let sent = sent(&service).await;
    let answer = service.client("send").await.get(&sent.path("/deliveries")).await;
    assert_eq!(lines(&sent, &service, &answer.body["items"]), expected(&ALL));
    let apns_id = sent.key.message_id(sent.id, pushpost::domain::DeviceId(5)).hyphenated().to_string();
    assert_has(
        &answer.body,
        &json!({"items": [
            {"user": null, "ref": null, "platform": "apns", "environment": "production", "attempts": 0,
             "reason": "lane_paused", "provider_id": null, "at": null, "next_attempt_at": null},
            {},
            {"attempts": 1, "next_attempt_at": "<time>"},
            {"user": "u7", "attempts": 1, "reason": null, "provider_id": apns_id, "at": "<time>"},
            {"attempts": 0, "reason": "internal", "provider_id": null},
            {"ref": "row-8", "platform": "fcm", "environment": null, "provider_id": "projects/shop-1/messages/8"},
            {"attempts": 0, "reason": "quarantined"},
        ], "next_cursor": null}),
    );
}

#[tokio::test]
async fn pages_of_any_size_together_are_the_list() {
    let service = TestApi::start().await;
    let sent = sent(&service).await;
    let client = service.client("read").await;
    for limit in 1..=7 {
        let mut all = Vec::new();
        let mut path = sent.path(&format!("/deliveries?limit={limit}"));
        loop {
            let answer = client.get(&path).await;
            let items = lines(&sent, &service, &answer.body["items"]);
            assert!((1..=limit).contains(&items.len()), "{answer:?}");
            all.extend(items);
            let Some(cursor) = answer.body["next_cursor"].as_str() else { break };
            path = sent.path(&format!("/deliveries?limit={limit}&cursor={cursor}"));
        }
        assert_eq!(all, expected(&ALL), "limit {limit}");
    }
}

#[tokio::test]
async fn filters_narrow_and_a_filter_given_twice_means_either() {
    let service = TestApi::start().await;
    let sent = sent(&service).await;
    let client = service.client("read").await;
    let (one, three, eight) = (sent.device(&service, 1), sent.device(&service, 3), sent.device(&service, 8));
    for (query, wanted) in [
        ("status=rejected".to_owned(), &[(7, "rejected")][..]),
        ("status=pending".to_owned(), &[(1, "pending"), (3, "pending"), (2, "pending")]),
        ("status=rejected&status=token_dead".to_owned(), &[(7, "rejected"), (9, "token_dead")]),
        ("status=expired".to_owned(), &[]),
        ("user=u7".to_owned(), &[(5, "accepted")]),
        ("user=nobody".to_owned(), &[]),
        (format!("device={one}&device={eight}"), &[(1, "pending"), (8, "accepted")]),
        (format!("device={three}&status=accepted"), &[]),
        (format!("device={three}&user=u7"), &[]),
        ("device=dev_nonsense".to_owned(), &[]),
    ] {
        let answer = client.get(&sent.path(&format!("/deliveries?{query}"))).await;
        assert_eq!(lines(&sent, &service, &answer.body["items"]), expected(wanted), "{query}");
        assert_eq!(answer.body["next_cursor"], Value::Null, "{query}");
    }
}

#[tokio::test]
async fn the_stream_has_a_line_for_each_device() {
    let service = TestApi::start().await;
    let sent = sent(&service).await;
    let mut headers = HeaderMap::new();
    headers.insert("accept", "application/x-ndjson".parse().unwrap());
    let path = sent.path(&format!("/deliveries?device={}", sent.device(&service, 8)));
    let answer = service.client("read").await.json_with(Method::GET, &path, headers, Value::Null).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    assert_has(
        &answer.body,
        &json!({"device": sent.device(&service, 8), "status": "accepted", "ref": "row-8"}),
    );
}

#[tokio::test]
async fn notifications_of_another_app_are_not_found() {
    let service = TestApi::start().await;
    let sent = sent(&service).await;
    let unknown = NotificationId(uuid::Uuid::from_u128(1));
    let ours = service.client("read").await;
    let theirs = service.client_of(&service.other, "admin").await;
    for answer in [
        theirs.get(&sent.path("")).await,
        theirs.get(&sent.path("/deliveries")).await,
        ours.get(&format!("/v1/notifications/{unknown}")).await,
        ours.get(&format!("/v1/notifications/{unknown}/deliveries")).await,
        ours.get("/v1/notifications/ntf_nonsense").await,
        ours.get("/v1/notifications/%ff/deliveries").await,
    ] {
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (404, &json!("not_found")));
    }
}

#[tokio::test]
async fn each_scope_allows_what_it_should() {
    let service = TestApi::start().await;
    let sent = sent(&service).await;
    for (scopes, reads, sends) in [
        ("send", 200, 415),
        ("read", 200, 403),
        ("devices", 403, 403),
        ("register", 403, 403),
        ("admin", 200, 415),
    ] {
        let client = service.client(scopes).await;
        assert_eq!(client.get(&sent.path("")).await.status.as_u16(), reads, "{scopes}");
        assert_eq!(client.get(&sent.path("/deliveries")).await.status.as_u16(), reads, "{scopes}");
        // Without a body of the right type: the key is looked at first.
        assert_eq!(client.ask(Method::POST, "/v1/notifications").await.status.as_u16(), sends, "{scopes}");
    }
}

#[tokio::test]
async fn e5_over_http() {
    let service = TestApi::start().await;
    let sent = sent(&service).await;
    let client = service.client("send").await;
    let faulty =
        client.post("/v1/notifications", json!({"to": {"users": "u7"}, "titel": "A", "badge": "1"})).await;
    assert_eq!(faulty.status, 400);
    assert_eq!(faulty.headers["content-type"], "application/problem+json");
    assert_has(
        &faulty.body,
        &json!({"type": "/docs/errors#invalid_request", "title": "<any>", "status": 400, "code": "invalid_request",
                "detail": "<any>", "request_id": faulty.headers["request-id"].to_str().unwrap(), "errors": [
            {"pointer": "#/to/users", "code": "wrong_type", "detail": "<any>"},
            {"pointer": "#/titel", "code": "unknown_field", "detail": "<any>", "suggestion": "title"},
            {"pointer": "#/badge", "code": "wrong_type", "detail": "<any>"}]}),
    );
    for (query, error) in [
        (
            "statsu=accepted",
            json!({"parameter": "statsu", "code": "unknown_parameter", "suggestion": "status"}),
        ),
        ("status=delivered", json!({"parameter": "status", "code": "out_of_range"})),
        ("limit=0", json!({"parameter": "limit", "code": "out_of_range", "minimum": 1, "maximum": 1000})),
        ("cursor=00", json!({"parameter": "cursor", "code": "invalid_cursor"})),
    ] {
        let answer = client.get(&sent.path(&format!("/deliveries?{query}"))).await;
        assert_eq!(answer.status, 400);
        assert_has(&answer.body, &json!({"code": "invalid_request", "errors": [error]}));
    }
    let misspelt =
        client.post("/v1/notifications?dry_rum=true", json!({"to": {"users": ["u7"]}, "title": "A"})).await;
    assert_has(&misspelt.body, &json!({"errors": [{"parameter": "dry_rum", "code": "unknown_parameter"}]}));
}
