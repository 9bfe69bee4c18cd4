//! `pushpost devices`: import and export of tables of devices, by the real program.

use pushpost_testkit::json::assert_has;
use std::fs;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::processes::signal;

/// Longer than any command takes.
const LONG: Duration = Duration::from_secs(120);
const APP: &str = "[apps.NAME.apns]\nkey = \"-----BEGIN PRIVATE KEY-----\"\nkey_id = \"ABC123DEFG\"\nteam_id = \"DEF123GHIJ\"\ntopic = \"t\"\n";

/// A folder with a configuration, and a database.
pub(super) struct Place {
    pub(super) database: TestDatabase,
    folder: TempDir,
}

impl Place {
    pub(super) async fn new(apps: &[&str]) -> Self {
        let place = Self { database: TestDatabase::create().await, folder: tempfile::tempdir().unwrap() };
        place.write("c.toml", apps.iter().map(|app| APP.replace("NAME", app)).collect::<String>());
        place
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Adds text to the end of a file.
    pub(super) fn append(&self, name: &str, text: &str) {
        let before = fs::read_to_string(self.folder.path().join(name)).unwrap();
        self.write(name, before + text);
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(pushpost_testkit::processes::program());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PUSHPOST"))
        {
            command.env_remove(name);
        }
        command
            .arg("devices")
            .args(line.split(' '))
            .args(["--config", "c.toml"])
            .current_dir(self.folder.path());
        command.env("DATABASE_URL", self.database.url()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs `pushpost devices …` to its end.
    pub(super) async fn run(&self, line: &str) -> Output {
        timeout(LONG, self.command(line).output()).await.expect("a command ends").unwrap()
    }

    /// The same with a text for its stdin.
    async fn run_with(&self, line: &str, input: &str) -> Output {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        timeout(LONG, child.wait_with_output()).await.expect("a command ends").unwrap()
    }

    async fn count(&self, condition: &str) -> i64 {
        let sql = format!("select count(*) from devices where {condition}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&self.database.pool).await.unwrap()
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Devices are stored in the order of their tokens' digests.
fn by_token(mut devices: Vec<Value>) -> Vec<Value> {
    devices.sort_by_key(|device| device["token"].as_str().unwrap().to_owned());
    devices
}

#[track_caller]
fn assert_ended(output: &Output, code: i32, stdout: &str, stderr: &[&str]) {
    assert_eq!((output.status.code(), text(&output.stdout).trim_end()), (Some(code), stdout), "{output:?}");
    for part in stderr {
        assert!(text(&output.stderr).contains(part), "{part}: {}", text(&output.stderr));
    }
    if code == 0 {
        assert!(output.stderr.is_empty(), "a bar is for terminals: {}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_can_be_imported_unchanged() {
    let (here, there) = (Place::new(&["shop"]).await, Place::new(&["shop"]).await);
    let table = [
        json!({"platform": "apns", "token": "ab".repeat(32), "kind": "voip", "environment": "sandbox", "user": null,
               "topics": [], "locale": null, "timezone": null, "app_version": null, "registered_at": null}),
        json!({"platform": "fcm", "token": "f1", "kind": "alert", "environment": null, "user": "u1",
               "topics": ["news", "team:42"], "locale": "de-DE", "timezone": "Europe/Berlin", "app_version": "1",
               "registered_at": "2025-03-01T12:00:00.123456Z"}),
        json!({"platform": "fcm", "token": "dead"}),
    ];
    here.write("t.ndjson", table.iter().map(|line| format!("{line}\n")).collect::<String>());
    let imported = here.run("import t.ndjson").await;
    assert_ended(&imported, 0, "3 lines: 3 created, 0 updated, 0 failed", &[]);
    sqlx::query("update devices set quarantined_at = now(), quarantine_reason = 'x' where token = 'dead'")
        .execute(&here.database.pool)
        .await
        .unwrap();

    let exported = here.run("export").await;
    assert_eq!(by_token(lines(&exported)), table[..2], "a dead token would come to life again");
    let imported = there.run_with("import - --json", &text(&exported.stdout)).await;
    assert_has(
        &lines(&imported)[0],
        &json!({"lines": 2, "created": 2, "failed": 0, "errors": [],
        "stopped_at": null, "next_line": 3}),
    );
    assert_eq!(there.run("export").await.stdout, exported.stdout);
    let again = there.run_with("import -", &text(&exported.stdout)).await;
    assert_ended(&again, 0, "2 lines: 0 created, 2 updated, 0 failed", &[]);

    let all = lines(&here.run("export --all").await);
    let dead = json!({"token": "dead", "status": "quarantined", "source": "import", "id": "<id>"});
    assert_has(&by_token(all.clone())[1], &dead);
    let rest = lines(&here.run(&format!("export --all --after {}", all[1]["id"].as_str().unwrap())).await);
    assert_eq!(rest, all[2..]);
    assert_ended(&here.run("export --after dev_x").await, 64, "", &["not the id of a device", "hint: "]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn csv_says_the_same_as_ndjson() {
    let place = Place::new(&["shop"]).await;
    let table = "\u{feff}token,platform,user,topics\r\nf1,fcm,\"Bob \"\"B\"\"\",news;sport\r\n\r\nf2,fcm,,\r\n\"f3,fcm\r\nf4,fcm,,,x\r\n\
                 f5,hms\r\nf6,fcm";
    place.write("t.csv", table);
    let imported = place.run("import t.csv").await;
    let says = [
        "line 5: #: a quoted cell",
        "line 6: #: this line has 5 cells",
        "line 7: #/platform: ",
        "3 lines were not",
    ];
    assert_ended(&imported, 2, "6 lines: 3 created, 0 updated, 3 failed", &says);
    let exported = by_token(lines(&place.run("export").await));
    let first = json!({"token": "f1", "user": "Bob \"B\"", "topics": ["news", "sport"]});
    assert_has(&json!(exported), &json!([first, {"token": "f2", "user": null}, {"token": "f6"}]));

    place.write("t.txt", "platform,token\nfcm,f7\n");
    assert_ended(
        &place.run("import t.txt").await,
        2,
        "2 lines: 0 created, 0 updated, 2 failed",
        &["line 1: "],
    );
    place.write("quoted.csv", "platform,token\n\"fcm,f7\n");
    let refused = place.run("import quoted.csv --json").await;
    let fault = json!({"pointer": "#", "code": "malformed_csv"});
    let result: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_has(&result, &json!({"errors": [{"line": 2, "problem": {"errors": [fault]}}]}));
    let named = place.run("import t.txt --format csv").await;
    assert_ended(&named, 0, "1 line: 1 created, 0 updated, 0 failed", &[]);
    place.write("no-header.csv", "fcm,secret-token\n");
    let refused = place.run("import no-header.csv").await;
    assert_ended(
        &refused,
        1,
        "0 lines: 0 created, 0 updated, 0 failed",
        &["column 1 \"fcm\" is unknown; the names are platform, token", "hint: correct the first line"],
    );
    assert!(!text(&refused.stderr).contains("secret") && !text(&refused.stderr).contains("--from-line"));
    place.write("semicolons.csv", "platform;token\nfcm;f8\n");
    let refused = place.run("import semicolons.csv").await;
    let says = ["cannot read semicolons.csv: line 1: ", "separate the columns with commas"];
    assert_ended(&refused, 1, "0 lines: 0 created, 0 updated, 0 failed", &says);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_goes_on_from_where_it_stopped() {
    let place = Place::new(&["shop"]).await;
    let line = |n: usize| json!({"platform": "fcm", "token": format!("f{n}")}).to_string();
    let mut table: Vec<String> = (1..=3_000).map(line).collect();
    table[2_499] = json!({"platform": "fcm", "tokne": "f2500"}).to_string();
    place.write("t.ndjson", table.join("\n"));
    let stopped = place.run("import t.ndjson --on-error stop").await;
    let says = ["line 2500: ", "did you mean \"token\"?;", "stopped at line 2500", "--from-line 2500"];
    assert_ended(&stopped, 2, "2500 lines: 2499 created, 0 updated, 1 failed", &says);
    assert_eq!(place.count("true").await, 2_499);

    table[2_499] = line(2_500);
    place.write("t.ndjson", table.join("\n"));
    let rest = place.run("import t.ndjson --from-line 2500 --json").await;
    assert_has(&lines(&rest)[0], &json!({"lines": 501, "created": 501, "next_line": 3_001}));
    let behind = place.run("import t.ndjson --from-line 9000 --json").await;
    assert_has(&lines(&behind)[0], &json!({"lines": 0, "next_line": 9_000}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_import_says_where_to_go_on() {
    let place = Place::new(&["shop"]).await;
    let mut command = place.command("import - --json");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let table: String =
        (1..=1_500).map(|n| format!("{}\n", json!({"platform": "fcm", "token": format!("f{n}")}))).collect();
    stdin.write_all(table.as_bytes()).await.unwrap();
    timeout(LONG, async {
        while place.count("true").await < 1_000 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("what came is imported");
    signal("-INT", child.id().unwrap()).await;
    let output =
        timeout(LONG, child.wait_with_output()).await.expect("it ends though more may come").unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_has(&answer, &json!({"lines": 1_000, "created": 1_000, "stopped_at": 1_001, "next_line": 1_001}));
    assert!(text(&output.stderr).contains("--from-line 1001"), "{}", text(&output.stderr));
    drop(stdin);
    assert_eq!(place.count("true").await, 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_app_of_an_import_must_be_clear() {
    let place = Place::new(&["shop", "other"]).await;
    place.write("t.ndjson", json!({"platform": "fcm", "token": "f1"}).to_string());
    for line in ["import t.ndjson", "export"] {
        assert_ended(&place.run(line).await, 64, "", &["--app is missing", "hint: ", "other, shop"]);
    }
    assert_ended(&place.run("import t.ndjson --app shpo").await, 1, "", &["no app \"shpo\"", "other, shop"]);
    assert_ended(
        &place.run("import nothing.ndjson --app shop").await,
        1,
        "",
        &["cannot read nothing.ndjson"],
    );
    assert_ended(&place.run("import . --app shop").await, 1, "", &["cannot read ."]);
    assert_ended(
        &place.run("import t.ndjson --app shop").await,
        0,
        "1 line: 1 created, 0 updated, 0 failed",
        &[],
    );
    assert_eq!(lines(&place.run("export --app other").await), [] as [Value; 0]);
    assert_eq!(lines(&place.run("export --app shop").await).len(), 1);
}
