//! Webhooks that need an operator, as the first page lists them.

use pushpost_testkit::json::assert_has;
use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

use super::Browser;
use super::live::{until_snapshot, view};

/// A webhook of another node's configuration, which the node of the test leaves alone.
const ONE: &str = "
    insert into webhooks (app_id, name, source, cursor_position, cursor_index, cursor_day)
    select app_id, 'picky', 1, 0, 0, current_date from apps where name = 'shop'";
const SET_ASIDE: &str = "
    insert into webhook_set_aside (webhook_id, position, index, day)
    select webhook_id, n, 0, current_date from webhooks, generate_series(1, 2) n";
const MANY: &str = "
    insert into webhooks (app_id, name, source, cursor_position, cursor_index, cursor_day, disabled_at)
    select app_id, 'away-' || n, 1, 0, 0, current_date, now() from apps, generate_series(1, 21) n where apps.name = 'shop'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_aside_events_need_an_operator_and_webhooks_that_are_not_listed_are_counted() {
    let service = TestService::start().await;
    for statement in [ONE, SET_ASIDE] {
        sqlx::query(statement).execute(&service.database.pool).await.unwrap();
    }
    let browser = Browser::with_key(&service, &service.key("admin").await).await;
    let mut stream = view(&browser, None).await;
    let needs = |snapshot: &Value| snapshot["needs"].as_array().unwrap().len();
    let one = until_snapshot(&mut stream, |snapshot| needs(snapshot) == 1).await;
    let need = &one["needs"][0];
    assert_has(
        need,
        &json!({"state": "set_aside", "about": "webhook picky", "since": "<time>", "reason": null,
        "text": "2 events were set aside, because the receiver refused them and took later ones."}),
    );
    assert!(need["page"].as_str().unwrap().ends_with("#set-aside"), "{need}");

    sqlx::query(MANY).execute(&service.database.pool).await.unwrap();
    let many = until_snapshot(&mut stream, |snapshot| needs(snapshot) > 1).await;
    let needs = many["needs"].as_array().unwrap();
    assert_eq!(needs.len(), 21);
    assert!(needs[..20].iter().all(|need| need["state"] == "disabled"), "{many}");
    assert_has(&needs[20], &json!({"about": "and 2 more webhooks", "page": "webhooks"}));
    service.stop().await;
}
