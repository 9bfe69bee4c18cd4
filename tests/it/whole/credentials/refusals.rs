//! What providers answer about a credential: what stops the lane, what makes it wait, and what concerns one notification
//! only. None of these answers costs a device an attempt, or its token.

use pushpost_testkit::json::{apns_targets, assert_ended, assert_has, fcm_targets, hex};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pushpost_simulator::{Action, FcmFault, Provider, Rule, Settings};
use serde_json::{Value, json};

use super::{QUARANTINED, SUSPENDED, assert_untouched, hello, unhurried};
use pushpost_testkit::service::{TestService, sent};

const DEVICES: usize = 20;

/// What is answered to all requests, by which server, and the reason that the lane is suspended for.
fn refusals() -> Vec<(Provider, Action, &'static str)> {
    let apns = |status, reason: &'static str| (Provider::Apns, Action::answer(status, reason), reason);
    let fcm = |fault, reason| (Provider::Fcm, Action::fcm(fault), reason);
    vec![
        apns(403, "InvalidProviderToken"),
        apns(403, "BadEnvironmentKeyIdInToken"),
        apns(403, "BadEnvironmentKeyInToken"),
        // Of a token that is a minute old: a clock is wrong, and another token would be too.
        apns(403, "ExpiredProviderToken"),
        apns(400, "TopicDisallowed"),
        (Provider::Oauth, Action::answer(400, "invalid_grant"), "invalid_grant"),
        fcm(FcmFault::Unauthenticated, "UNAUTHENTICATED"),
        fcm(FcmFault::PermissionDenied, "PERMISSION_DENIED"),
        fcm(FcmFault::NotFound, "NOT_FOUND"),
        fcm(FcmFault::NotFoundHtml, "404"),
    ]
}

/// So many devices of the provider's own platform, and as many of the other.
fn devices(provider: Provider, number: usize) -> (Vec<Value>, Vec<Value>) {
    let apns = apns_targets(&format!("{number:08x}"), DEVICES);
    let fcm = fcm_targets(&format!("f{number}-"), DEVICES);
    if provider == Provider::Apns { (apns, fcm) } else { (fcm, apns) }
}

/// The same server by another name is another credential to try.
fn rename_endpoint(service: &TestService, provider: Provider) {
    let addresses = service.simulator.addresses();
    let port = if provider == Provider::Apns { addresses.apns } else { addresses.fcm }.port();
    let names = [format!("https://localhost:{port}"), format!("https://127.0.0.1:{port}")];
    let now = usize::from(service.read("pushpost.toml").contains(&names[1]));
    service.edit(&names[now], &names[1 - now]);
}

