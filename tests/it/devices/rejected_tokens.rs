//! `"on_bad_token": "reject"`: tokens that no device can have are targets of their own.

use serde_json::{Value, json};

use pushpost_testkit::json::{assert_has, assert_problem, fcm_targets, hex, of};
use pushpost_testkit::request::{ApiRequest, SEND, service_without_workers, stored};
use pushpost_testkit::service::{TestService, sent};

fn request(tokens: &Value) -> Value {
    json!({"to": {"tokens": tokens}, "title": "A", "on_bad_token": "reject"})
}

/// Good and bad tokens, in mixed order.
fn mixed() -> Value {
    json!([
        {"platform": "apns", "token": "abc", "ref": "odd"},
        {"platform": "apns", "token": hex("aa"), "ref": "good"},
        {"platform": "hms", "token": "secret-of-hms", "ref": "hms"},
        {"platform": "apns", "token": "abc", "ref": "odd again"},
        {"platform": "x".repeat(33), "token": "x"},
        {"platform": "fcm", "token": "?? "},
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_token_is_a_target_that_is_rejected() {
    let service = TestService::start().await;
    let s = service.key("send,devices").await;
    let answer = ApiRequest::post(SEND, &request(&mixed())).key(&s).of(&service).await;
    assert_has(&answer.body, &json!({"status": "queued", "targets": 6}));
    let id = answer.body["id"].as_str().unwrap().to_owned();
    let deliveries = service.notifications().outcomes(&id).await;
    assert_eq!(deliveries.len(), 6, "{deliveries:?}");
    let rejected = |reference: Value, platform: Value, reason: &str| {
        json!({"device": null, "user": null, "ref": reference, "platform": platform, "environment": null,
               "status": "rejected", "attempts": 0, "reason": reason, "provider_id": null, "next_attempt_at": null})
    };
    for (name, platform, reason) in [
        ("odd", json!("apns"), "bad_token"),
        ("odd again", json!("apns"), "bad_token"),
        ("hms", json!("hms"), "unsupported_platform"),
    ] {
        assert_has(of(&deliveries, "ref", name), &rejected(json!(name), platform, reason));
    }
    let unnamed: Vec<_> = deliveries.iter().filter(|delivery| delivery["ref"].is_null()).collect();
    assert!(unnamed.iter().all(|delivery| delivery["refs"] == json!([]) && delivery["device"].is_null()));
    let mut platforms: Vec<String> =
        unnamed.iter().map(|delivery| delivery["platform"].to_string()).collect();
    platforms.sort();
    assert_eq!(platforms, ["\"fcm\"", "null"]);
    assert_has(of(&deliveries, "ref", "good"), &json!({"status": "accepted", "platform": "apns"}));
    let status = service.notifications().until_done(&id).await;
    assert_has(&status["counts"], &json!({"targets": 6, "accepted": 1, "rejected": 5, "pending": 0}));

    // In pages, and by status, as any other delivery.
    let mut seen = Vec::new();
    let mut path = format!("{SEND}/{id}/deliveries?status=rejected&limit=2");
    let first = path.clone();
    loop {
        let page = ApiRequest::get(&path).key(&s).of(&service).await.body;
        seen.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("{first}&cursor={cursor}");
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert!(seen.iter().all(|delivery| delivery["status"] == "rejected"));
    let by_device = format!(
        "{SEND}/{id}/deliveries?device={}",
        of(&deliveries, "ref", "good")["device"].as_str().unwrap()
    );
    let by_device = ApiRequest::get(&by_device).key(&s).of(&service).await.body;
    assert_eq!(by_device["items"].as_array().unwrap().len(), 1);

    assert_eq!(service.database.count("select count(*) from devices").await, 1);
    for table in ["notifications", "targets", "receipts"] {
        let kept = format!("select count(*) from {table} t where t::text like '%secret-of-hms%'");
        assert_eq!(service.database.count(&kept).await, 0, "{table}");
    }
    assert_eq!(sent(&service.ledger()).len(), 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_tokens_alone_end_the_notification_at_once() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let bad: Vec<Value> =
        (0..1_100).map(|n| json!({"platform": "fcm", "token": "?? ", "ref": format!("r{n}")})).collect();
    let answer = ApiRequest::post(SEND, &request(&json!(bad))).key(&s).of(&service).await;
    assert_has(&answer.body, &json!({"status": "done", "targets": 1_100}));
    let id = answer.body["id"].as_str().unwrap();
    let status = ApiRequest::get(&format!("{SEND}/{id}")).key(&s).of(&service).await.body;
    assert_has(&status, &json!({"status": "done", "counts": {"targets": 1_100, "rejected": 1_100}}));
    let refs: Vec<String> = service
        .notifications()
        .deliveries(id)
        .await
        .iter()
        .map(|one| one["ref"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(refs, (0..1_100).map(|n| format!("r{n}")).collect::<Vec<_>>(), "in the order given");
    assert_eq!(service.database.count("select count(*) from devices").await, 0);

    // Beside an audience that is found later.
    let mut beside = request(&mixed());
    beside["to"]["all"] = json!(true);
    beside["to"]["platforms"] = json!(["apns"]);
    let answer = ApiRequest::post(SEND, &beside).key(&s).of(&service).await;
    assert_has(&answer.body, &json!({"status": "queued", "targets": null}));
    let id = answer.body["id"].as_str().unwrap();
    let status = ApiRequest::get(&format!("{SEND}/{id}")).key(&s).of(&service).await.body;
    // Of the platforms that the audience includes.
    assert_has(&status["counts"], &json!({"targets": 3, "rejected": 2, "pending": 1}));
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_reject_a_bad_token_fails_the_request() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let before = stored(&service).await;
    for on_bad_token in [json!("fail"), json!(null)] {
        let mut body = request(&mixed());
        body["on_bad_token"] = on_bad_token;
        let answer = ApiRequest::post(SEND, &body).key(&s).of(&service).await;
        let faults = json!([
            {"pointer": "#/to/tokens/0/token", "code": "bad_token"},
            {"pointer": "#/to/tokens/2/platform", "code": "unsupported_platform", "supported": ["apns", "fcm"]},
            {"pointer": "#/to/tokens/3/token", "code": "bad_token"},
            {"pointer": "#/to/tokens/4/platform", "code": "unsupported_platform"},
            {"pointer": "#/to/tokens/5/token", "code": "bad_token"},
        ]);
        assert_problem(&answer, 422, "unprocessable", &faults);
    }
    // Other faults of a token stay faults.
    let mut body = request(
        &json!([{"platform": "fcm", "token": "?? ", "kind": "voip"}, {"platform": "hms"}, {"platform": 1, "token": "x"}]),
    );
    let answer = ApiRequest::post(SEND, &body).key(&s).of(&service).await;
    let faults = json!([{"pointer": "#/to/tokens/0/kind", "code": "bad_value"}, {"pointer": "#/to/tokens/1/token", "code": "missing_field"},
                        {"pointer": "#/to/tokens/2/platform", "code": "wrong_type"}]);
    assert_problem(&answer, 400, "invalid_request", &faults);
    body = request(&json!(fcm_targets("f", 1)));
    body["on_bad_token"] = json!("skip");
    let answer = ApiRequest::post(SEND, &body).key(&s).of(&service).await;
    let fault = json!([{"pointer": "#/on_bad_token", "code": "bad_value", "supported": ["fail", "reject"]}]);
    assert_problem(&answer, 422, "unprocessable", &fault);
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_and_previews_count_rejected_tokens() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let before = stored(&service).await;
    let preview =
        ApiRequest::post("/v1/notifications/preview", &request(&mixed())).key(&s).of(&service).await;
    assert_eq!((&preview.body["targets"], &preview.body["problems"]), (&json!(6), &json!([])));
    assert_eq!(stored(&service).await, before);
    let mut keyed = request(&mixed());
    keyed["idempotency_key"] = json!("k");
    let batch = json!([request(&json!([{"platform": "hms", "token": "x"}])), keyed]);
    let batch = ApiRequest::post("/v1/notifications/batch", &batch).key(&s).of(&service).await.body;
    assert_has(
        &batch["items"],
        &json!([{"notification": {"status": "done", "targets": 1}},
                                        {"notification": {"status": "queued", "targets": 6}}]),
    );
    let counts = "select sum(rejected)::bigint from receipts";
    assert_eq!(service.database.count(counts).await, 6);
    service.stop_undecided().await;
}
