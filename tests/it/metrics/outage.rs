//! Metrics while Postgres is away.

use pushpost::runtime::Role;
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_needs_no_postgres_and_shows_that_it_is_away() {
    let mut service = TestService::builder().build().await;
    let proxy = PostgresProxy::of(&service.database).await;
    service.configure("DATABASE__URL", proxy.url());
    service.node(Role::All).await;
    assert_eq!(service.scrape(0).await.value("pushpost_postgres_up"), 1.0);
    proxy.set_away(true);
    until("Postgres is seen to be away", async || {
        service.scrape(0).await.value("pushpost_postgres_up") == 0.0
    })
    .await;
    let scrape = service.scrape(0).await;
    assert!(scrape.value(r#"pushpost_postgres_errors_total{class="connection"}"#) >= 1.0, "{}", scrape.text);
    assert!(scrape.value("pushpost_heartbeat_age_seconds") >= 5.0);
    assert_eq!(scrape.get("pushpost_nodes"), None, "it can't know whether it leads");
    proxy.set_away(false);
    until("Postgres is back", async || service.scrape(0).await.value("pushpost_postgres_up") == 1.0).await;
    service.stop().await;
}