async fn reason(service: &TestService) -> String {
    sqlx::query_scalar("select suspended_reason from lanes where suspended_fingerprint is not null")
        .fetch_one(&service.database.pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_credential_rejection_suspends_its_lane_and_counts_no_attempt() {
    let service = unhurried(Settings::default()).await;
    for (number, (provider, action, word)) in refusals().into_iter().enumerate() {
        if provider == Provider::Oauth {
            service.simulator.revoke_access_tokens();
        }
        service.rule(Rule::provider(provider, action));
        let (stopped, others) = devices(provider, number);
        let id = service.notifications().send(hello(stopped)).await;
        service.database.until_count(SUSPENDED, 1).await;
        assert_eq!(reason(&service).await, word);
        service.database.until_count("select count(*) from jobs where node_id is not null", 0).await;
        let deliveries = service.notifications().deliveries(&id).await;
        assert_eq!(deliveries.len(), DEVICES);
        deliveries.iter().for_each(|one| assert_ended(one, "pending", 0, Some("lane_suspended")));
        let status = service.get(&format!("/v1/notifications/{id}")).await.body;
        assert_eq!(
            (&status["held"][0]["state"], &status["held"][0]["why"]),
            (&json!("suspended"), &json!(word))
        );
        let other = service.notifications().send(hello(others)).await;
        assert_untouched(&service, &other, DEVICES).await;
        assert_eq!(service.database.count(QUARANTINED).await, 0, "{word}");

        service.simulator.clear_rules();
        rename_endpoint(&service, provider);
        service.reload().await.unwrap();
        assert_untouched(&service, &id, DEVICES).await;
        service.database.until_count(SUSPENDED, 0).await;
    }
    assert_one_token_each(&service);
    service.stop().await;
}

/// No connection to APNs was shown two provider tokens.
fn assert_one_token_each(service: &TestService) {
    let mut shown: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for entry in sent(&service.ledger()).into_iter().filter(|entry| entry.provider == Provider::Apns) {
        shown.entry(entry.connection).or_default().extend(entry.credential);
    }
    assert!(shown.values().all(|tokens| tokens.len() == 1), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_token_that_was_withdrawn_is_renewed_once_for_all() {
    let service = unhurried(Settings::default()).await;
    let first = service.notifications().send(hello(fcm_targets("a", DEVICES))).await;
    assert_untouched(&service, &first, DEVICES).await;
    service.simulator.revoke_access_tokens();
    let second = service.notifications().send(hello(fcm_targets("b", DEVICES))).await;
    assert_untouched(&service, &second, DEVICES).await;
    assert_eq!(service.ledger().count(Provider::Oauth, 200, ""), 2, "access tokens");
    assert_eq!(service.database.count(SUSPENDED).await, 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_token_that_stays_refused_is_renewed_once_and_then_suspends() {
    let service = unhurried(Settings::default()).await;
    service.rule(Rule::provider(Provider::Fcm, Action::fcm(FcmFault::Unauthenticated)));
    service.notifications().send(hello(fcm_targets("a", 1))).await;
    service.database.until_count(SUSPENDED, 1).await;
    assert_eq!(service.ledger().count(Provider::Oauth, 200, ""), 2, "access tokens");
    assert_eq!(sent(&service.ledger()).len(), 2);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_token_endpoint_makes_the_lane_wait_and_suspends_nothing() {
    let mut settings = Settings::default();
    settings.fcm.token_life = Duration::from_secs(3);
    let service = unhurried(settings).await;
    let first = service.notifications().send(hello(fcm_targets("a", 1))).await;
    assert_untouched(&service, &first, 1).await;
    service.rule(Rule::provider(Provider::Oauth, Action::answer(503, "backend_error")));
    let down = |times| {
        move |ledger: &pushpost_simulator::Ledger| {
            ledger.count(Provider::Oauth, 503, "backend_error") >= times
        }
    };
    // Sent while the token holds, while it is due, and when it has run out.
    let mut ids = Vec::new();
    while !down(2)(&service.ledger()) {
        ids.push(service.notifications().send(hello(fcm_targets(&format!("b{}-", ids.len()), 1))).await);
        service.ledger().wait_until(Duration::from_millis(50), down(2)).await;
    }
    let waiting = service.notifications().deliveries(ids.last().unwrap()).await;
    assert_has(&waiting[0], &json!({"status": "pending", "attempts": 0}));
    // The outage is in the database once a node has reported it.
    let reason = &waiting[0]["reason"];
    assert!(reason.is_null() || reason == "lane_broken", "{reason}");
    assert_eq!(service.database.count(SUSPENDED).await, 0);
    let other = service.notifications().send(hello(apns_targets("a", 1))).await;
    assert_untouched(&service, &other, 1).await;
    service.simulator.clear_rules();
    for id in &ids {
        assert_untouched(&service, id, 1).await;
    }
    // The first, and at least one after the outage; more, if the machine was slower than their life.
    assert!(service.ledger().count(Provider::Oauth, 200, "") >= 2, "access tokens");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_token_updates_replace_the_connection_and_count_no_attempt() {
    let service = unhurried(Settings::default()).await;
    let refusal = Action::answer(429, "TooManyProviderTokenUpdates");
    service.rule(Rule::provider(Provider::Apns, refusal).times(1));
    // Now or never: a device that had to take another turn would be lost.
    let body = json!({"to": {"tokens": apns_targets("a", 1)}, "title": "Hi", "ttl": 0});
    let id = service.notifications().send(body).await;
    assert_untouched(&service, &id, 1).await;
    let later = service.notifications().send(hello(apns_targets("b", DEVICES))).await;
    assert_untouched(&service, &later, DEVICES).await;
    let entries = sent(&service.ledger());
    assert_eq!(entries[0].status, Some(429));
    assert!(entries[1..].iter().all(|entry| entry.connection != entries[0].connection));
    assert!(entries.iter().all(|entry| entry.credential == entries[0].credential), "no new token was made");
    assert_eq!(service.database.count(SUSPENDED).await, 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disallowed_topic_of_one_notification_rejects_only_that_one() {
    let service = unhurried(Settings::default()).await;
    service.rule(Rule::token(hex("a1"), Action::answer(400, "TopicDisallowed")));
    let calling = json!({
        "to": {"tokens": [{"platform": "apns", "token": hex("a1"), "kind": "voip"}]},
        "apns": {"headers": {"apns-push-type": "voip"}, "payload": {"call": 1}}, "title": "Hi",
    });
    let id = service.notifications().send(calling).await;
    assert_ended(&service.notifications().outcome(&id).await, "rejected", 1, Some("TopicDisallowed"));
    assert_eq!(service.received(&hex("a1"))[0].header("apns-topic"), Some("com.example.shop.voip"));
    let other = service.notifications().send(hello(apns_targets("b", DEVICES))).await;
    assert_untouched(&service, &other, DEVICES).await;
    assert_eq!((service.database.count(SUSPENDED).await, service.database.count(QUARANTINED).await), (0, 0));
    service.stop().await;
}

/// Postgres's time, as nodes learn it, can be moved.
const MOVABLE_CLOCK: &str = "
    create table ahead (by interval not null);
    insert into ahead values ('0');
    create function public.clock_timestamp() returns timestamptz language sql volatile
        as 'select pg_catalog.clock_timestamp() + by from public.ahead';
    do $$ begin execute format('alter database %I set search_path = public, pg_catalog', current_database()); end $$;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_provider_token_is_renewed_once_on_another_connection() {
    let mut settings = Settings::default();
    settings.apns.jwt_max_age = Duration::from_secs(4 * 3600);
    let mut service = TestService::builder().simulator(settings).build().await;
    service.database.execute(MOVABLE_CLOCK).await;
    service.configure("SERVER__RELOAD_INTERVAL", "1h");
    service.node(pushpost::runtime::Role::All).await;
    let first = service.notifications().send(hello(apns_targets("a", 1))).await;
    assert_untouched(&service, &first, 1).await;
    // A machine that slept for two hours.
    service.database.execute("update ahead set by = '2 hours'").await;
    let expired = Action::answer(403, "ExpiredProviderToken");
    service.rule(Rule::provider(Provider::Apns, expired).times(1));
    // Two beats later the node has learnt the time.
    let beats = service.database.count("select beat::bigint from nodes").await;
    service.database.until_count(&format!("select count(*) from nodes where beat >= {}", beats + 2), 1).await;
    let second = service.notifications().send(hello(apns_targets("b", DEVICES))).await;
    assert_untouched(&service, &second, DEVICES).await;
    let entries = sent(&service.ledger());
    let expired = entries.iter().find(|entry| entry.status == Some(403)).unwrap();
    let again = entries.iter().rfind(|entry| entry.token == expired.token).unwrap();
    assert_ne!(again.connection, expired.connection);
    let tokens: BTreeSet<_> = entries.iter().map(|entry| &entry.credential).collect();
    assert_eq!(tokens.len(), 2, "renewed once");
    assert_one_token_each(&service);
    assert_eq!(service.database.count(SUSPENDED).await, 0);
    service.stop().await;
}
