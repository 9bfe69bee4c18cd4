//! What the API says of a notification whose content is gone.

use pushpost::runtime::Role;
use pushpost_simulator::Settings;
use pushpost_testkit::json::{assert_has, fcm_targets};
use serde_json::json;

use pushpost_testkit::service::TestService;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_without_its_content_is_answered_as_before_but_for_names() {
    let mut service = TestService::set(Settings::default()).await;
    service.configure("RETENTION__CONTENT", "0s");
    service.node(Role::All).await;
    service.device(json!({"platform": "fcm", "token": "f-u1", "user": "u1"})).await;
    let to = json!({"users": ["u1", "nobody"], "tokens": fcm_targets("f", 2)});
    let id = service
        .notify(json!({"to": to, "title": "Hi", "data": {"a": 1}, "label": "l", "metadata": {"order": "7"}}))
        .await;
    let done = service.done(&id).await;
    let deliveries = service.deliveries(&id).await;
    service.until_count("select count(*) from notifications where content is null", 1).await;
    let mut now = service.get(&format!("/v1/notifications/{id}")).await.body;
    let unmatched = json!({"users": [], "users_total": 1, "devices": [], "devices_total": 0});
    assert_eq!(now["unmatched"], unmatched);
    now["unmatched"] = done["unmatched"].clone();
    assert_eq!(now, done);
    assert_has(&now, &json!({"status": "done", "label": "l", "metadata": {"order": "7"}}));
    assert_eq!(service.deliveries(&id).await, deliveries);
    service.stop().await;
}
