//! `pushpost doctor` by the real program: what is right, what is to be done, and that nothing is written.

use std::os::unix::fs::PermissionsExt as _;

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::installation::CONFIG;
use pushpost_testkit::service::TestService;
use pushpost_testkit::webhook_receiver::WebhookReceiver;
use serde_json::{Value, json};

use super::commands::{assert_ended, run};

/// The lines of the checks with this name.
fn lines_of<'a>(stdout: &'a str, check: &str) -> Vec<&'a str> {
    let of_check = |line: &&str| line.get(6..).is_some_and(|rest| rest.starts_with(&format!("{check}: ")));
    stdout.lines().filter(of_check).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_right_has_no_failure_and_its_providers_take_its_credentials() {
    let service = TestService::start().await;
    let config = service.config_path();
    let variables = [("DATABASE_URL", service.database.url()), ("PUSHPOST_CONFIG", config.to_str().unwrap())];
    let right = run("doctor", &variables).await;
    let stdout = String::from_utf8_lossy(&right.stdout).into_owned();
    assert_eq!(right.status.code(), Some(0), "{stdout}{}", String::from_utf8_lossy(&right.stderr));
    for check in [
        "config",
        "file",
        "certificate",
        "limits",
        "postgres",
        "clock",
        "synchronous_commit",
        "rights",
        "transactions",
        "migrations",
        "partitions",
        "nodes",
        "keys",
    ] {
        assert!(!lines_of(&stdout, check).is_empty(), "{check} in {stdout}");
    }
    assert_eq!(lines_of(&stdout, "live"), [""; 0], "no provider is asked");
    assert!(stdout.lines().all(|line| !line.starts_with("fail")), "{stdout}");
    assert!(!stdout.contains('\x1b'), "no colours where stdout is no terminal");

    let live = run("doctor --live --json", &variables).await;
    let text = String::from_utf8(live.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let live: Vec<&Value> = lines.iter().filter(|line| line["check"] == "live").collect();
    assert_eq!(live.len(), 3, "{text}");
    assert!(live.iter().all(|line| line["verdict"] == "ok"), "{live:?}");
    assert_eq!(text.matches("BadDeviceToken").count(), 2, "{text}");
    assert!(text.contains("only validated"), "{text}");
    assert_eq!(service.ledger().accepted_count(), 0, "nothing was sent");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_told_with_a_hint_and_ends_with_2() {
    let service = TestService::builder().build().await;
    let config = service.config_path();
    let variables = [("DATABASE_URL", service.database.url()), ("PUSHPOST_CONFIG", config.to_str().unwrap())];
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    // A secret that every user can read, in a folder that every user may enter; and an authority that others may read.
    open(config.parent().unwrap(), 0o755);
    open(service.path("service-account.json").as_ref(), 0o644);
    open(service.path("ca.pem").as_ref(), 0o644);
    let text = service.read(CONFIG);
    let key_id = text.lines().find(|line| line.starts_with("key_id")).unwrap();
    service.edit(key_id, "key_id = \"OTHERKEY00\"");
    let suspended = "update lanes set suspended_at = now(), suspended_reason = 'InvalidProviderToken', suspended_fingerprint = 'x'
                     where platform = 1 and environment = 1";
    service.database.execute(suspended).await;

    let wrong = run("doctor --live", &variables).await;
    let said = String::from_utf8_lossy(&wrong.stdout).into_owned();
    assert_eq!(wrong.status.code(), Some(2), "{said}");
    let file = lines_of(&said, "file");
    let warned: Vec<_> = file.iter().filter(|line| line.starts_with("warn")).collect();
    assert!(matches!(warned.as_slice(), [line] if line.contains("service-account.json")), "{said}");
    assert!(said.contains("hint: chmod o-rwx "), "{said}");
    assert!(lines_of(&said, "nodes")[0].starts_with("warn  nodes: none lives"), "{said}");
    assert!(lines_of(&said, "credential")[0].contains("InvalidProviderToken"), "{said}");
    let live = lines_of(&said, "live");
    let refused = |line: &&&str| {
        line.starts_with("fail") && line.contains("refuses the credential: InvalidProviderToken")
    };
    assert_eq!(live.iter().filter(refused).count(), 2, "{said}");
    assert_eq!(live.iter().filter(|line| line.starts_with("ok")).count(), 1, "FCM: {said}");
    let stderr = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(stderr.contains("failures, "), "{stderr}");

    let away =
        run("doctor", &[("DATABASE_URL", "postgres://pushpost@127.0.0.1:1/pushpost"), variables[1]]).await;
    assert_ended(&away, 2, &["fail  postgres: PostgreSQL at 127.0.0.1:1 is not available"], &["failure"]);
    service.edit("key_id = \"OTHERKEY00\"", "key_id = 7");
    let faulty = run("doctor", &variables).await;
    assert_ended(&faulty, 2, &["fail  config: ", "apps.shop.apns.key_id"], &["1 failure"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_only_read_is_told_so_and_everything_else_is_checked_all_the_same() {
    let service = TestService::builder().node(Role::Api).build().await;
    let role = format!("r_{:08x}", rand::random::<u32>());
    let grants = format!(
        "create role {role} login password 'hunter2'; grant select on all tables in schema public to {role}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(grants)).execute(&service.database.pool).await.unwrap();
    let (_, place) = service.database.url().rsplit_once('@').unwrap();
    let url = format!("postgres://{role}:hunter2@{place}");
    let config = service.config_path();
    let told = run("doctor", &[("DATABASE_URL", &url), ("PUSHPOST_CONFIG", config.to_str().unwrap())]).await;
    let drop = format!("drop owned by {role}; drop role {role}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&service.database.pool).await.unwrap();
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(2), "{said}");
    let rights = lines_of(&said, "rights");
    assert!(rights.iter().any(|line| line.contains("does not own") && line.contains(" api_keys")), "{said}");
    assert!(
        rights.iter().any(|line| line.contains("may not read and write") && line.contains(" api_keys")),
        "{said}"
    );
    // A write would have ended the checks with an error.
    for check in ["migrations", "partitions", "nodes", "keys"] {
        assert!(!lines_of(&said, check).is_empty(), "{check} in {said}");
    }
    assert!(!said.contains("permission denied") && !said.contains("hunter2"), "{said}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_of_the_api_is_tested_and_a_disabled_one_is_told() {
    let receiver = WebhookReceiver::start().await;
    let settings =
        [("WEBHOOKS__ALLOW_NETWORKS", "[\"127.0.0.0/8\"]"), ("APPS__SHOP__WEBHOOK_HOSTS", "[\"127.0.0.1\"]")];
    let builder = TestService::builder();
    let builder = settings.iter().fold(builder, |builder, (name, value)| builder.config(name, value));
    let service = builder.node(Role::Api).build().await;
    let body = json!({"name": "made", "url": receiver.url()});
    let made = service.ask_by_admin(Method::POST, "/v1/admin/webhooks", body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let config = service.config_path();
    let of_service =
        [("DATABASE_URL", service.database.url()), ("PUSHPOST_CONFIG", config.to_str().unwrap())];
    let names = settings.map(|(name, value)| (format!("PUSHPOST__{name}"), value));
    let mut variables = of_service.to_vec();
    variables.extend(names.iter().map(|(name, value)| (name.as_str(), *value)));
    let webhooks = async |line: &str, variables: &[(&str, &str)]| -> String {
        let told = run(line, variables).await;
        lines_of(&String::from_utf8_lossy(&told.stdout), "webhook").join("\n")
    };
    let active = webhooks("doctor --live", &variables).await;
    assert!(active.contains("shop/made may be reached") && !active.contains("disabled"), "{active}");
    assert!(active.contains("shop/made took a test: status 200"), "{active}");
    assert_eq!(receiver.posted().len(), 1);
    let give_up = "update webhooks set disabled_at = now(), why = 'status 410'";
    sqlx::query(give_up).execute(&service.database.pool).await.unwrap();
    let disabled = webhooks("doctor", &variables).await;
    assert!(disabled.contains("warn  webhook: shop/made is disabled since 20"), "{disabled}");
    assert!(disabled.contains("status 410"), "{disabled}");
    assert_eq!(receiver.posted().len(), 1, "without --live no test is sent");
    let elsewhere = webhooks("doctor --live", &of_service).await;
    assert!(elsewhere.contains("its host 127.0.0.1 is not in apps.shop.webhook_hosts"), "{elsewhere}");
    service.stop().await;
}
