//! Registrations on a real Postgres: what unit tests of the rules can't show.

use chrono::TimeDelta;
use pushpost::domain::{App, DeviceId, Kind, Locale, PushpostReason, QuarantineReason};
use pushpost::provider::{apns, fcm};
use pushpost::registry::device_list::list;
use pushpost::registry::devices::{DeviceWithTopics, Error, find, register, remove, unregister, update};
use pushpost::registry::registration::{DeviceDetails, FieldChange, Registrar, Registration};
use pushpost::store;
use pushpost::store::SessionPool;
use pushpost::store::devices::DeviceFilter;

use pushpost_testkit::apps::{apns, apns_token, app, fcm, of, put, put_id, shop, topics, user};
use pushpost_testkit::database::TestDatabase;

async fn known(pool: &SessionPool, app: &App, id: DeviceId) -> DeviceWithTopics {
    find(pool, app.id, id).await.unwrap().unwrap()
}

fn with_topics(names: &[&str], mut registration: Registration) -> Registration {
    registration.details.topics = Some(topics(names));
    registration
}

fn replacing(two: &str, registration: Registration) -> Registration {
    Registration { replaces: Some(apns_token(two)), ..registration }
}

#[tokio::test]
async fn a_registration_is_an_upsert_by_app_platform_and_token() {
    let database = TestDatabase::create().await;
    let (pool, shop) = (&database.pool, shop(&database.pool).await);
    let first = put(pool, &shop, &of("u1", apns("aa"))).await;
    let again = put(pool, &shop, &of("u2", apns("aa"))).await;
    assert_eq!((first.is_new, again.is_new), (true, false));
    assert_eq!(first.known.device.id, again.known.device.id);
    assert_eq!(again.known.device.user, Some(user("u2")), "a known token moves to its new user");
    assert_eq!(again.known.device.created_at, first.known.device.created_at);
    assert!(again.known.device.registered_at > first.known.device.registered_at);
    assert_eq!(known(pool, &shop, again.known.device.id).await, again.known);

    let other = app(pool, "other").await;
    assert!(put(pool, &other, &apns("aa")).await.is_new, "another app's device");
    assert_eq!(find(pool, other.id, first.known.device.id).await.unwrap(), None);
    assert!(!remove(pool, other.id, first.known.device.id).await.unwrap());
}

#[tokio::test]
async fn topics_replace_the_whole_set_and_stay_if_left_out() {
    let database = TestDatabase::create().await;
    let (pool, shop) = (&database.pool, shop(&database.pool).await);
    let first = put(pool, &shop, &with_topics(&["news", "team:42", "news"], apns("aa"))).await;
    assert_eq!(first.known.topics, topics(&["news", "team:42"]));
    assert_eq!(put(pool, &shop, &apns("aa")).await.known.topics, topics(&["news", "team:42"]));
    let sport = put(pool, &shop, &with_topics(&["sport", "team:42"], apns("aa"))).await;
    assert_eq!(sport.known.topics, topics(&["sport", "team:42"]));

    let open = with_topics(&["weather"], apns("aa"));
    let by_app = register(pool, &shop, &open, Registrar::App).await.unwrap();
    assert_eq!(by_app.known.topics, topics(&["team:42", "weather"]), "an app sets the open part");
    assert_eq!(put(pool, &shop, &with_topics(&[], apns("aa"))).await.known.topics, []);
}

#[tokio::test]
async fn a_stated_time_is_kept_unless_it_lies_in_the_future() {
    let database = TestDatabase::create().await;
    let (pool, shop) = (&database.pool, shop(&database.pool).await);
    let now = store::devices::transaction_time(&mut pool.acquire().await.unwrap()).await.unwrap();
    let stated = now - TimeDelta::days(3);
    let past = Registration { registered_at: Some(stated), ..apns("aa") };
    assert_eq!(put(pool, &shop, &past).await.known.device.registered_at, Some(stated));
    let future = Registration { registered_at: Some(now + TimeDelta::hours(1)), ..apns("bb") };
    let refused = register(pool, &shop, &future, Registrar::Backend).await;
    assert!(matches!(refused, Err(Error::RegisteredInFuture(_))), "{refused:?}");
    let page = list(pool, shop.id, &DeviceFilter::default(), DeviceId(0), 10).await.unwrap();
    assert_eq!(page.devices.len(), 1, "nothing was stored");
}

