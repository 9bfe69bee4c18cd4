//! `pushpost keys` by the real program.

use std::process::Stdio;

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::processes::{command, program};
use pushpost_testkit::wait::WAIT_MAX;
use tokio::time::timeout;

use super::commands::{assert_ended, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_nothing_reads_is_told_with_what_to_do() {
    let (database, folder) = (TestDatabase::create().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("c.toml");
    std::fs::write(&file, "[apps.shop]\n").unwrap();
    let variables = [("DATABASE_URL", database.url()), ("PUSHPOST_CONFIG", file.to_str().unwrap())];
    for json in ["", "--json"] {
        let mut create = command(program());
        create.args(["keys", "create", "--app", "shop", "--scope", "read"]).args(json.split_whitespace());
        create.envs(variables).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = create.spawn().unwrap();
        drop(child.stdout.take());
        let output = timeout(WAIT_MAX, child.wait_with_output()).await.expect("a command ends").unwrap();
        let said = [
            "error: the secret of key_",
            "is lost: stdout is closed",
            "hint: end the key with pushpost keys revoke key_",
        ];
        assert_ended(&output, 1, &[], &said);
    }
    let created = run("keys create --app shop --scope read", &variables).await;
    assert_ended(&created, 0, &["pushpost_sk_"], &["the secret is shown only now"]);
}
