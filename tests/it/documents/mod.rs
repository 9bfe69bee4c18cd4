//! The blocks of documents, run as a reader would paste them: in one shell, one after the other, with the real binary.
//!
//! A block of `sh`, `python` or `js` is run unless the line before it is a comment that begins with `<!-- not run:`. A
//! document says what a block prints: in a block of `json` or `text` right below it, or in comments behind `print(…)` and
//! `console.log(…)`. There `…` stands for any text.

mod deployment;
mod guide;
mod operations;
mod readme;
mod runbook;
mod sizing;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::timeout;

/// The blocks start Postgres twice, a simulator and three services.
const PATIENCE: Duration = Duration::from_secs(300);

/// A block that is run.
#[derive(Debug, Clone, PartialEq)]
struct Block {
    language: String,
    code: String,
    /// What a block below it says that it prints; empty: no block says it.
    output: String,
}

/// The blocks that are run, in order.
fn blocks(document: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let (mut last, mut ran_last) = ("", false);
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let code: String =
                lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            let runs = matches!(language, "sh" | "python" | "js") && !last.starts_with("<!-- not run:");
            match language {
                "json" | "text" if ran_last => found.last_mut().unwrap().output = code,
                _ if runs => found.push(Block { language: language.to_owned(), code, output: String::new() }),
                _ => {}
            }
            (last, ran_last) = ("```", runs);
        } else {
            (last, ran_last) = (line, false);
        }
    }
    found
}

impl Block {
    /// The name of the file in which a reader saves the block: its first line is a comment with this name.
    fn file(&self) -> Option<&str> {
        let line = self.code.lines().next()?;
        let name = line.strip_prefix("# ").or(line.strip_prefix("// "))?;
        [".py", ".mjs"].iter().any(|end| name.ends_with(end)).then_some(name)
    }

    /// The texts that the block prints, in order.
    fn expected(&self) -> Vec<&str> {
        let comments = self.code.lines().filter_map(|line| {
            let (start, end) =
                if self.language == "python" { ("print(", "  # ") } else { ("console.log(", " // ") };
            line.contains(start).then(|| line.rsplit_once(end)).flatten().map(|(_, text)| text)
        });
        let comments = comments.filter(|_| self.language != "sh");
        let parts = self.output.split(['…', '\n']).chain(comments).map(str::trim);
        parts.filter(|part| !part.is_empty()).collect()
    }
}

/// One script of all blocks. What a block prints follows a line `block <number>`.
fn script(blocks: &[Block]) -> String {
    let mut script = "set -e\ntrap 'kill $(jobs -p) 2> /dev/null; wait' EXIT\n".to_owned();
    for (number, block) in blocks.iter().enumerate() {
        script += &format!("echo 'block {number}'\n");
        let code = &block.code;
        match (block.file(), block.language.as_str()) {
            (Some(name), _) => script += &format!("cat > {name} << 'END'\n{code}END\n"),
            (None, "python") => script += &format!("python3 - << 'END'\n{code}END\n"),
            (None, "js") => script += &format!("node --input-type=module - << 'END'\n{code}END\n"),
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

/// Leaves out the blocks of languages that this machine lacks.
fn runnable(blocks: Vec<Block>) -> Vec<Block> {
    let mut missing = Vec::new();
    for (language, program) in [("python", "python3"), ("js", "node")] {
        if !is_installed(program) {
            eprintln!("{program} is not installed: its blocks are not run");
            missing.push(language);
        }
    }
    blocks.into_iter().filter(|block| !missing.contains(&block.language.as_str())).collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs the blocks in an empty folder, and answers what each printed. Ports of a document may be taken, so `replaced`
/// stands in for them; a service listens on `port`.
async fn run(blocks: &[Block], port: u16, replaced: &[(&str, String)]) -> Vec<String> {
    let script = replaced.iter().fold(script(blocks), |script, (from, to)| script.replace(from, to));
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
    command.env("PUSHPOST__SERVER__LISTEN", format!("127.0.0.1:{port}"));
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
    let answers: Vec<_> = printed.split("block ").skip(1).map(str::to_owned).collect();
    assert_eq!(answers.len(), blocks.len(), "{printed}");
    answers
}

/// Asserts that a block printed what the document says, in this order.
fn assert_printed(block: &Block, printed: &str) {
    let mut rest = printed;
    for expected in block.expected() {
        let (_, after) = rest.split_once(expected).unwrap_or_else(|| {
            panic!("the document says that this prints {expected:?}:\n{}\nIt printed:\n{printed}", block.code)
        });
        rest = after;
    }
}

#[test]
fn blocks_are_found_with_their_languages_and_outputs() {
    let document = "```sh\na\nb\n```\n<!-- not run: needs Docker -->\n```sh\nc\n```\n```toml\nd\n```\n```js\ne\n```\n```text\nf … g\n```\n";
    let block = |language: &str, code: &str, output: &str| Block {
        language: language.to_owned(),
        code: code.to_owned(),
        output: output.to_owned(),
    };
    let found = blocks(document);
    assert_eq!(found, [block("sh", "a\nb\n", ""), block("js", "e\n", "f … g\n")]);
    assert_eq!(found[1].expected(), ["f", "g"]);
    let saved = block("python", "# push.py\nprint(f(1))  # 7\nprint(2)\n", "");
    assert_eq!((saved.file(), saved.expected()), (Some("push.py"), vec!["7"]));
}

#[test]
#[should_panic(expected = "prints \"g\"")]
fn a_block_that_prints_something_else_fails() {
    let found = blocks("```sh\na\n```\n```text\nf … g\n```\n");
    assert_printed(&found[0], "f and h");
}
