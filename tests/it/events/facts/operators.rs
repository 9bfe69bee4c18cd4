//! Clean-up runs, nodes, keys and actions of operators.

use http::Method;
use pushpost::domain::{FactKind, KeyId, Scopes};
use pushpost::registry::keys::{self, CreatedKey};
use pushpost::runtime::Role;
use pushpost_testkit::json::assert_exact;
use pushpost_testkit::processes::{command, program};
use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

use super::devices::{CLEANUPS, start_cleanup, until_run};
use super::{Change, assert_refused, assert_silent, count, start, until_told};
use crate::event_streams::until_events;

const RUN_ENDED: Change = Change { table: "cleanup_runs", by: "update", when: "new.done_at is not null" };
const NODE_DIED: Change = Change { table: "nodes", by: "update", when: "new.dead_at is not null" };
const KEY_MADE: Change = Change { table: "api_keys", by: "insert", when: "true" };
const KEY_REVOKED: Change =
    Change { table: "api_keys", by: "update", when: "old.revoked_at is null and new.revoked_at is not null" };

async fn create_key(service: &TestService) -> Option<CreatedKey> {
    let mut conn = service.database.pool.acquire().await.unwrap();
    let scopes = Scopes::parse("send,read").unwrap();
    keys::create(&mut conn, "shop", scopes, Some("backend"), None).await.ok()
}

async fn revoke(service: &TestService, id: KeyId) {
    let mut conn = service.database.pool.acquire().await.unwrap();
    let _refused = keys::revoke(&mut conn, id).await;
}

