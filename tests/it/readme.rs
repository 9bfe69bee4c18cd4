//! The README's blocks, run as a reader would paste them: in one shell, one after the other, with the real binary.
//!
//! A block is run unless the line before it is a comment that begins with `<!-- not run:`. The test reads the README
//! itself; it only replaces ports, which may be taken, and the address of the external Postgres, which is an example.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::Duration;

use pushpost_testkit::database::TestDatabase;
use tokio::time::timeout;

/// The blocks start Postgres twice, a simulator and three services.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, PartialEq)]
struct Block {
    language: String,
    code: String,
}

/// The blocks that are run, in order.
fn blocks(readme: &str) -> Vec<Block> {
    let (mut found, mut last, mut open): (_, _, Option<(Block, bool)>) = (Vec::new(), "", None);
    for line in readme.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                let runs = matches!(language, "sh" | "python" | "js") && !last.starts_with("<!-- not run:");
                open = Some((Block { language: language.to_owned(), code: String::new() }, runs));
            }
            (Some(_), Some(_)) => {
                found.extend(open.take().filter(|(_, runs)| *runs).map(|(block, _)| block));
            }
            (Some((block, _)), None) => {
                block.code.push_str(line);
                block.code.push('\n');
            }
            (None, None) => {}
        }
        last = line;
    }
    found
}

/// One script of all blocks. What a block prints follows a line `block <number>`.
fn script(blocks: &[Block]) -> String {
    let mut script = "set -e\ntrap 'kill $(jobs -p) 2> /dev/null; wait' EXIT\n".to_owned();
    for (number, Block { language, code }) in blocks.iter().enumerate() {
        script += &format!("echo 'block {number}'\n");
        match language.as_str() {
            "python" => script += &format!("python3 - << 'END'\n{code}END\n"),
            "js" => script += &format!("node --input-type=module - << 'END'\n{code}END\n"),
            // The device's outcome is on record a moment later.
            _ if code.contains("/deliveries") => {
                script += &format!("block() {{\n{code}}}\n");
                script +=
                    "until block | tee answer | grep -q '\"accepted\"'; do sleep 0.2; done\ncat answer\n";
            }
            _ => script += code,
        }
    }
    script
}

fn is_installed(program: &str) -> bool {
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn blocks_are_found_with_their_languages() {
    let readme =
        "```sh\na\nb\n```\n<!-- not run: needs Docker -->\n```sh\nc\n```\n```toml\nd\n```\n```js\ne\n```\n";
    let block = |language: &str, code: &str| Block { language: language.to_owned(), code: code.to_owned() };
    assert_eq!(blocks(readme), [block("sh", "a\nb\n"), block("js", "e\n")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_blocks_of_the_readme_do_what_they_say() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let mut blocks = blocks(&readme);
    let languages: Vec<_> = blocks.iter().map(|block| block.language.clone()).collect();
    assert_eq!(languages, ["sh", "sh", "sh", "python", "js", "sh", "sh"], "the blocks of the README");
    for (language, program) in [("python", "python3"), ("js", "node")] {
        if !is_installed(program) {
            eprintln!("{program} is not installed: its block is not run");
            blocks.retain(|block| block.language != language);
        }
    }

    let database = TestDatabase::empty().await;
    let (first, second) = (free_port(), free_port());
    let script = script(&blocks)
        .replace(":8080", &format!(":{first}"))
        .replace(":8081", &format!(":{second}"))
        .replace("pushpost simulate", "pushpost simulate --apns-port 0 --fcm-port 0 --control-port 0")
        .replace("postgres://pushpost@db/pushpost", &format!("'{}'", database.url()));

    let folder = tempfile::tempdir().unwrap();
    // The embedded Postgres of a test that runs as root is another user's.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    symlink(env!("CARGO_BIN_EXE_pushpost"), folder.path().join("pushpost")).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut command = tokio::process::Command::new("bash");
    command.arg("-c").arg(&script).current_dir(folder.path()).process_group(0).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PUSHPOST")) {
        command.env_remove(name);
    }
    command.env_remove("DATABASE_URL").env("PATH", path).env("NO_PROXY", "localhost");
    command.env("PUSHPOST__SERVER__LISTEN", format!("127.0.0.1:{first}"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let group = format!("-{}", child.id().unwrap());
    let ended = timeout(PATIENCE, child.wait_with_output()).await;
    if ended.is_err() {
        let _ = Command::new("kill").args(["-TERM", "--", &group]).status();
    }
    let output = ended.expect("the blocks end in time").unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let log = fs::read_to_string(folder.path().join("pushpost.log")).unwrap_or_default();
    assert!(output.status.success(), "{printed}\n{errors}\n{log}");

    let answers: Vec<_> = printed.split("block ").skip(1).collect();
    assert_eq!(answers.len(), blocks.len(), "{printed}");
    let answer = |language: &str, code: &str| {
        let at = blocks.iter().position(|block| block.language == language && block.code.contains(code));
        at.map(|at| answers[at])
    };
    let registered = answer("sh", r#""user":"u42""#).unwrap();
    assert!(registered.contains(r#""user":"u42""#) && registered.contains("dev_"), "{registered}");
    let deliveries = answer("sh", "/deliveries").unwrap();
    assert!(deliveries.contains(r#""status":"accepted","attempts":1"#), "{deliveries}");
    for language in ["python", "js"] {
        assert!(answer(language, "").is_none_or(|answer| answer.contains("\nntf_")), "{printed}");
    }
    let anonymous = answer("sh", "--scope register").unwrap();
    assert!(anonymous.contains(r#""bound":false"#) && anonymous.contains("news"), "{anonymous}");
    assert!(answer("sh", "readyz").unwrap().matches("ready").count() >= 2, "both nodes are ready: {printed}");
}
