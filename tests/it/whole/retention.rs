//! What the API says of a notification without its content.

use pushpost::runtime::Role;
use pushpost_testkit::json::{assert_has, fcm_targets};
use serde_json::json;

use pushpost_testkit::service::TestService;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_content_a_notification_is_answered_without_names() {
    let service = TestService::builder().config("RETENTION__CONTENT", "0s").node(Role::All).build().await;
    service.devices().register(json!({"platform": "fcm", "token": "f-u1", "user": "u1"})).await;
    let to = json!({"users": ["u1", "nobody"], "tokens": fcm_targets("f", 2)});
    let id = service
        .notifications()
        .send(json!({"to": to, "title": "Hi", "data": {"a": 1}, "label": "l", "metadata": {"order": "7"}}))
        .await;
    let done = service.notifications().until_done(&id).await;
    let deliveries = service.notifications().deliveries(&id).await;
    service.database.until_count("select count(*) from notifications where content is null", 1).await;
    let mut now = service.get(&format!("/v1/notifications/{id}")).await.body;
    let unmatched = json!({"users": [], "users_total": 1, "devices": [], "devices_total": 0});
    assert_eq!(now["unmatched"], unmatched);
    now["unmatched"] = done["unmatched"].clone();
    assert_eq!(now, done);
    assert_has(&now, &json!({"status": "done", "label": "l", "metadata": {"order": "7"}}));
    assert_eq!(service.notifications().deliveries(&id).await, deliveries);
    service.stop().await;
}
