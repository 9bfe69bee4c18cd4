//! Audiences: which devices become targets, through which selector, and what is unmatched.

use std::collections::HashMap;

use futures_util::future::join_all;
use pushpost::audience::{
    AddressedToken, Audience, AudienceSelector, DeviceLookup, NamedDevice, Resolved, resolve,
};
use pushpost::domain::{App, DeviceId, Kind, References, Source, Target, UserId};
use pushpost::provider::{apns, fcm};
use pushpost::registry::devices::find_by_tokens;
use pushpost::registry::registration::FieldChange;
use pushpost::store::SessionPool;
use tokio_util::sync::CancellationToken;

use pushpost_testkit::apps::{
    apns, apns_token, app, fcm, fcm_token, of, put, put_id, shop, user, without_credentials,
};
use pushpost_testkit::database::TestDatabase;

async fn resolved(pool: &SessionPool, app: &App, audience: &Audience) -> Resolved {
    resolved_for(pool, app, audience, Kind::Alert).await
}

async fn resolved_for(pool: &SessionPool, app: &App, audience: &Audience, kind: Kind) -> Resolved {
    resolve(&DeviceLookup::unshared(pool.clone()), app, audience, kind).await.unwrap()
}

fn users(names: &[&str]) -> Audience {
    AudienceSelector::Users(names.iter().map(|name| user(name)).collect()).into()
}

fn devices(ids: &[DeviceId]) -> Audience {
    let named = |id: &DeviceId| NamedDevice { public_id: format!("dev_{id}"), id: Some(*id) };
    AudienceSelector::Devices(ids.iter().map(named).collect()).into()
}

fn token(two: &str, reference: &str) -> AddressedToken {
    AddressedToken {
        platform: apns::PLATFORM,
        token: apns_token(two),
        environment: None,
        kind: None,
        reference: Some(reference.to_owned()),
    }
}

fn tokens(tokens: Vec<AddressedToken>) -> Audience {
    AudienceSelector::Tokens(tokens).into()
}

fn both(mut one: Audience, other: Audience) -> Audience {
    one.selectors.extend(other.selectors);
    one
}

fn ids(resolved: &Resolved) -> Vec<DeviceId> {
    resolved.targets.iter().map(|target| target.device).collect()
}

fn refusals(resolved: &Resolved) -> HashMap<DeviceId, &str> {
    let refused = |target: &'_ Target| target.refused.is_some();
    let targets = resolved.targets.iter().filter(|target| refused(target));
    targets.map(|target| (target.device, target.refused.as_ref().unwrap().as_str())).collect()
}

async fn quarantine(pool: &SessionPool, id: DeviceId) {
    sqlx::query("update devices set quarantined_at = now(), quarantine_reason = 'x' where device_id = $1")
        .bind(id.0)
        .execute(pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_audience_without_selectors_is_empty() {
    let database = TestDatabase::create().await;
    let app = shop(&database.pool).await;
    assert_eq!(resolved(&database.pool, &app, &Audience::default()).await, Resolved::default());
    let invented = vec![NamedDevice { public_id: "dev_x".to_owned(), id: None }];
    let invented = AudienceSelector::Devices(invented).into();
    let found = resolved(&database.pool, &app, &invented).await;
    assert_eq!((found.targets, found.unmatched_devices), (vec![], vec!["dev_x".to_owned()]));
}

#[tokio::test]
async fn each_device_is_one_target_and_a_device_selector_wins_over_its_user() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let a = put_id(pool, &app, &of("u1", apns("aa"))).await;
    let b = put_id(pool, &app, &of("u1", fcm("f1"))).await;
    let audience = both(
        both(users(&["u1", "nobody", "u1", "nobody"]), devices(&[a])),
        tokens(vec![token("aa", "row-1"), token("aa", "row-2")]),
    );
    let found = resolved(pool, &app, &audience).await;
    let lane = |key| app.lane(key).id;
    let by_token = Target {
        device: a,
        lane: lane(apns::lane(apns::PRODUCTION)),
        user: None,
        references: References::from_stored(Some("row-1\nrow-2")),
        refused: None,
    };
    let by_user = Target {
        device: b,
        lane: lane(fcm::LANE),
        user: Some(user("u1")),
        references: References::default(),
        refused: None,
    };
    assert_eq!(found.targets, [by_token, by_user]);
    assert_eq!(found.unmatched_users, [user("nobody")]);
    assert!(found.unmatched_devices.is_empty());
}

#[tokio::test]
async fn a_quarantined_device_is_a_target_only_if_it_is_named() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let id = put_id(pool, &app, &of("u1", apns("aa"))).await;
    quarantine(pool, id).await;
    let found = resolved(pool, &app, &users(&["u1"])).await;
    assert_eq!((ids(&found), found.unmatched_users.clone()), (vec![], vec![user("u1")]));
    for named in [devices(&[id]), tokens(vec![token("aa", "r")])] {
        let found = resolved(pool, &app, &named).await;
        assert_eq!(
            (ids(&found), refusals(&found).len()),
            (vec![id], 0),
            "its outcome is the dispatcher's to record"
        );
    }
}