#[tokio::test]
async fn a_successor_takes_the_place_of_the_old_device_once() {
    let database = TestDatabase::create().await;
    let (pool, shop) = (&database.pool, shop(&database.pool).await);
    let mut old = with_topics(&["news"], of("u1", apns("aa")));
    old.details.locale = FieldChange::Set(Locale::parse("de").unwrap());
    let old = put_id(pool, &shop, &old).await;
    let heir = put(pool, &shop, &replacing("aa", apns("bb"))).await;
    assert_eq!(heir.known.device.user, Some(user("u1")));
    assert_eq!(heir.known.device.locale, Locale::parse("de"));
    assert_eq!(heir.known.topics, topics(&["news"]));
    let retired = known(pool, &shop, old).await.device.quarantine.unwrap();
    assert_eq!(retired.reason, QuarantineReason(PushpostReason::Replaced.as_str().to_owned()));

    put(pool, &shop, &with_topics(&[], apns("bb"))).await;
    let replayed = put(pool, &shop, &replacing("aa", apns("bb"))).await;
    assert_eq!(replayed.known.topics, [], "a replay brings nothing back");
    assert_eq!(known(pool, &shop, old).await.device.quarantine.unwrap(), retired);
    let itself = put(pool, &shop, &replacing("bb", apns("bb"))).await;
    assert!(itself.known.device.quarantine.is_none(), "no device replaces itself");
}

