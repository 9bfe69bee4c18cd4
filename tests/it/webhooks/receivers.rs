//! The receivers of the README, in Python and Node with the libraries of Standard Webhooks: they get every event in order, with the
//! old and with the new secret, and after they were killed.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use pushpost::runtime::Role;
use pushpost_testkit::processes::free_port;
use pushpost_testkit::wait;
use pushpost_testkit::webhook_libraries::{node_folder, python};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::{SECRET, push, service, until_told};

pub(super) const OTHER_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The README's block of this language that receives webhooks, on another port.
fn block(language: &str, port: u16) -> String {
    let begin = format!("```{language}\n");
    let readme = include_str!("../../../README.md");
    let blocks = readme.split(&begin).skip(1).filter_map(|rest| rest.split("```").next());
    let mut receivers = blocks.filter(|block| block.contains("standardwebhooks"));
    let receiver = receivers.next().unwrap_or_else(|| panic!("the README has a receiver in {language}"));
    assert!(receiver.contains("9000"));
    receiver.replace("9000", &port.to_string())
}

/// A receiver of the README as a process, which prints the events that it gets.
pub(super) struct Receiver {
    folder: TempDir,
    file: &'static str,
    secret: &'static str,
    port: u16,
    child: Child,
    printed: Arc<Mutex<Vec<String>>>,
    reading: JoinSet<()>,
}

impl Receiver {
    pub(super) async fn start(language: &str, file: &'static str, secret: &'static str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        std::fs::write(folder.path().join(file), block(language, port)).unwrap();
        if file.ends_with(".mjs") {
            std::os::unix::fs::symlink(
                node_folder().join("node_modules"),
                folder.path().join("node_modules"),
            )
            .unwrap();
        }
        let (printed, mut reading) = (Arc::default(), JoinSet::new());
        let child = run(&folder, file, secret, &printed, &mut reading);
        Self { folder, file, secret, port, child, printed, reading }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub(super) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub(super) fn start_again(&mut self) {
        self.child = run(&self.folder, self.file, self.secret, &self.printed, &mut self.reading);
    }

    /// How many events it has got, doubles too.
    pub(super) fn printed_count(&self) -> usize {
        self.printed.lock().unwrap().len()
    }

    /// The ids of `notification.done`, each at its first arrival.
    pub(super) fn done(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for line in self.printed.lock().unwrap().iter() {
            let (id, kind) = line.split_once(' ').unwrap();
            if kind == "notification.done" && !ids.iter().any(|known| known == id) {
                ids.push(id.to_owned());
            }
        }
        ids
    }
}

fn run(
    folder: &TempDir,
    file: &str,
    secret: &str,
    printed: &Arc<Mutex<Vec<String>>>,
    reading: &mut JoinSet<()>,
) -> Child {
    let program = if file.ends_with(".py") { python().to_owned() } else { "node".into() };
    let mut command = Command::new(program);
    command.arg(file).current_dir(folder.path()).env("SECRET", secret).kill_on_drop(true);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let printed = Arc::clone(printed);
    reading.spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            printed.lock().unwrap().push(line);
        }
    });
    child
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_of_the_readme_get_every_event_in_order_during_a_rotation_and_after_a_kill() {
    // One receiver has the new secret already, the other one still the old one.
    let mut in_python = Receiver::start("python", "receiver.py", SECRET).await;
    let mut in_node = Receiver::start("js", "receiver.mjs", OTHER_SECRET).await;
    let webhook = |name: &str, url: String| {
        format!("{{name=\"{name}\", url=\"{url}\", secrets=[\"{SECRET}\", \"{OTHER_SECRET}\"], batch_max=3}}")
    };
    let setting = format!("[{}, {}]", webhook("py", in_python.url()), webhook("js", in_node.url()));
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    // A receiver that is not up yet, or is killed, may refuse three times.
    service.expect_log("webhook fails");
    let mut sent = 0;
    for round in 0..3 {
        for number in 0..4 {
            push(&service, &format!("t{round}-{number}")).await;
            sent += 1;
        }
        for receiver in [&mut in_python, &mut in_node] {
            receiver.kill().await;
            receiver.start_again();
        }
    }
    // A notification is done a moment before its end is in the log.
    let log = until_told(&service, "notification.done", sent).await;
    let logged: Vec<String> = log.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    for (name, receiver) in [("Python", &in_python), ("Node", &in_node)] {
        wait::until(&format!("all events in {name}"), async || receiver.done().len() >= sent).await;
        assert_eq!(receiver.done(), logged, "{name}");
    }
    service.stop().await;
}
