//! Where a reader may begin, and what it may see.

use chrono::{Days, NaiveDate, Utc};
use http::Method;
use pushpost::domain::{EventPlace, LogPosition};
use pushpost::store;
use pushpost_testkit::answer::Answer;
use pushpost_testkit::json::{assert_has, hex};
use pushpost_testkit::request::ApiRequest;
use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

use super::client::ask;
use super::{EVENTS, all_after, ids, tell_of_node, types, until_events};

async fn get(service: &TestService, key: &str, query: &str) -> Answer {
    ApiRequest::new(Method::GET, &format!("{EVENTS}?{query}")).key(key).of(service).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_key_sees_no_types_of_operators_and_another_app_sees_nothing() {
    let mut service = TestService::builder().build().await;
    service.with_another_app("other");
    service.node(pushpost::runtime::Role::All).await;
    let (read, admin) = (service.key("read").await, service.key("admin").await);
    let other = service.key_of("other", "admin").await;
    tell_of_node(&service).await;
    service.notifications().send_to_token("apns", &hex("bb"), "1h").await;
    let has_both = |events: &[Value]| {
        ["notification.done", "node.started"].iter().all(|each| types(events).contains(each))
    };
    let seen_by_admin = until_events(&service, &admin, "", has_both).await;
    let (seen, _) = all_after(&service, &read, "", "").await;
    let groups: Vec<_> = types(&seen).iter().map(|each| each.split('.').next().unwrap().to_owned()).collect();
    assert!(!seen.is_empty());
    assert!(
        groups.iter().all(|group| ["delivery", "notification", "device"].contains(&&**group)),
        "{groups:?}"
    );
    let unseen = get(&service, &read, "type=device.*&type=node.*").await;
    assert_eq!((unseen.status.as_u16(), &unseen.body["code"]), (403, &json!("missing_scope")));
    assert_has(&unseen.body, &json!({"scopes": ["admin"], "types": ["node.started", "node.died"]}));
    let followed = get(&service, &admin, "follow=true").await;
    assert_eq!(followed.status, 200, "a page ignores it");

    let (seen_by_other, _) = all_after(&service, &other, "", "").await;
    let of_shop = ids(&seen_by_admin);
    assert!(ids(&seen_by_other).iter().all(|id| !of_shop.contains(id)));
    assert!(seen_by_other.iter().all(|event| event["app"] == "other"), "{seen_by_other:?}");
    let foreign = get(&service, &other, &format!("after={}", of_shop[0])).await;
    assert_eq!(foreign.status, 400);
    assert_has(&foreign.body["errors"], &json!([{"parameter": "after", "code": "invalid_cursor"}]));
    for scopes in ["send", "devices", "send,devices", "register"] {
        let refused = get(&service, &service.key(scopes).await, "").await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["code"]),
            (403, &json!("missing_scope")),
            "{scopes}"
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_retention_has_passed_is_gone_in_every_form() {
    let service = TestService::start().await;
    let key = service.key("admin").await;
    tell_of_node(&service).await;
    let events = until_events(&service, &key, "", |events| !events.is_empty()).await;
    let (installation, app) = {
        let mut conn = service.database.pool.acquire().await.unwrap();
        let installation = store::apps::installation_key(&mut conn).await.unwrap();
        let app: i16 = sqlx::query_scalar("select app_id from apps where name = 'shop'")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        (installation, pushpost::domain::AppId(app))
    };
    let first_day: NaiveDate = sqlx::query_scalar("select (now() at time zone 'UTC')::date - 1")
        .fetch_one(&service.database.pool)
        .await
        .unwrap();
    let place = |day| EventPlace::new(LogPosition { position: 0, day }, 7);
    let before = first_day.checked_sub_days(Days::new(1)).unwrap();
    let (gone, kept) = (place(before), place(first_day));
    let (id, cursor) = (installation.event_id(app, gone), installation.event_cursor(app, gone));
    let oldest = first_day.and_hms_opt(0, 0, 0).unwrap().and_local_timezone(Utc).unwrap();
    for query in [format!("after={id}"), format!("cursor={cursor}")] {
        let expired = get(&service, &key, &query).await;
        let oldest = oldest.format("%Y-%m-%dT%H:%M:%S.000Z").to_string();
        assert_eq!(expired.status, 410);
        assert_has(&expired.body, &json!({"code": "events_expired", "oldest": oldest}));
    }
    for accept in ["application/x-ndjson", "text/event-stream"] {
        let expired = ask(service.url(&format!("{EVENTS}?after={id}")), &key, accept, None).await;
        assert_eq!(expired.status(), 410, "{accept}");
    }
    let last = ask(service.url(EVENTS), &key, "text/event-stream", Some(&id)).await;
    assert_eq!(last.status(), 410);
    let (all, _) =
        all_after(&service, &key, "", &format!("&after={}", installation.event_id(app, kept))).await;
    assert_eq!(all[..events.len()], events[..]);
    let since = format!("&since={}", before.format("%Y-%m-%dT00:00:00Z"));
    assert_eq!(all_after(&service, &key, "", &since).await.0[..events.len()], events[..]);
    assert_eq!(all_after(&service, &key, "", "&since=9999-12-31T00:00:00Z").await.0, Vec::<Value>::new());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_log_there_is_a_conflict_in_every_form() {
    let mut service = TestService::builder().build().await;
    service.configure("RETENTION__EVENTS", "0s");
    service.node(pushpost::runtime::Role::All).await;
    let key = service.key("read").await;
    for accept in ["application/json", "application/x-ndjson", "text/event-stream"] {
        let answer = ask(service.url(EVENTS), &key, accept, None).await;
        assert_eq!(answer.status(), 409, "{accept}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "events_off");
    }
    service.stop().await;
}