#[tokio::test]
async fn a_nightly_replay_does_not_revive_a_dead_token_and_the_app_itself_does() {
    let database = TestDatabase::create().await;
    let (pool, shop) = (&database.pool, shop(&database.pool).await);
    let id = put_id(pool, &shop, &apns("cc")).await;
    sqlx::query(
        "update devices set source = 1, registered_at = null, quarantined_at = now(), quarantine_reason = 'Unregistered',
         evidence_at = now() - interval '1 hour', quarantine_run = 7",
    )
    .execute(pool)
    .await
    .unwrap();
    let now = store::devices::transaction_time(&mut pool.acquire().await.unwrap()).await.unwrap();
    let replay = Registration { registered_at: Some(now - TimeDelta::days(300)), ..of("u9", apns("cc")) };
    let replayed = put(pool, &shop, &replay).await.known.device;
    assert_eq!((replayed.id, replayed.user), (id, Some(user("u9"))));
    assert_eq!(replayed.quarantine.unwrap().reason.0, "Unregistered");

    let by_app = register(pool, &shop, &apns("cc"), Registrar::App).await.unwrap().known.device;
    assert!(by_app.quarantine.is_none());
    assert_eq!(by_app.user, Some(user("u9")));
    let left: i64 = sqlx::query_scalar(
        "select count(*) from devices where quarantine_run is not null or evidence_at is not null",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(left, 0, "no clean-up's restore touches it any more");
}

#[tokio::test]
async fn registrations_of_one_new_token_at_once_make_one_device() {
    let database = TestDatabase::create().await;
    let (pool, shop) = (&database.pool, shop(&database.pool).await);
    let (one, other) = (with_topics(&["a", "b"], apns("aa")), with_topics(&["b", "a"], apns("aa")));
    let (a, b, c, d) = tokio::join!(
        put(pool, &shop, &one),
        put(pool, &shop, &other),
        put(pool, &shop, &one),
        put(pool, &shop, &other)
    );
    let all = [a, b, c, d];
    assert_eq!(all.iter().filter(|registered| registered.is_new).count(), 1);
    assert!(all.iter().all(|registered| registered.known.device.id == all[0].known.device.id));
}

#[tokio::test]
async fn describing_a_device_is_not_a_registration() {
    let database = TestDatabase::create().await;
    let (pool, shop) = (&database.pool, shop(&database.pool).await);
    let before = put(pool, &shop, &with_topics(&["news"], of("u1", fcm("f1")))).await.known;
    sqlx::query("update devices set quarantined_at = now(), quarantine_reason = 'x'")
        .execute(pool)
        .await
        .unwrap();
    let details = DeviceDetails {
        user: FieldChange::Clear,
        topics: Some(topics(&["sport"])),
        ..DeviceDetails::default()
    };
    let after = update(pool, &shop, before.device.id, &details).await.unwrap().unwrap();
    assert_eq!((after.device.user.clone(), after.topics.clone()), (None, topics(&["sport"])));
    assert_eq!(after.device.registered_at, before.device.registered_at);
    assert!(after.device.quarantine.is_some());
    assert_eq!(known(pool, &shop, before.device.id).await, after);

    let voip = DeviceDetails { kind: FieldChange::Set(Kind::Voip), ..DeviceDetails::default() };
    let refused = update(pool, &shop, before.device.id, &voip).await;
    assert!(matches!(refused, Err(Error::UnsupportedDetail(_))), "{refused:?}");
    assert_eq!(update(pool, &shop, DeviceId(i64::MAX), &details).await.unwrap(), None);
}

#[tokio::test]
async fn a_deleted_device_leaves_no_subscription() {
    let database = TestDatabase::create().await;
    let (pool, shop) = (&database.pool, shop(&database.pool).await);
    let id = put_id(pool, &shop, &with_topics(&["news"], apns("aa"))).await;
    put(pool, &shop, &with_topics(&["news"], apns("bb"))).await;
    assert!(remove(pool, shop.id, id).await.unwrap());
    assert!(!remove(pool, shop.id, id).await.unwrap());
    unregister(pool, shop.id, apns::PLATFORM, &apns_token("bb")).await.unwrap();
    unregister(pool, shop.id, apns::PLATFORM, &apns_token("bb")).await.unwrap();
    let left: i64 =
        sqlx::query_scalar("select (select count(*) from devices) + (select count(*) from subscriptions)")
            .fetch_one(pool)
            .await
            .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn every_filter_narrows_and_pages_follow_each_other() {
    let database = TestDatabase::create().await;
    let (pool, shop) = (&database.pool, shop(&database.pool).await);
    let a = put_id(pool, &shop, &with_topics(&["news"], of("u1", apns("aa")))).await;
    let b = put_id(pool, &shop, &with_topics(&["news", "sport"], of("u2", fcm("f2")))).await;
    let c = put_id(pool, &shop, &of("u1", fcm("f3"))).await;
    put(pool, &app(pool, "other").await, &with_topics(&["news"], of("u1", apns("aa")))).await;
    sqlx::query("update devices set quarantined_at = now(), quarantine_reason = 'x' where device_id = $1")
        .bind(c.0)
        .execute(pool)
        .await
        .unwrap();
    let now = store::devices::transaction_time(&mut pool.acquire().await.unwrap()).await.unwrap();
    let cases = [
        (DeviceFilter::default(), vec![a, b]),
        (DeviceFilter { users: Some(vec![user("u1")]), ..DeviceFilter::default() }, vec![a, c]),
        (
            DeviceFilter {
                users: Some(vec![user("u1")]),
                quarantined: Some(false),
                ..DeviceFilter::default()
            },
            vec![a],
        ),
        (
            DeviceFilter {
                users: Some(vec![user("u1"), user("u2")]),
                topics: Some(topics(&["sport"])),
                ..DeviceFilter::default()
            },
            vec![b],
        ),
        (DeviceFilter { topics: Some(topics(&["news"])), ..DeviceFilter::default() }, vec![a, b]),
        (DeviceFilter { topics: Some(topics(&["nobody"])), ..DeviceFilter::default() }, vec![]),
        (DeviceFilter { platforms: Some(vec![fcm::PLATFORM]), ..DeviceFilter::default() }, vec![b, c]),
        (DeviceFilter { quarantined: Some(true), ..DeviceFilter::default() }, vec![c]),
        (DeviceFilter { quarantined_after: Some(now), ..DeviceFilter::default() }, vec![]),
        (
            DeviceFilter { quarantined_after: Some(now - TimeDelta::hours(1)), ..DeviceFilter::default() },
            vec![c],
        ),
        (
            DeviceFilter { registered_before: Some(now - TimeDelta::hours(1)), ..DeviceFilter::default() },
            vec![],
        ),
        (DeviceFilter { registered_before: Some(now), ..DeviceFilter::default() }, vec![a, b]),
    ];
    for (filter, expected) in cases {
        let found = list(pool, shop.id, &filter, DeviceId(0), 2).await.unwrap();
        let found: Vec<_> = found.devices.iter().map(|known| known.device.id).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let rest = list(pool, shop.id, &DeviceFilter::default(), b, 2).await.unwrap();
    assert_eq!(rest.next, None);
    assert_eq!(rest.devices.iter().map(|known| known.device.id).collect::<Vec<_>>(), [c]);
}
