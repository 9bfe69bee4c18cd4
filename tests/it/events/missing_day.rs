//! A day of the log is missing: sending goes on, facts wait, and all are told once the day is there.

use pushpost_testkit::json::hex;
use pushpost_testkit::service::TestService;
use serde_json::json;

use crate::event_streams::{all_after, types, until_ended};

/// Today and tomorrow, because a day may end during the test.
const DROP: &str = "do $$ begin
  for ahead in 0..1 loop
    execute 'drop table event_log_' || to_char((now() at time zone 'UTC')::date + ahead, 'YYYYMMDD');
  end loop; end $$";
const MAKE: &str = "do $$ begin
  for ahead in 0..1 loop call create_day((now() at time zone 'UTC')::date + ahead); end loop; end $$";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_wait_for_a_missing_day_of_the_log_and_sending_does_not() {
    let service = TestService::start().await;
    let key = service.key("read").await;
    service.database.until_count("select count(*) from event_outbox", 0).await;
    service.database.execute(DROP).await;
    let mut ids = Vec::new();
    for two in ["aa", "bb"] {
        let token = json!({"platform": "apns", "token": hex(two)});
        let id = service.notifications().send(json!({"to": {"tokens": [token]}, "title": "Hi"})).await;
        let done = service.notifications().until_done(&id).await;
        assert_eq!(done["counts"]["accepted"], 1, "{done}");
        ids.push(id);
    }
    assert!(service.database.count("select count(*) from event_outbox").await >= 2, "facts wait");
    assert!(all_after(&service, &key, "", "").await.0.is_empty());
    service.database.execute(MAKE).await;
    for id in ids {
        let events = until_ended(&service, &key, &id).await;
        assert_eq!(types(&events), ["delivery.recorded", "notification.done"]);
    }
    service.stop().await;
}
