//! Each fact beside deliveries and ends, brought about in a running service: what its event tells, and that it is told if and
//! only if its transaction is committed.

mod devices;
mod lanes;
mod operators;
mod statements;

use pushpost::domain::FactKind;
use pushpost::runtime::Role;
use pushpost_testkit::json::assert_exact;
use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

use crate::event_streams::until_events;

/// A change of a table that a test refuses.
struct Change {
    table: &'static str,
    /// `insert` or `update`.
    by: &'static str,
    /// Which rows of it.
    when: &'static str,
}

/// A device is quarantined.
const QUARANTINED: Change = Change {
    table: "devices",
    by: "update",
    when: "old.quarantined_at is null and new.quarantined_at is not null",
};
/// A device is quarantined no more.
const RESTORED: Change = Change {
    table: "devices",
    by: "update",
    when: "old.quarantined_at is not null and new.quarantined_at is null",
};

/// A service, and the secret of a key that sees all types of events.
async fn start() -> (TestService, String) {
    let service = TestService::start().await;
    let key = service.key("admin").await;
    (service, key)
}

/// What the events of a type tell, as soon as there are so many.
async fn until_told(service: &TestService, key: &str, kind: FactKind, count: usize) -> Vec<Value> {
    let kind = kind.as_str();
    let events = until_events(service, key, &format!("type={kind}"), |events| events.len() >= count).await;
    assert_eq!(events.len(), count, "{events:?}");
    let shape = json!({"id": "<evt_>", "type": kind, "app": "shop", "at": "<time>"});
    let data = events.into_iter().map(|mut event| {
        let data = event.as_object_mut().unwrap().remove("data").unwrap();
        assert_exact(&event, &shape);
        data
    });
    data.collect()
}

/// Facts of a kind that wait or are in the log.
async fn count(service: &TestService, kind: FactKind) -> i64 {
    let code = kind.code();
    let sql = format!(
        "select (select count(*) from event_outbox where kind = {code}) + (select count(*) from event_log where kind = {code})"
    );
    service.database.count(&sql).await
}

/// Asserts that a fact is not told if its transaction fails at the commit.
async fn assert_refused(kind: FactKind, change: Change, bring_about: impl AsyncFnOnce(&TestService)) {
    let (service, _) = start().await;
    let told = count(&service, kind).await;
    let Change { table, by, when } = change;
    let refuse = format!(
        "create sequence refusals;
         create function refuse() returns trigger language plpgsql as $$
         begin perform nextval('refusals'); raise exception 'refused by the test'; end $$;
         create constraint trigger refuse after {by} on {table} deferrable initially deferred for each row
         when ({when}) execute function refuse()"
    );
    service.database.execute(&refuse).await;
    bring_about(&service).await;
    service.database.until_count("select count(*) from refusals where is_called", 1).await;
    assert_eq!(count(&service, kind).await, told, "{} is told of what was rolled back", kind.as_str());
    service.database.execute(&format!("drop trigger refuse on {table}")).await;
    service.stop_undecided().await;
}

/// Asserts that nothing is written where the configuration keeps no events.
async fn assert_silent(bring_about: impl AsyncFnOnce(&TestService)) {
    let service = TestService::builder().config("RETENTION__EVENTS", "0s").node(Role::All).build().await;
    // The keys of the test are not made by the node.
    service.database.execute("delete from event_outbox").await;
    bring_about(&service).await;
    let written = "select (select count(*) from event_outbox) + (select count(*) from event_log)";
    assert_eq!(service.database.count(written).await, 0);
    service.stop_undecided().await;
}
