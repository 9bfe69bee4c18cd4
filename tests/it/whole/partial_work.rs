//! Requests that go in several transactions, of which the last one waits too long for a lock: no answer says that nothing was
//! stored.

use http::Method;
use pushpost_testkit::answer::Answer;
use pushpost_testkit::request::{ApiRequest, SEND, service_without_workers};
use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

async fn ask(service: &TestService, (method, path, body): &(Method, &str, Option<Value>)) -> Answer {
    let key = service.key("send,devices").await;
    let request = match body {
        Some(body) => ApiRequest::json(method.clone(), path, body.to_string()),
        None => ApiRequest::new(method.clone(), path),
    };
    request.key(&key).of(service).await
}

/// Five hundred notifications of a label that wait, and one with an audience that is still to be found.
async fn campaign(service: &TestService) {
    let token = |number: usize| json!([{"platform": "fcm", "token": format!("s{number}")}]);
    let one = |number| json!({"to": {"tokens": token(number)}, "title": "Hi", "label": "spring"});
    let batch = Value::Array((0..500).map(one).collect());
    let answer = service.post(&format!("{SEND}/batch"), batch).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let to_all = json!({"to": {"all": true}, "title": "Hi", "label": "spring"});
    assert_eq!(service.post(SEND, to_all).await.status, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_carried_out_in_part_does_not_say_that_nothing_was_stored() {
    let service = service_without_workers(&[]).await;
    for token in ["f1", "f2"] {
        let phone = json!({"platform": "fcm", "token": token, "user": "alice", "topics": ["news"]});
        service.devices().register(phone).await;
    }
    campaign(&service).await;
    let label = Some(json!({"label": "spring"}));
    for (locked, request, left) in [
        (
            "fan_outs",
            (Method::POST, "/v1/notifications/cancel", label),
            json!({"notifications": 1, "devices": 0}),
        ),
        (
            "subscriptions where device_id = (select max(device_id) from subscriptions)",
            (Method::DELETE, "/v1/topics/news", None),
            json!({"devices": 1, "users": 0}),
        ),
        (
            "devices where user_id = 'alice'",
            (Method::DELETE, "/v1/users/alice", None),
            json!({"devices": 2, "cancelled": 0}),
        ),
    ] {
        let mut holder = service.database.pool.acquire().await.unwrap();
        let mut transaction = holder.begin().await.unwrap();
        let lock = sqlx::AssertSqlSafe(format!("select 1 from {locked} for update"));
        sqlx::query(lock).execute(&mut *transaction).await.unwrap();
        let answer = ask(&service, &request).await;
        transaction.rollback().await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), &answer.body["code"]),
            (503, &json!("outcome_unknown")),
            "{answer:?}"
        );
        let again = ask(&service, &request).await;
        assert_eq!((again.status.as_u16(), &again.body), (200, &left), "{again:?}");
    }
    service.expect_log("request is answered");
    service.stop().await;
}