/// A node that died without a word: no beat comes any more.
async fn lose_a_node(service: &TestService) {
    service
        .database
        .execute("insert into nodes (name, version, role) values ('lost-4711', '0.9.0', 'all')")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_clean_up_run_is_told_as_the_run_is() {
    let (service, key) = start().await;
    let (_, run) = start_cleanup(&service).await;
    until_run(&service, &run, "done").await;
    let told = until_told(&service, &key, FactKind::CleanupDone, 1).await;
    let path = format!("{CLEANUPS}/{run}");
    assert_exact(&told[0], &service.by_admin(Method::GET, &path).await.body);
    service.by_admin(Method::POST, &format!("{path}/restore")).await;
    until_run(&service, &run, "restored").await;
    let told = until_told(&service, &key, FactKind::CleanupDone, 2).await;
    assert_exact(&told[1], &service.by_admin(Method::GET, &path).await.body);
    assert_refused(FactKind::CleanupDone, RUN_ENDED, async |service| {
        start_cleanup(service).await;
    })
    .await;
    service.stop().await;
}

/// A node that only answers requests carries no run out, so the run is there to be stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_up_run_that_is_stopped_is_told_too() {
    let service = TestService::builder().node(Role::Api).build().await;
    let key = service.key("admin").await;
    let (_, run) = start_cleanup(&service).await;
    let stopped = service.by_admin(Method::DELETE, &format!("{CLEANUPS}/{run}")).await;
    assert_eq!(stopped.status, 200, "{stopped:?}");
    let told = until_told(&service, &key, FactKind::CleanupDone, 1).await;
    assert_exact(&told[0], &stopped.body);
    assert_eq!(told[0]["status"], "cancelled");
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_app_is_told_of_nodes_that_start_and_die() {
    let mut service = TestService::builder()
        .app("blog")
        .config("DELIVERY__NODE_TIMEOUT", "3s")
        .node(Role::All)
        .build()
        .await;
    service.node(Role::Api).await;
    lose_a_node(&service).await;
    for app in ["shop", "blog"] {
        let key = service.key_of(app, "admin").await;
        let sql = "select json_build_object('node', node_id, 'name', name, 'version', version) from nodes where role = $1";
        let api: Value = sqlx::query_scalar(sql).bind("api").fetch_one(&service.database.pool).await.unwrap();
        let is_api = |event: &Value| event["data"]["node"] == api["node"];
        let started =
            until_events(&service, &key, "type=node.started", |events| events.iter().any(is_api)).await;
        assert_exact(&started.iter().find(|event| is_api(event)).unwrap()["data"], &api);
        let died = until_events(&service, &key, "type=node.died", |events| !events.is_empty()).await;
        let lost = "select json_build_object('node', node_id, 'name', name, 'version', version) from nodes where name = $1";
        let lost: Value =
            sqlx::query_scalar(lost).bind("lost-4711").fetch_one(&service.database.pool).await.unwrap();
        assert_eq!((died.len(), &died[0]["app"]), (1, &json!(app)));
        assert_exact(&died[0]["data"], &lost);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_that_is_not_stored_is_not_told() {
    assert_refused(FactKind::NodeDied, NODE_DIED, lose_a_node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_told_without_its_secret() {
    let (service, key) = start().await;
    let created = create_key(&service).await.unwrap();
    let id = created.id;
    let is_it = |event: &Value| event["data"]["key"] == id.to_string();
    let of_type = |kind: &'static str| format!("type={kind}");
    let told = until_events(&service, &key, &of_type("key.created"), |events| events.iter().any(is_it)).await;
    let expected = json!({"key": id.to_string(), "name": "backend", "scopes": ["send", "read"]});
    assert_exact(&told.iter().find(|event| is_it(event)).unwrap()["data"], &expected);
    assert!(!json!(told).to_string().contains(&created.secret), "a secret is told");
    revoke(&service, id).await;
    revoke(&service, id).await;
    let told = until_told(&service, &key, FactKind::KeyRevoked, 1).await;
    assert_exact(&told[0], &expected);
    assert_refused(FactKind::KeyCreated, KEY_MADE, async |service| {
        assert!(create_key(service).await.is_none());
    })
    .await;
    assert_refused(FactKind::KeyRevoked, KEY_REVOKED, async |service| {
        let created = create_key(service).await.unwrap();
        revoke(service, created.id).await;
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actions_of_operators_are_told_with_their_results() {
    let (service, key) = start().await;
    service.by_admin(Method::POST, "/v1/admin/lanes/fcm/pause").await;
    service.by_admin(Method::POST, "/v1/admin/lanes/fcm/resume").await;
    service.by_admin(Method::POST, "/v1/admin/lanes/hms/pause").await;
    let told = until_told(&service, &key, FactKind::AdminAction, 3).await;
    let wanted =
        [("lane.pause", "fcm", "done"), ("lane.resume", "fcm", "done"), ("lane.pause", "hms", "not_found")];
    for (told, (action, object, result)) in told.iter().zip(wanted) {
        let expected = json!({"key": "<key_>", "action": action, "object": object, "result": result});
        assert_exact(told, &expected);
        assert!(told["key"].as_str().unwrap().starts_with("key_"));
    }
    service.stop().await;
}

/// Commands on the database write to the log of the app that they are about; of every app, if they name none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actions_of_commands_are_told() {
    let (service, key) = start().await;
    let before = count(&service, FactKind::AdminAction).await;
    assert_eq!(before, 0);
    let config = service.config_path();
    let run = async |line: &str| {
        let mut command = command(program());
        command
            .args(line.split(' '))
            .arg("--config")
            .arg(&config)
            .env("DATABASE_URL", service.database.url());
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let created: Value =
        serde_json::from_str(&run("keys create --app shop --scope read --json").await).unwrap();
    let id = created["id"].as_str().unwrap();
    run(&format!("keys revoke {id}")).await;
    run("migrate").await;
    let told = until_told(&service, &key, FactKind::AdminAction, 3).await;
    for (told, (action, object)) in
        told.iter().zip([("keys.create", id), ("keys.revoke", id), ("schema.migrate", "")])
    {
        assert_exact(told, &json!({"key": "cli", "action": action, "object": object, "result": "done"}));
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_operators_do_is_not_told_where_no_events_are_kept() {
    assert_silent(async |service| {
        let (_, run) = start_cleanup(service).await;
        until_run(service, &run, "done").await;
        service.by_admin(Method::POST, "/v1/admin/lanes/fcm/pause").await;
    })
    .await;
}
