//! What the nodes count as delivered is what became of all devices.

use std::collections::BTreeMap;

use pushpost::domain::NotificationId;
use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, Rule};
use pushpost_testkit::json::{apns_targets, fcm_targets, hex};
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::until;
use serde_json::{Value, json};

const STATUSES: [&str; 6] = ["accepted", "rejected", "token_dead", "expired", "cancelled", "unknown"];

/// Devices by lane and status, without the zeros.
type Counts = BTreeMap<(String, String), i64>;

/// What is on record.
async fn recorded(service: &TestService) -> Counts {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "select case when r.lane_id = 0 then 'none'
                     else a.name || case l.platform when 2 then '/fcm' else
                            case l.environment when 1 then '/apns-production' else '/apns-sandbox' end end end,
                status, sum(ended)::bigint
         from receipts r left join lanes l using (lane_id) left join apps a using (app_id)
         cross join lateral (values ('accepted', accepted), ('rejected', rejected), ('token_dead', token_dead),
                                    ('expired', expired), ('cancelled', cancelled), ('unknown', unknown))
           as counts(status, ended)
         where ended > 0 group by 1, 2",
    )
    .fetch_all(&service.database.pool)
    .await
    .unwrap();
    rows.into_iter().map(|(lane, status, devices)| ((lane, status), devices)).collect()
}

/// The sum over so many nodes of what each counts.
async fn counted(service: &TestService, nodes: usize) -> Counts {
    let mut counts = Counts::new();
    for node in 0..nodes {
        let scrape = service.scrape(node).await;
        for lane in ["shop/fcm", "shop/apns-production", "shop/apns-sandbox", "none"] {
            for status in STATUSES {
                let sample = format!("pushpost_deliveries_total{{lane=\"{lane}\",status=\"{status}\"}}");
                *counts.entry((lane.to_owned(), status.to_owned())).or_default() +=
                    scrape.value(&sample) as i64;
            }
        }
    }
    counts.retain(|_, count| *count != 0);
    counts
}

async fn send(service: &TestService, targets: Vec<Value>, ttl: Value) -> String {
    let body = json!({"to": {"tokens": targets}, "title": "Hi", "ttl": ttl, "on_bad_token": "reject"});
    service.notifications().send(body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sum_over_two_nodes_is_what_is_on_record() {
    let service = TestService::builder().node(Role::All).node(Role::All).build().await;
    let dead = Action::Dead { timestamp_ms: None, timestamp_ago_ms: None };
    service.rule(Rule::token("f-dead", dead));
    service.rule(Rule::token(hex("cc"), Action::answer(400, "BadCollapseId")));
    service.rule(Rule::prefix("f-silent", Action::NoAnswer { accepted: false }));
    // Found page by page, so that both nodes send.
    for n in 0..40 {
        let device = json!({"platform": "fcm", "token": format!("f-all{n}"), "user": "u1"});
        service.devices().register(device).await;
    }
    let all = service.notifications().send(json!({"to": {"all": true}, "title": "Hi"})).await;
    let mixed = [
        apns_targets("a", 60),
        fcm_targets("f", 60),
        vec![
            json!({"platform": "fcm", "token": "f-dead"}),
            json!({"platform": "apns", "token": hex("cc")}),
            json!({"platform": "apns", "token": "not hexadecimal"}),
        ],
    ];
    let mixed = send(&service, mixed.concat(), json!("1h")).await;
    let silent = send(&service, fcm_targets("f-silent", 2), json!(0)).await;
    for id in [&all, &mixed, &silent] {
        service.notifications().until_done(id).await;
    }
    // Quarantined by now, so that it ends without an attempt.
    service.database.until_count("select count(*) from devices where quarantined_at is not null", 1).await;
    let again = send(&service, vec![json!({"platform": "fcm", "token": "f-dead"})], json!("1h")).await;
    service.notifications().until_done(&again).await;

    // What no lane sends: ended by a request, by an erasure, and by the leader.
    service.lanes().pause(fcm::LANE).await;
    let cancelled = send(&service, fcm_targets("f", 7), json!("1h")).await;
    let to_user = service.notifications().send(json!({"to": {"users": ["u1"]}, "title": "Hi"})).await;
    let expired = send(&service, fcm_targets("f", 11), json!("1s")).await;
    assert_eq!(service.delete(&format!("/v1/notifications/{cancelled}")).await.status, 200);
    assert_eq!(service.delete("/v1/users/u1").await.status, 200);
    service.notifications().until_done(&expired).await;
    until("what waited for the user has ended", async || {
        service.get(&format!("/v1/notifications/{to_user}")).await.body["counts"]["pending"] == 0
    })
    .await;

    let on_record = recorded(&service).await;
    for status in STATUSES {
        assert!(on_record.keys().any(|(_, found)| found == status), "{status} is missing in {on_record:?}");
    }
    assert!(on_record.contains_key(&("none".to_owned(), "rejected".to_owned())), "{on_record:?}");
    // A count follows its commit.
    until("all is counted", async || counted(&service, 2).await == recorded(&service).await).await;
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_are_counted_once_if_the_answer_to_their_commit_is_lost() {
    let mut service = TestService::builder().build().await;
    let proxy = PostgresProxy::of(&service.database).await;
    service.configure("DATABASE__URL", proxy.url());
    service.node(Role::All).await;
    service.lanes().pause(fcm::LANE).await;
    let id = send(&service, fcm_targets("f", 20), json!("1h")).await;
    let notification = "select notification_id from notifications";
    let notification = sqlx::query_scalar(notification).fetch_one(&service.database.pool).await.unwrap();
    let something_recorded = "select exists (select from receipts where notification_id = $1)";
    proxy.cut_once(&service.database, something_recorded, NotificationId(notification));
    service.lanes().resume(fcm::LANE).await;
    service.notifications().until_done(&id).await;
    assert!(proxy.has_cut());
    until("all is counted", async || counted(&service, 1).await == recorded(&service).await).await;
    let fcm = ("shop/fcm".to_owned(), "accepted".to_owned());
    assert_eq!(counted(&service, 1).await, Counts::from([(fcm, 20)]));
    service.stop().await;
}
