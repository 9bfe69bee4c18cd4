//! Facts of many devices, as the statements write them.

use std::collections::BTreeMap;

use pushpost::domain::{
    Certainty, CorrectedFact, DeviceId, DeviceToken, FactKind, LaneId, NodeFact, QuarantineFact, Reason,
    Scopes, TokenVerdict,
};
use pushpost::provider::fcm;
use pushpost::registry::keys;
use pushpost::store::nodes::NodeDescription;
use pushpost::store::{Purpose, nodes, quarantine};
use pushpost_testkit::apps::{app, shop};
use pushpost_testkit::database::TestDatabase;

use crate::events::{log_of, sequence_all};

/// An event lists at most 500 devices, so a fact names no more. What is told of a device stands at its place.
#[tokio::test]
async fn each_of_many_devices_is_told_once_with_its_own_reason() {
    const COUNT: i64 = 1_201;
    let db = TestDatabase::create().await;
    let app = shop(&db.pool).await;
    let pool = db.pool_for(Purpose::Queue, 2);
    let token = |number: i64| DeviceToken::parse(fcm::PLATFORM, &format!("token-{number}")).unwrap();
    let digests: Vec<Vec<u8>> = (1..=COUNT).map(|number| token(number).digest().0.to_vec()).collect();
    let insert = "insert into devices (app_id, platform, environment, token, token_digest, registered_at)
                  select $1, $2, 0, 'token-' || number, digest, now() - interval '1 day'
                  from unnest($3::bytea[]) with ordinality new(digest, number) returning device_id";
    let ids: Vec<i64> = sqlx::query_scalar(insert)
        .bind(app.id.0)
        .bind(fcm::PLATFORM.code())
        .bind(&digests)
        .fetch_all(&db.pool)
        .await
        .unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let now = pushpost::store::devices::transaction_time(&mut conn).await.unwrap();
    let verdicts: Vec<TokenVerdict> = ids
        .iter()
        .zip(1..)
        .map(|(device, number)| TokenVerdict {
            device: DeviceId(*device),
            lane: LaneId(1 + (number % 2) as i32),
            digest: token(number).digest(),
            since: now,
            reason: Reason::new(&format!("R{number}")),
            certainty: Certainty::Certain,
        })
        .collect();
    let mut lost = conn.begin().await.unwrap();
    assert_eq!(quarantine::apply(&mut lost, &verdicts).await.unwrap().len(), ids.len());
    lost.rollback().await.unwrap();
    assert_eq!(db.count("select count(*) from event_outbox").await, 0);

    quarantine::apply(&mut conn, &verdicts).await.unwrap();
    sequence_all(&mut conn, 500).await;
    let log = log_of(&pool, app.id).await;
    assert_eq!(log.len(), 4, "two of each lane");
    let mut told = BTreeMap::new();
    for entry in &log {
        assert_eq!(entry.kind, FactKind::Quarantined);
        let fact: QuarantineFact = serde_json::from_slice(entry.fact.as_deref().unwrap()).unwrap();
        assert!(entry.devices.len() <= 500);
        assert_eq!((fact.reasons.len(), fact.evidence_at.len()), (entry.devices.len(), entry.devices.len()));
        assert!(fact.evidence_at.iter().all(|at| *at == Some(now)));
        let lane = LaneId(fact.lane.unwrap());
        let reasons = fact.reasons.into_iter().map(|reason| (lane, reason));
        told.extend(entry.devices.iter().copied().zip(reasons));
    }
    let wanted =
        verdicts.iter().map(|verdict| (verdict.device, (verdict.lane, verdict.reason.as_str().to_owned())));
    assert_eq!(told, wanted.collect());

    // The brake brings them back.
    db.execute("update devices set quarantine_reason = 'R'").await;
    let lane: i32 = sqlx::query_scalar("select lane_id from lanes where platform = $1")
        .bind(fcm::PLATFORM.code())
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(quarantine::restore(&mut conn, LaneId(lane), "R").await.unwrap(), COUNT.cast_unsigned());
    sequence_all(&mut conn, 500).await;
    let restored = log_of(&pool, app.id).await.split_off(4);
    let sizes: Vec<usize> = restored.iter().map(|entry| entry.devices.len()).collect();
    assert_eq!((restored.len(), sizes.iter().sum::<usize>()), (3, ids.len()), "{sizes:?}");
    let fact: CorrectedFact = serde_json::from_slice(restored[0].fact.as_deref().unwrap()).unwrap();
    assert_eq!(fact.cause.as_str(), "brake");
}

#[tokio::test]
async fn a_node_is_told_if_and_only_if_it_is_registered() {
    let db = TestDatabase::create().await;
    let (shop, blog) = (shop(&db.pool).await.id, app(&db.pool, "blog").await.id);
    let pool = db.pool_for(Purpose::Queue, 2);
    let mut conn = pool.acquire().await.unwrap();
    let description = NodeDescription::of_this_program("host-1");
    let mut lost = conn.begin().await.unwrap();
    nodes::register(&mut lost, &description).await.unwrap();
    lost.rollback().await.unwrap();
    assert_eq!(db.count("select count(*) from event_outbox").await, 0);
    let node = nodes::register(&mut conn, &description).await.unwrap().node;
    sequence_all(&mut conn, 500).await;
    for app in [shop, blog] {
        let log = log_of(&pool, app).await;
        let fact: NodeFact = serde_json::from_slice(log[0].fact.as_deref().unwrap()).unwrap();
        let version = description.version.to_owned();
        assert_eq!((log.len(), log[0].kind), (1, FactKind::NodeStarted));
        assert_eq!(fact, NodeFact { node: node.0, name: "host-1".to_owned(), version });
    }
}

#[tokio::test]
async fn nodes_and_keys_are_not_told_where_no_events_are_kept() {
    let db = TestDatabase::create().await;
    shop(&db.pool).await;
    db.pool.log_no_events();
    let mut conn = db.pool_for(Purpose::Requests, 1).acquire().await.unwrap();
    let node = nodes::register(&mut conn, &NodeDescription::of_this_program("host-1")).await.unwrap().node;
    assert!(nodes::mark_dead(&mut conn, node, 0).await.unwrap());
    nodes::register(&mut conn, &NodeDescription::of_this_program("host-2")).await.unwrap();
    assert_eq!(nodes::mark_others_dead(&mut conn, node).await.unwrap().len(), 1);
    let key = keys::create(&mut conn, "shop", Scopes::parse("read").unwrap(), None, None).await.unwrap();
    assert!(keys::revoke(&mut conn, key.id).await.unwrap());
    assert_eq!(db.count("select count(*) from event_outbox").await, 0);
}
