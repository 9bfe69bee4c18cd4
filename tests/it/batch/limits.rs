//! What is refused as a whole, and what an answer may become at most.

use http::Method;
use serde_json::{Value, json};

use pushpost_testkit::json::assert_problem;
use pushpost_testkit::request::{ApiRequest, service_without_workers, stored};

use super::{BATCH, assert_refused, id, items, items_of, to};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_no_array_of_items_is_refused_as_a_whole() {
    let service =
        service_without_workers(&[("LIMITS__BATCH_ITEMS", "3"), ("LIMITS__BODY_BYTES", "10000")]).await;
    let s = service.key("send").await;
    let before = stored(&service).await;
    let one = to("f1").to_string();
    let body = |texts: &[&str]| format!("[{}]", texts.join(","));
    for (text, code) in [
        ("{", "malformed_json"),
        ("", "malformed_json"),
        (&format!("[{one}"), "malformed_json"),
        (&format!("[{one}],"), "malformed_json"),
        (&body(&[&one, &one, &one, &one, "x"]), "malformed_json"),
        ("[]", "out_of_range"),
        (one.as_str(), "wrong_type"),
        ("null", "wrong_type"),
    ] {
        let answer = ApiRequest::json(Method::POST, BATCH, text).key(&s).of(&service).await;
        let fault = json!([{"pointer": "#", "code": code}]);
        assert_problem(&answer, 400, "invalid_request", &fault);
    }
    let many = ApiRequest::json(Method::POST, BATCH, body(&[&one, &one, &one, &one])).key(&s);
    let many = many.of(&service).await;
    assert_problem(&many, 413, "too_many_items", &json!([]));
    assert_eq!(many.body["limit"], 3);
    let long = body(&[&format!("{one}{}", " ".repeat(10_000))]);
    let long = ApiRequest::json(Method::POST, BATCH, long).key(&s).of(&service).await;
    assert_problem(&long, 413, "body_too_large", &json!([]));
    let parameter = ApiRequest::post(&format!("{BATCH}?dry_run=true"), &json!([to("f1")])).key(&s);
    let fault = json!([{"parameter": "dry_run", "code": "unknown_parameter"}]);
    assert_problem(&parameter.of(&service).await, 400, "invalid_request", &fault);
    let plain = ApiRequest::json(Method::POST, BATCH, body(&[&one])).key(&s).without("content-type");
    assert_problem(&plain.of(&service).await, 415, "unsupported_media_type", &json!([]));
    assert_eq!(stored(&service).await, before);
    assert_eq!(items(&service, &s, &json!([to("f1"), to("f2"), to("f3")])).await.len(), 3);
    service.stop_undecided().await;
}

/// A small body may have very many faults; each item that is refused keeps at least one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_faults_of_an_answer_are_limited() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let faulty: serde_json::Map<String, Value> = (0..900).map(|n| (format!("x{n}"), Value::Null)).collect();
    let batch: Value = (0..20).map(|_| Value::Object(faulty.clone())).chain([to("f1")]).collect();
    let found = items(&service, &s, &batch).await;
    let counts: Vec<usize> = found[..20]
        .iter()
        .inspect(|item| assert_refused(item, 400, "invalid_request"))
        .map(|item| item["problem"]["errors"].as_array().unwrap().len())
        .collect();
    assert_eq!(counts.iter().take(11).copied().collect::<Vec<_>>(), [vec![901; 11]].concat());
    assert_eq!(counts[11], 10_000 - 11 * 901);
    assert!(counts[12..].iter().all(|count| *count == 1), "{counts:?}");
    id(&found[20]);
    service.stop_undecided().await;
}

/// Long items are read in several parts, each committed for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_batch_is_carried_out_in_parts() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let names: Vec<String> = (0..2_000).map(|n| format!("user-with-a-longer-name-{n}")).collect();
    let item = |place: usize| json!({"to": {"users": names}, "title": "A", "label": format!("n{place}"), "idempotency_key": format!("k{}", place % 60)});
    let batch: Value = (0..64).map(item).collect();
    let answer = ApiRequest::post(BATCH, &batch).key(&s).of(&service).await;
    let found = items_of(&answer);
    for (place, found) in found.iter().enumerate() {
        match place {
            60.. => assert_refused(found, 422, "idempotency_key_reused"),
            _ => assert_eq!(found["notification"]["unmatched"]["users_total"], 2_000),
        }
    }
    assert_eq!(service.database.count("select count(distinct label) from notifications").await, 60);
    service.stop_undecided().await;
}
