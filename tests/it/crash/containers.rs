//! Containers that share a data folder, and containers that lack a user name or rights.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::container::{Container, Image, give, shared_machine};
use pushpost_testkit::processes::TestMachine;
use pushpost_testkit::wait::WAIT_MAX;

const CREATE_KEY: [&str; 6] = ["keys", "create", "--app", "shop", "--scope", "send,read"];

/// Where Debian's package puts the library.
const NSS_WRAPPER: &str = "/usr/lib/*/libnss_wrapper.so*";
/// A user id that no system has.
const NAMELESS: u32 = 12_345;
const NOBODY: u32 = 65_534;

async fn key(container: &Container<'_>) -> String {
    let output = container.run(&CREATE_KEY).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

async fn post(container: &Container<'_>, key: &str) -> String {
    try_post(container, key).await.unwrap()
}

/// The id of a notification that was taken.
async fn try_post(container: &Container<'_>, key: &str) -> reqwest::Result<String> {
    let push = json!({"to": {"tokens": [{"platform": "apns", "token": "aa".repeat(32)}]}, "title": "A"});
    let url = format!("{}/v1/notifications", container.url());
    let answer = container.http().post(url).bearer_auth(key).json(&push).send().await?.error_for_status()?;
    assert_eq!(answer.status(), 202);
    let answer: Value = answer.json().await?;
    Ok(answer["id"].as_str().unwrap().to_owned())
}

async fn assert_kept(container: &Container<'_>, key: &str, promised: &BTreeSet<String>) {
    for id in promised {
        let url = format!("{}/v1/notifications/{id}", container.url());
        let answer = container.http().get(url).bearer_auth(key).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{id} was answered 202 and is gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_container_waits_for_the_first_and_takes_over_what_it_accepted() {
    let machine = shared_machine("").await;
    let mut first = Image::named("one").serve(&machine).await;
    let key = key(&first).await;
    let mut promised = BTreeSet::from([post(&first, &key).await]);

    let refused = Image::named("three").run(&machine, &CREATE_KEY).await;
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("is used by another container (host one, since 20"), "{words}");
    assert!(words.contains("run the command there"), "{words}");

    let mut second = Image::named("two").start(&machine);
    second.until_logged("another container uses the data folder").await;
    for _ in 0..20 {
        promised.insert(post(&first, &key).await);
    }
    assert!(first.is_ready().await && !second.is_ready().await);
    assert_kept(&first, &key, &promised).await;

    first.terminate().await;
    assert_eq!(first.ended().await.code(), Some(0), "{}", first.log());
    second.until_ready().await;
    assert_kept(&second, &key, &promised).await;

    // The same when the first one is killed.
    let mut third = Image::named("three").start(&machine);
    third.until_logged("another container uses the data folder").await;
    promised.insert(post(&second, &key).await);
    second.kill().await;
    third.until_ready().await;
    assert_kept(&third, &key, &promised).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_outlives_its_service_in_another_container_is_left_alone() {
    let machine = shared_machine("").await;
    let with_shell = Image { has_shell: true, ..Image::named("one") };
    let first = with_shell.serve(&machine).await;
    let key = key(&first).await;
    let mut promised = BTreeSet::from([post(&first, &key).await]);
    promised.insert(post(&first, &key).await);
    first.shell("kill -KILL $(pidof pushpost)").await;

    let image = Image { env: &[("PUSHPOST__DATABASE__START_TIMEOUT", "3s")], ..Image::named("two") };
    let mut second = image.start(&machine);
    assert_eq!(second.ended().await.code(), Some(69), "{}", second.log());
    let log = second.log();
    assert!(log.contains("is still used by another container after 3 s (host one, since 20"), "{log}");
    assert_ne!(first.shell("pidof postgres").await, "", "the server of the first still runs");

    first.kill().await;
    let second = Image::named("two").serve(&machine).await;
    assert_kept(&second, &key, &promised).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_process_1_a_postgres_that_is_killed_or_loses_its_socket_comes_back() {
    let machine = shared_machine("").await;
    let container = Image::named("one").serve(&machine).await;
    let key = key(&container).await;
    let mut promised = BTreeSet::from([post(&container, &key).await]);
    for harm in ["kill -KILL $(sed -n 1p postmaster.pid)", "rm -r /tmp/pushpost-*"] {
        let before = postmaster(&machine);
        assert!(before.is_some());
        let data = machine.data_dir().join("postgres/data");
        container.shell(&format!("cd {} && {harm}", data.display())).await;
        promised.insert(until_posted_under_another(&container, &machine, &key, before).await);
    }
    assert_kept(&container, &key, &promised).await;
    let zombies = container.shell("grep -l '^State:.Z' /proc/[0-9]*/status").await;
    assert_eq!(zombies, "", "process 1 collects what has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_adds_rights_of_a_group_is_used_again() {
    let machine = shared_machine("").await;
    let image = Image::named("one");
    let mut container = image.serve(&machine).await;
    let key = key(&container).await;
    let promised = BTreeSet::from([post(&container, &key).await]);
    container.terminate().await;
    container.ended().await;

    // As Kubernetes does it for fsGroup.
    let script = r#"find "$1" -type d -exec chmod 2770 {} + -o -type f -exec chmod g+rw {} +"#;
    let status = Command::new("sh").args(["-c", script, "sh"]).arg(machine.data_dir()).status();
    assert!(status.unwrap().success());
    let container = image.serve(&machine).await;
    assert_kept(&container, &key, &promised).await;
    for (path, mode) in [("postgres", 0o700), ("postgres/data", 0o700), ("postgres/password", 0o600)] {
        let found = fs::metadata(machine.data_dir().join(path)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, mode, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_of_libpq_do_not_reach_the_embedded_postgres() {
    let machine = shared_machine("").await;
    let env = &[
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/nonexistent"),
        ("PGOPTIONS", "-c default_transaction_read_only=on -c no_such_parameter=1"),
        ("PGHOST", "no-such-host"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGUSER", "stranger"),
        ("PGPASSWORD", "wrong"),
        ("PGDATABASE", "elsewhere"),
        ("PGDATA", "/nonexistent"),
        ("PGAPPNAME", "stranger"),
        ("PGSERVICE", "none"),
    ];
    let image = Image { env, ..Image::named("one") };
    let made = image.run(&machine, &CREATE_KEY).await;
    assert!(made.status.success(), "{made:?}");
    let key = String::from_utf8(made.stdout).unwrap().trim_end().to_owned();
    let mut container = image.serve(&machine).await;
    assert_kept(&container, &key, &BTreeSet::from([post(&container, &key).await])).await;
    container.terminate().await;
    assert_eq!(container.ended().await.code(), Some(0), "process 1 is still the service");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_id_without_a_name_works_with_nss_wrapper_and_is_refused_in_one_line_without() {
    let wrapper = Command::new("sh").args(["-c", &format!("ls {NSS_WRAPPER}")]).output().unwrap();
    assert!(wrapper.status.success(), "libnss-wrapper is needed (scripts/ensure-postgres --tests)");
    let machine = shared_machine("").await;
    give(machine.folder(), NAMELESS);
    let nameless = Image { user: NAMELESS, ..Image::named("one") };
    let without = Image { hidden: NSS_WRAPPER, ..nameless };
    let refused = without.run(&machine, &CREATE_KEY).await;
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("the user id 12345 has no name in /etc/passwd"), "{words}");

    let container = nameless.serve(&machine).await;
    let key = key(&container).await;
    assert_kept(&container, &key, &BTreeSet::from([post(&container, &key).await])).await;
    let dockerfile = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile")).unwrap();
    assert!(dockerfile.contains("libnss-wrapper"), "the image has it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_root_a_narrow_umask_leaves_the_database_in_its_data_folder() {
    let machine = shared_machine("").await;
    let root = Image { user: 0, umask: "027", ..Image::named("one") };
    // With a folder that is made, and with an empty one that is there.
    let nested = machine.folder().join("a/b");
    let nested_env: &'static str = Box::leak(nested.to_string_lossy().into_owned().into_boxed_str());
    fs::create_dir(machine.data_dir()).unwrap();
    fs::set_permissions(machine.data_dir(), Permissions::from_mode(0o750)).unwrap();
    let env = Box::leak(Box::new([("PUSHPOST__DATABASE__DATA_DIR", nested_env)]));
    for (image, data_dir) in [(Image { env, ..root }, nested), (root, machine.data_dir())] {
        let made = image.run(&machine, &CREATE_KEY).await;
        assert!(made.status.success(), "{made:?}");
        assert!(data_dir.join("postgres/data/PG_VERSION").exists(), "{}", data_dir.display());
        assert!(!data_dir.join("postgres-is-at").exists(), "{}", data_dir.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_root_postgres_never_runs_as_a_shared_user() {
    let machine = shared_machine("").await;
    let users = machine.read("passwd");
    let without = users.lines().filter(|line| !line.starts_with("postgres:"));
    machine.write("passwd", &without.map(|line| format!("{line}\n")).collect::<String>());
    let root = Image { user: 0, ..Image::named("one") };
    let refused = root.run(&machine, &CREATE_KEY).await;
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("there is no user postgres"), "{words}");
    assert!(!machine.data_dir().join("postgres").exists(), "nothing is made");

    // Data of a user that other programs share.
    let data = machine.data_dir().join("postgres/data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("PG_VERSION"), "15\n").unwrap();
    chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    let refused = root.run(&machine, &CREATE_KEY).await;
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("belongs to nobody"), "{words}");
}

fn postmaster(machine: &TestMachine) -> Option<u32> {
    let file = fs::read_to_string(machine.data_dir().join("postgres/data/postmaster.pid")).ok()?;
    file.lines().next()?.parse().ok()
}

/// Waits until the service takes a notification with another server process.
async fn until_posted_under_another(
    container: &Container<'_>,
    machine: &TestMachine,
    key: &str,
    before: Option<u32>,
) -> String {
    let begun = Instant::now();
    loop {
        let now = postmaster(machine);
        if now.is_some()
            && now != before
            && let Ok(id) = try_post(container, key).await
        {
            return id;
        }
        assert!(begun.elapsed() < WAIT_MAX, "Postgres does not come back: {}", container.log());
        sleep(Duration::from_millis(50)).await;
    }
}
