//! A receiver of the README as a process of its own.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use pushpost_testkit::processes::free_port;
use pushpost_testkit::webhook_libraries::{node_folder, python};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// A second secret, for a rotation.
pub(crate) const OTHER_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The languages in which the README has a receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Language {
    Python,
    Node,
}

impl Language {
    /// The mark of its blocks in the README.
    fn mark(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "js",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Python => "receiver.py",
            Self::Node => "receiver.mjs",
        }
    }
}

/// The README's receiver in this language, on another port.
fn source(language: Language, port: u16) -> String {
    let begin = format!("```{}\n", language.mark());
    let readme = include_str!("../../../README.md");
    let blocks = readme.split(&begin).skip(1).filter_map(|rest| rest.split("```").next());
    let mut receivers = blocks.filter(|block| block.contains("standardwebhooks"));
    let receiver = receivers.next().unwrap_or_else(|| panic!("the README has a receiver in {language:?}"));
    assert!(receiver.contains("9000"));
    receiver.replace("9000", &port.to_string())
}

/// A receiver of the README as a process, which prints the events that it gets. It keeps its port when it is killed.
pub(crate) struct ReadmeReceiver {
    language: Language,
    folder: TempDir,
    port: u16,
    child: Child,
    printed: Arc<Mutex<Vec<String>>>,
    /// Ends when the process has ended and all that it printed is read.
    reading: JoinSet<()>,
}

impl ReadmeReceiver {
    /// Starts a receiver that verifies with this secret.
    pub(crate) fn start(language: Language, secret: &str) -> Self {
        Self::start_changed(language, secret, &[])
    }

    /// As [`Self::start`], with changes of the source: a text that the README's receiver has, and what is in its place.
    pub(crate) fn start_changed(language: Language, secret: &str, changes: &[(&str, &str)]) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut source = source(language, port);
        for (from, to) in changes {
            assert_eq!(source.matches(from).count(), 1, "{from:?} is once in the README's receiver");
            source = source.replace(from, to);
        }
        std::fs::write(folder.path().join(language.file()), source).unwrap();
        if language == Language::Node {
            let modules = node_folder().join("node_modules");
            std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();
        }
        let (printed, mut reading) = (Arc::default(), JoinSet::new());
        let child = run(language, &folder, secret, &printed, &mut reading);
        Self { language, folder, port, child, printed, reading }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// `kill -9`; returns when everything that the process printed is read.
    pub(crate) async fn kill(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "the receiver ended before it was killed");
        self.child.kill().await.unwrap();
        while self.reading.join_next().await.is_some() {}
    }

    /// Starts the process again after [`Self::kill`].
    pub(crate) fn start_again(&mut self, secret: &str) {
        self.child = run(self.language, &self.folder, secret, &self.printed, &mut self.reading);
    }

    /// How many events it has got, doubles too.
    pub(crate) fn printed_count(&self) -> usize {
        self.printed.lock().unwrap().len()
    }

    /// The ids and types of the events that it has got, doubles too, in the order of their arrival.
    pub(crate) fn printed(&self) -> Vec<(String, String)> {
        let printed = self.printed.lock().unwrap();
        let event = |line: &String| {
            let (id, kind) = line.split_once(' ').unwrap();
            (id.to_owned(), kind.to_owned())
        };
        printed.iter().map(event).collect()
    }

    /// The ids of `notification.done`, each at its first arrival.
    pub(crate) fn done(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for (id, kind) in self.printed() {
            if kind == "notification.done" && !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }
}

fn run(
    language: Language,
    folder: &TempDir,
    secret: &str,
    printed: &Arc<Mutex<Vec<String>>>,
    reading: &mut JoinSet<()>,
) -> Child {
    let program = match language {
        Language::Python => python().to_owned(),
        Language::Node => "node".into(),
    };
    let mut command = Command::new(program);
    command.arg(language.file()).current_dir(folder.path()).env("SECRET", secret).kill_on_drop(true);
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