#[tokio::test]
async fn an_apns_token_of_another_kind_is_a_target_only_if_it_is_named_and_then_refused() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let mut voip = of("u1", apns("aa"));
    voip.details.kind = FieldChange::Set(Kind::Voip);
    let voip = put_id(pool, &app, &voip).await;
    let alert = put_id(pool, &app, &of("u1", apns("bb"))).await;
    let android = put_id(pool, &app, &of("u1", fcm("f1"))).await;
    assert_eq!(ids(&resolved(pool, &app, &users(&["u1"])).await), [alert, android]);
    let call = resolved_for(pool, &app, &users(&["u1"]), Kind::Voip).await;
    assert_eq!(ids(&call), [voip, android], "FCM tokens have no kind");
    let named = resolved(pool, &app, &devices(&[voip, alert])).await;
    assert_eq!(ids(&named), [voip, alert]);
    assert_eq!(refusals(&named), HashMap::from([(voip, "wrong_kind")]));
}

#[tokio::test]
async fn platforms_and_except_narrow_an_audience() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let a = put_id(pool, &app, &of("u1", apns("aa"))).await;
    let b = put_id(pool, &app, &of("u1", fcm("f1"))).await;
    let c = put_id(pool, &app, &of("u2", apns("bb"))).await;
    let all = users(&["u1", "u2"]);
    let only_apns = Audience { platforms: Some(vec![apns::PLATFORM]), ..all.clone() };
    assert_eq!(ids(&resolved(pool, &app, &only_apns).await), [a, c]);
    let but_a = Audience { except_devices: vec![a], ..all.clone() };
    assert_eq!(ids(&resolved(pool, &app, &but_a).await), [b, c]);
    let with_token = both(all, tokens(vec![token("aa", "r")]));
    let but_u1 = Audience { except_users: vec![user("u1")], ..with_token };
    let found = resolved(pool, &app, &but_u1).await;
    assert_eq!((ids(&found), found.unmatched_users), (vec![c], vec![user("u1")]));

    let other_platform = Audience { platforms: Some(vec![fcm::PLATFORM]), ..tokens(vec![token("dd", "r")]) };
    assert_eq!(ids(&resolved(pool, &app, &other_platform).await), []);
    let made = find_by_tokens(pool, app.id, apns::PLATFORM, &[apns_token("dd")]).await.unwrap();
    assert!(made.is_empty(), "what is narrowed away becomes no device");
}

#[tokio::test]
async fn a_lane_without_credentials_refuses_what_it_would_get() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let app = without_credentials(app, fcm::LANE);
    let a = put_id(pool, &app, &of("u1", apns("aa"))).await;
    let b = put_id(pool, &app, &of("u1", fcm("f1"))).await;
    for audience in [users(&["u1"]), devices(&[a, b])] {
        let found = resolved(pool, &app, &audience).await;
        assert_eq!(ids(&found), [a, b]);
        assert_eq!(refusals(&found), HashMap::from([(b, "platform_not_configured")]));
    }
}

