//! The libraries of Standard Webhooks for Python and Node, as PyPI and npm have them: installed once, below `target`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const PYTHON: &str = "standardwebhooks==1.1.0";
const NODE: &str = "standardwebhooks@1.1.1";

/// The interpreter of a virtual environment that has the library.
pub fn python() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        install("webhooks-venv", |folder| {
            run(Command::new("python3").args(["-m", "venv"]).arg(folder));
            let pip = ["install", "--quiet", "--disable-pip-version-check", PYTHON];
            run(Command::new(folder.join("bin/pip")).args(pip));
        })
        .join("bin/python")
    })
}

/// A folder in which Node finds the library.
pub fn node_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        install("webhooks-node", |folder| {
            let npm = ["install", "--silent", "--no-audit", "--no-fund", NODE, "--prefix"];
            run(Command::new("npm").args(npm).arg(folder));
        })
    })
}

/// Installs into a folder, once. What an earlier process left unfinished is removed.
fn install(name: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let folder = target.join(name);
    let done = folder.join("installed");
    if !done.exists() {
        let _absent = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        install(&folder);
        std::fs::write(&done, "").unwrap();
    }
    folder.canonicalize().unwrap()
}

fn run(command: &mut Command) {
    let ended = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(ended.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ended.stderr));
}
