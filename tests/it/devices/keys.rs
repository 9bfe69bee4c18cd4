//! API keys.

use std::time::Duration;

use http::Method;
use pushpost::domain::{KeyId, Scopes};
use pushpost::registry::keys::{self, ApiKeys};
use pushpost::store;

use pushpost::runtime::Role;
use pushpost_testkit::apps::shop;
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::json::assert_has;
use pushpost_testkit::request::ApiRequest;
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::until;
use serde_json::{Value, json};

const KEYS: &str = "/v1/admin/keys";

#[tokio::test]
async fn a_key_is_recognised_by_its_secret_until_it_is_revoked() {
    let database = TestDatabase::create().await;
    let app = shop(&database.pool).await;
    let mut conn = database.pool.acquire().await.unwrap();
    let scopes = Scopes::parse("send,read").unwrap();
    let created = keys::create(&mut conn, "shop", scopes, Some("backend"), None).await.unwrap();
    let (id, secret) = (created.id, created.secret);
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
    let secret = keys::create(&mut conn, "shop", scopes, None, None).await.unwrap().secret;
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
    let secret = keys::create(&mut conn, "shop", scopes, None, None).await.unwrap().secret;
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

#[tokio::test]
async fn a_key_ends_by_itself_at_the_time_of_postgres() {
    let database = TestDatabase::create().await;
    let mut conn = database.pool.acquire().await.unwrap();
    let scopes = Scopes::parse("send").unwrap();
    for wrong in [Duration::from_millis(999), Duration::from_secs(100 * 365 * 86_400 + 1)] {
        let refused = keys::create(&mut conn, "shop", scopes, None, Some(wrong)).await;
        assert!(matches!(refused, Err(keys::Error::BadLifetime)), "{refused:?}");
    }
    let quarter = Some(Duration::from_secs(90 * 86_400));
    let created = keys::create(&mut conn, "shop", scopes, None, quarter).await.unwrap();
    let listed = keys::list(&mut conn).await.unwrap();
    assert_eq!(listed.len(), 1, "a refused key is not stored");
    assert_eq!(listed[0].expires_at, created.expires_at);
    assert_eq!(created.expires_at.unwrap() - listed[0].created_at, chrono::TimeDelta::days(90));

    let recognised = ApiKeys::new(database.pool.clone());
    assert!(recognised.authenticate(&created.secret, &()).await.unwrap().is_some());
    database.execute("update api_keys set expires_at = now()").await;
    let recognised = ApiKeys::new(database.pool.clone());
    assert_eq!(recognised.authenticate(&created.secret, &()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_key_is_refused_like_a_revoked_one() {
    let service = TestService::builder().node(Role::Api).build().await;
    let key = service.key("read").await;
    let ask = async || ApiRequest::get("/v1/devices").key(&key).of(&service).await;
    assert_eq!(ask().await.status, 200);
    service.database.execute("update api_keys set expires_at = now() where scopes = 2").await;
    until("the cached look-up is over", async || ask().await.status != 200).await;
    let refused = ask().await;
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (401, &json!("unauthenticated")));
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_listed_with_the_hour_of_their_last_use() {
    let service = TestService::builder().app("other").node(Role::Api).build().await;
    let (mut used, _unused) = (service.key("read").await, service.key("send").await);
    service.key_of("other", "read").await;
    assert_eq!(ApiRequest::get("/v1/devices").key(&used).of(&service).await.status, 200);
    let hour =
        "select count(*) from api_keys where scopes = 2 and last_used_at = date_trunc('hour', now(), 'UTC')";
    service.database.until_count(hour, 1).await;
    let first = service.by_admin(Method::GET, KEYS).await.body;
    let scopes = |list: &Value| {
        let items = list["items"].as_array().unwrap();
        items.iter().map(|key| key["scopes"].clone()).collect::<Vec<_>>()
    };
    let read = first["items"].as_array().unwrap().iter().find(|key| key["scopes"] == json!(["read"]));
    assert_has(read.unwrap(), &json!({"name": null, "expires_at": null, "revoked_at": null}));
    let last_used = read.unwrap()["last_used_at"].as_str().unwrap();
    assert!(last_used.ends_with(":00:00.000Z"), "{last_used}");
    let unused = first["items"].as_array().unwrap().iter().find(|key| key["scopes"] == json!(["send"]));
    assert_eq!(unused.unwrap()["last_used_at"], Value::Null);
    assert!(!first.to_string().contains("pushpost_"), "no secret");

    // Within the hour the row is not written again, by this node or another one.
    let version = "select xmin::text::bigint from api_keys where scopes = 2 and last_used_at is not null";
    let written = service.database.count(version).await;
    let other_node = ApiKeys::new(service.database.pool.clone());
    assert!(other_node.authenticate(&used, &()).await.unwrap().is_some());
    let mut conn = service.database.pool.acquire().await.unwrap();
    let id = KeyId::parse(read.unwrap()["id"].as_str().unwrap()).unwrap();
    store::keys::store_uses(&mut conn, &[id]).await.unwrap();
    assert_eq!(service.database.count(version).await, written);

    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service.by_admin(Method::GET, &format!("{KEYS}?limit=1{cursor}")).await.body;
        paged.extend(scopes(&page));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, scopes(&first), "oldest first, page by page");
    for wrong in ["limit=0", "limit=1001", "cursor=x", "state=x"] {
        assert_eq!(service.by_admin(Method::GET, &format!("{KEYS}?{wrong}")).await.status, 400, "{wrong}");
    }
    used = service.key_of("other", "admin").await;
    let theirs = ApiRequest::get(KEYS).key(&used).of(&service).await.body;
    assert_eq!(scopes(&theirs), [json!(["read"]), json!(["admin"])], "each app sees its own keys");
    service.stop_undecided().await;
}
