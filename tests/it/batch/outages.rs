//! The database is away, or a commit's outcome stays unknown.

use pushpost::runtime::Role;
use serde_json::{Value, json};

use pushpost_testkit::json::assert_problem;
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::request::{ApiRequest, stored};
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::until_some;

use super::{BATCH, NOTIFICATIONS, id, items_of, keyed, to};

async fn behind_a_proxy() -> (TestService, PostgresProxy, String) {
    let mut service = TestService::builder().build().await;
    let proxy = PostgresProxy::of(&service.database).await;
    service.configure("DATABASE__URL", proxy.url());
    service.node(Role::Api).await;
    let key = service.key("send").await;
    (service, proxy, key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_the_batch_is_refused_as_a_whole() {
    let (service, proxy, s) = behind_a_proxy().await;
    let post = |batch: &Value| ApiRequest::post(BATCH, batch).key(&s);
    let first = items_of(&post(&json!([keyed("f1", "k")])).of(&service).await);
    let before = stored(&service).await;
    proxy.set_away(true);
    // Also with an item that can't be valid: nothing is stored, so the whole may be repeated.
    for batch in [json!([to("f1"), to("f2")]), json!([to("f1"), {}]), json!([keyed("f1", "k")])] {
        let answer = post(&batch).of(&service).await;
        assert_problem(&answer, 503, "unavailable", &json!([]));
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(stored(&service).await, before);
    proxy.set_away(false);
    let again = until_some("Postgres is back", async || {
        let answer = post(&json!([keyed("f1", "k"), to("f2")])).of(&service).await;
        (answer.status == 200).then_some(answer)
    });
    let again = items_of(&again.await);
    assert_eq!((id(&again[0]), &again[0]["replayed"]), (id(&first[0]), &json!(true)));
    id(&again[1]);
    service.stop_undecided().await;
}

/// The answer to the commit is lost, and the rows are found: all items are answered as stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_with_a_lost_answer_is_stored_once() {
    let (service, proxy, s) = behind_a_proxy().await;
    let warm = ApiRequest::post(BATCH, &json!([to("f0")])).key(&s).of(&service).await;
    items_of(&warm);
    proxy.cut_at("insert into notifications");
    let batch: Value = (0..50).map(|n| to(&format!("f{n}"))).collect();
    let found = items_of(&ApiRequest::post(BATCH, &batch).key(&s).of(&service).await);
    assert!(found.iter().all(|item| item.get("problem").is_none()), "{found:?}");
    assert_eq!(service.database.count(NOTIFICATIONS).await, 51);
    service.stop_undecided().await;
}
