//! API keys.

use pushpost::domain::{KeyId, Scopes};
use pushpost::registry::keys::{self, ApiKeys};
use pushpost::store;

use pushpost_testkit::apps::shop;
use pushpost_testkit::database::TestDatabase;

#[tokio::test]
async fn a_key_is_recognised_by_its_secret_until_it_is_revoked() {
    let database = TestDatabase::create().await;
    let app = shop(&database.pool).await;
    let mut conn = database.pool.acquire().await.unwrap();
    let scopes = Scopes::parse("send,read").unwrap();
    let (id, secret) = keys::create(&mut conn, "shop", scopes, Some("backend")).await.unwrap();
    assert!(secret.starts_with("pushpost_sk_"));

    let recognised = ApiKeys::new(database.pool.clone());
    let key = recognised.authenticate(&secret, &()).await.unwrap().unwrap();
    assert_eq!((key.id, key.app, key.scopes), (id, app.id, scopes));
    let mut wrong = secret.clone();
    let flipped = if wrong.pop() == Some('0') { '1' } else { '0' };
    wrong.push(flipped);
    assert_eq!(recognised.authenticate(&wrong, &()).await.unwrap(), None);
    assert_eq!(recognised.authenticate("", &()).await.unwrap(), None);

    assert!(keys::revoke(&mut conn, id).await.unwrap());
    assert!(!keys::revoke(&mut conn, KeyId::random()).await.unwrap());
    assert_eq!(ApiKeys::new(database.pool.clone()).authenticate(&secret, &()).await.unwrap(), None);
    let listed = keys::list(&mut conn).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].app.as_str(), listed[0].name.as_deref()), ("shop", Some("backend")));
    assert!(listed[0].revoked_at.is_some());
}

#[tokio::test]
async fn a_recognised_key_is_cached() {
    let database = TestDatabase::create().await;
    let mut conn = database.pool.acquire().await.unwrap();
    let scopes = Scopes::parse("register").unwrap();
    let (_, secret) = keys::create(&mut conn, "shop", scopes, None).await.unwrap();
    assert!(secret.starts_with("pushpost_pk_"));
    let recognised = ApiKeys::new(database.pool.clone());
    let key = recognised.authenticate(&secret, &()).await.unwrap();
    assert!(key.is_some());
    sqlx::query("delete from api_keys").execute(&mut conn).await.unwrap();
    assert_eq!(recognised.clone().authenticate(&secret, &()).await.unwrap(), key);
}

#[tokio::test]
async fn the_secret_is_not_in_the_database() {
    let database = TestDatabase::create().await;
    let mut conn = database.pool.acquire().await.unwrap();
    let scopes = Scopes::parse("admin").unwrap();
    let (_, secret) = keys::create(&mut conn, "shop", scopes, None).await.unwrap();
    let rows: String = sqlx::query_scalar("select string_agg(api_keys::text, ' ') from api_keys")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert!(!rows.contains(secret.rsplit('_').next().unwrap()));
}

#[tokio::test]
async fn apps_and_lanes_are_made_once_and_starts_use_up_no_ids() {
    let database = TestDatabase::create().await;
    let mut conn = database.pool.acquire().await.unwrap();
    let names = ["b".to_owned(), "a".to_owned(), "b".to_owned()];
    let first = store::apps::ensure(&mut conn, &names).await.unwrap();
    assert_eq!(first.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(first.iter().all(|app| app.lanes.len() == 3));
    for _ in 0..3 {
        assert_eq!(store::apps::ensure(&mut conn, &names).await.unwrap(), first);
    }
    let next = store::apps::ensure(&mut conn, &["c".to_owned()]).await.unwrap();
    assert_eq!(next[0].id.0, first.iter().map(|app| app.id.0).max().unwrap() + 1);
    let key = store::apps::installation_key(&mut conn).await.unwrap();
    assert!(key.parse_device_id(first[0].id, "dev_x").is_err());
}