#[tokio::test]
async fn an_unknown_token_becomes_a_device_that_only_ids_and_tokens_reach() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let sandbox = AddressedToken { environment: Some(apns::SANDBOX), ..token("bb", "row-2") };
    let android = AddressedToken { platform: fcm::PLATFORM, token: fcm_token("f1"), ..token("aa", "row-3") };
    let audience = tokens(vec![token("aa", "row-1"), sandbox, android]);
    let found = resolved(pool, &app, &audience).await;
    let refs: Vec<_> = found.targets.iter().map(|target| target.references.names()[0].as_str()).collect();
    assert_eq!(refs.len(), 3);
    let made =
        find_by_tokens(pool, app.id, apns::PLATFORM, &[apns_token("bb")]).await.unwrap().remove(0).device;
    assert_eq!((made.source, made.registered_at, made.user), (Source::Send, None, None));
    assert_eq!((made.environment, made.kind), (Some(apns::SANDBOX), Kind::Alert));
    let by_ref: HashMap<_, _> = refs.into_iter().zip(&found.targets).collect();
    assert_eq!(by_ref["row-2"].lane, app.lane(apns::lane(apns::SANDBOX)).id);
    assert_eq!(by_ref["row-1"].lane, app.lane(apns::lane(apns::PRODUCTION)).id);
    assert_eq!(by_ref["row-3"].lane, app.lane(fcm::LANE).id);
    assert_eq!(ids(&resolved(pool, &app, &audience).await), ids(&found), "known from now on");
}

#[tokio::test]
async fn an_unknown_token_without_a_kind_is_of_the_kind_that_the_notification_needs() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let named = AddressedToken { kind: Some(Kind::Alert), ..token("bb", "named") };
    let android =
        AddressedToken { platform: fcm::PLATFORM, token: fcm_token("f1"), ..token("aa", "android") };
    let audience = tokens(vec![token("aa", "unnamed"), named, android]);
    let call = resolved_for(pool, &app, &audience, Kind::Voip).await;
    let refused: Vec<_> = call
        .targets
        .iter()
        .filter(|target| target.refused.is_some())
        .map(|target| target.references.names())
        .collect();
    assert_eq!(refused, [["named"]]);
    for (two, kind) in [("aa", Kind::Voip), ("bb", Kind::Alert)] {
        let made = find_by_tokens(pool, app.id, apns::PLATFORM, &[apns_token(two)]).await.unwrap().remove(0);
        assert_eq!(made.device.kind, kind, "{two}");
    }
    let made = find_by_tokens(pool, app.id, fcm::PLATFORM, &[fcm_token("f1")]).await.unwrap().remove(0);
    assert_eq!(made.device.kind, Kind::Alert);
}

#[tokio::test]
async fn a_known_token_keeps_what_is_registered() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    put(pool, &app, &apns("aa")).await;
    let claims =
        AddressedToken { environment: Some(apns::SANDBOX), kind: Some(Kind::Voip), ..token("aa", "r") };
    let found = resolved(pool, &app, &tokens(vec![claims])).await;
    assert_eq!(found.targets[0].lane, app.lane(apns::lane(apns::PRODUCTION)).id);
    let kept =
        find_by_tokens(pool, app.id, apns::PLATFORM, &[apns_token("aa")]).await.unwrap().remove(0).device;
    assert_eq!((kept.kind, kept.source), (Kind::Alert, Source::Registered));
}

#[tokio::test]
async fn the_day_of_the_last_send_is_kept_for_what_is_known_from_sends_alone() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let sent = resolved(pool, &app, &tokens(vec![token("aa", "r")])).await;
    let registered = put_id(pool, &app, &apns("bb")).await;
    let stale = "update devices set last_sent_on = current_date - 5 where source = 1";
    let fresh = "select count(*) from devices where last_sent_on = current_date";
    for audience in [devices(&[ids(&sent)[0], registered]), tokens(vec![token("aa", "r"), token("bb", "r")])]
    {
        sqlx::query(stale).execute(pool).await.unwrap();
        resolved(pool, &app, &audience).await;
        assert_eq!(sqlx::query_scalar::<_, i64>(fresh).fetch_one(pool).await.unwrap(), 1);
    }
    put(pool, &app, &apns("aa")).await;
    assert_eq!(
        sqlx::query_scalar::<_, i64>(fresh).fetch_one(pool).await.unwrap(),
        0,
        "registered: not forgotten"
    );
}

#[tokio::test]
async fn concurrent_sends_to_the_same_new_tokens_agree_on_the_devices() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let forth: Vec<_> = (0..200).map(|n| token(&format!("{n:02x}"), "r")).collect();
    let back: Vec<_> = forth.iter().rev().cloned().collect();
    let (forth, back) = (tokens(forth), tokens(back));
    let (a, b, c, d) = tokio::join!(
        resolved(pool, &app, &forth),
        resolved(pool, &app, &back),
        resolved(pool, &app, &forth),
        resolved(pool, &app, &back)
    );
    assert_eq!(ids(&a).len(), 200);
    assert!([&b, &c, &d].into_iter().all(|other| ids(other) == ids(&a)));
    assert!(ids(&a).is_sorted());
}

#[tokio::test]
async fn devices_of_another_app_are_unmatched() {
    let database = TestDatabase::create().await;
    let (pool, shop) = (&database.pool, shop(&database.pool).await);
    let other = app(pool, "other").await;
    let id = put_id(pool, &other, &of("u1", apns("aa"))).await;
    let found = resolved(pool, &shop, &both(users(&["u1"]), devices(&[id]))).await;
    assert_eq!(found.targets, []);
    assert_eq!((found.unmatched_users, found.unmatched_devices.len()), (vec![user("u1")], 1));
}

/// Audiences that are looked up together, and one that Postgres dislikes among them: each gets its own devices.
#[tokio::test]
async fn audiences_that_share_statements_get_their_own_devices_each() {
    let database = TestDatabase::create().await;
    let (pool, shop) = (&database.pool, shop(&database.pool).await);
    let other = app(pool, "other").await;
    let mut wanted = Vec::new();
    for n in 0..20 {
        let (name, two) = (format!("u{n}"), format!("{n:02x}"));
        let mine = put_id(pool, &shop, &of(&name, apns(&two))).await;
        let second = put_id(pool, &shop, &of(&name, fcm(&format!("f{n}")))).await;
        let theirs = put_id(pool, &other, &of(&name, apns(&two))).await;
        wanted.push((&shop, devices(&[mine]), vec![mine]));
        wanted.push((&shop, users(&[&name]), vec![mine, second]));
        wanted.push((&shop, tokens(vec![token(&two, "r")]), vec![mine]));
        wanted.push((&other, users(&[&name]), vec![theirs]));
        wanted.push((&other, devices(&[mine]), vec![]));
        wanted.push((&shop, users(&["nobody"]), vec![]));
    }
    for poisoned in [false, true] {
        let (lookup, worker) = DeviceLookup::new(pool.clone());
        let poison = async {
            // No request gets this far with it; Postgres stores no NUL.
            let audience = AudienceSelector::Users(vec![UserId::stored("\0".to_owned())]).into();
            if poisoned {
                resolve(&lookup, &shop, &audience, Kind::Alert).await.unwrap_err();
            }
        };
        let all = wanted.iter().map(|(app, audience, _)| resolve(&lookup, app, audience, Kind::Alert));
        let stop = CancellationToken::new();
        let asking = async {
            let found = tokio::join!(poison, join_all(all)).1;
            stop.cancel();
            found
        };
        // Asked before anybody answers, so all of them share.
        let (found, ()) = tokio::join!(asking, worker.run(stop.clone()));
        for ((_, audience, wanted), found) in wanted.iter().zip(found) {
            let found = &found.unwrap();
            assert_eq!(ids(found), *wanted, "{audience:?}");
            let loaded = found.loaded.iter().flat_map(|loaded| &loaded.devices);
            assert!(loaded.map(|device| device.device).eq(wanted.iter().copied()), "{audience:?}");
        }
    }
}
