//! A container as the kernel makes one: processes, host name and mounts of its own, an ordinary user, and the machine's
//! folder as the only one that it shares with others. The network is the machine's, so each has its own port.
//!
//! Made by root with `unshare`; a test that needs it fails where it can't be had.

use std::fs::{self, File};
use std::os::unix::fs::{chown, lchown};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use reqwest::Client;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use pushpost_testkit::processes::{TestMachine, free_port, providers, signal};
use pushpost_testkit::wait::WAIT_MAX;

/// The user in the container; the machine has none of this number.
const USER: u32 = 12_000;
const STEP: Duration = Duration::from_millis(20);
/// Runs in the new namespaces. `$1` is the host name, `$2` the machine's folder, `$3` the program, `$4` the user,
/// `$5` the umask, `$6` what is hidden, `$7` what may be written; what follows is the command line, in which `pushpost` is the program. The
/// container ends with the test's process: a change of user clears what `unshare` has arranged for that.
const SET_UP: &str = r#"
set -e
echo "$1" > /proc/sys/kernel/hostname
mount --bind "$2" "$2"
mount --bind "$3" "$2/bin/pushpost"
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$2/passwd" /etc/passwd
for hidden in $6; do mount --bind /dev/null "$hidden"; done
case $7 in
  everything) privileges= ;;
  volume) privileges='--no-new-privs --bounding-set -all --inh-caps -all'; read_only='/ /run' ;;
  nothing) privileges='--no-new-privs --bounding-set -all --inh-caps -all'; read_only="/ /run /tmp $2" ;;
esac
for place in ${read_only:-}; do mount -o remount,bind,ro "$place"; done
umask "$5"
PATH="$2/bin:$PATH"
user=$4
shift 7
exec setpriv --reuid "$user" --regid "$user" --clear-groups $privileges --pdeathsig KILL "$@"
"#;

/// What runs in a container.
#[derive(Clone, Copy)]
pub(crate) struct Image {
    /// Its host name.
    pub(crate) host: &'static str,
    /// The user of its processes.
    pub(crate) user: u32,
    pub(crate) umask: &'static str,
    /// The process 1 is a shell, which starts the service and stays.
    pub(crate) has_shell: bool,
    /// Files that the container lacks, as a pattern of the shell.
    pub(crate) hidden: &'static str,
    /// What its processes may write to.
    pub(crate) writable: Writable,
    /// Further environment variables.
    pub(crate) env: &'static [(&'static str, &'static str)],
}

/// What the processes of a container may write to. Those that may not write to everything have no capability either, and no
/// way to get one.
#[derive(Clone, Copy)]
pub(crate) enum Writable {
    Everything,
    /// The volume with the data folder, and `/tmp`: `docker run --read-only --tmpfs /tmp`.
    Volume,
    Nothing,
}

/// A container in which `pushpost serve` runs; killed when dropped.
pub(crate) struct Container<'a> {
    machine: &'a TestMachine,
    image: Image,
    port: u16,
    http: Client,
    /// `unshare`, the parent of the container's process 1.
    outside: Child,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            host: "one",
            user: USER,
            umask: "022",
            has_shell: false,
            hidden: "",
            writable: Writable::Everything,
            env: &[],
        }
    }
}

impl Image {
    pub(crate) fn named(host: &'static str) -> Self {
        Self { host, ..Self::default() }
    }

    /// Starts the service in a container.
    pub(crate) fn start(self, machine: &TestMachine) -> Container<'_> {
        let port = free_port();
        let log = File::options().create(true).append(true).open(log_of(machine, self.host)).unwrap();
        let config = machine.folder().join("pushpost.toml");
        let mut serve = vec!["pushpost", "serve", "--config", config.to_str().unwrap()];
        if self.has_shell {
            serve.splice(0..0, ["sh", "-c", r#""$@" & wait "$!"; exec sleep 3600"#, "sh"]);
        }
        let mut command = self.command(machine, &serve);
        command.env("PUSHPOST__SERVER__LISTEN", format!("127.0.0.1:{port}"));
        let outside = command.stdout(Stdio::null()).stderr(log).spawn().expect("unshare is there");
        machine.watch_over(outside.id().unwrap());
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Container { machine, image: self, port, http, outside }
    }

    /// Starts the service in a container and waits until it is ready.
    pub(crate) async fn serve(self, machine: &TestMachine) -> Container<'_> {
        let mut container = self.start(machine);
        container.until_ready().await;
        container
    }

    /// Runs a command in a container of its own.
    pub(crate) async fn run(self, machine: &TestMachine, arguments: &[&str]) -> Output {
        let config = machine.folder().join("pushpost.toml");
        let line = [&["pushpost"], arguments, &["--config", config.to_str().unwrap()]].concat();
        timeout(WAIT_MAX, self.command(machine, &line).output()).await.expect("a command ends").unwrap()
    }

    fn command(self, machine: &TestMachine, line: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--ipc", "--uts", "--mount", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", SET_UP, "sh", self.host]).arg(machine.folder());
        let writable = match self.writable {
            Writable::Everything => "everything",
            Writable::Volume => "volume",
            Writable::Nothing => "nothing",
        };
        let (program, user) = (pushpost_testkit::processes::program(), self.user.to_string());
        command.args([program, &user, self.umask, self.hidden, writable]).args(line);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.env.iter().copied());
        command.stdin(Stdio::null()).current_dir("/").kill_on_drop(true);
        command
    }
}

impl Container<'_> {
    /// Answers `/readyz` with 200.
    pub(crate) async fn is_ready(&self) -> bool {
        let asked = self.http.get(format!("{}/readyz", self.url())).send().await;
        asked.is_ok_and(|answer| answer.status() == 200)
    }

    pub(crate) async fn until_ready(&mut self) {
        let begun = Instant::now();
        while !self.is_ready().await {
            assert!(self.is_running(), "the service ended: {}", self.log());
            assert!(begun.elapsed() < WAIT_MAX, "the service is not ready: {}", self.log());
            sleep(STEP).await;
        }
    }

    pub(crate) async fn until_logged(&self, text: &str) {
        let begun = Instant::now();
        while !self.log().contains(text) {
            assert!(begun.elapsed() < WAIT_MAX, "not logged: {text}: {}", self.log());
            sleep(STEP).await;
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.outside.try_wait().unwrap().is_none()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(log_of(self.machine, self.image.host)).unwrap_or_default()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn http(&self) -> &Client {
        &self.http
    }

    /// Runs a command in this container, as its user.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.inside();
        command.arg(self.machine.folder().join("bin/pushpost")).args(arguments);
        command.arg("--config").arg(self.machine.folder().join("pushpost.toml"));
        timeout(WAIT_MAX, command.output()).await.expect("a command ends").unwrap()
    }

    /// Runs a shell's script in this container, as its user.
    pub(crate) async fn shell(&self, script: &str) -> String {
        let output = timeout(WAIT_MAX, self.inside().args(["sh", "-c", script]).output()).await;
        String::from_utf8(output.expect("a script ends").unwrap().stdout).unwrap()
    }

    /// SIGTERM for the process 1.
    pub(crate) async fn terminate(&self) {
        signal("-TERM", self.init()).await;
    }

    /// `kill -9` of the process 1, with which the kernel ends all others of the container.
    pub(crate) async fn kill(mut self) {
        signal("-KILL", self.init()).await;
        self.ended().await;
    }

    /// How it ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(WAIT_MAX, self.outside.wait()).await.expect("a container ends").unwrap()
    }

    fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        let user = self.image.user.to_string();
        command.args(["--pid", "--ipc", "--uts", "--mount", "--target", &self.init().to_string()]);
        command.args(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.image.env.iter().copied());
        command.stdin(Stdio::null()).current_dir("/").kill_on_drop(true);
        command
    }

    /// The process 1, by the machine's number.
    fn init(&self) -> u32 {
        let outside = self.outside.id().expect("the container runs");
        let children = fs::read_to_string(format!("/proc/{outside}/task/{outside}/children")).unwrap();
        children.trim().parse().expect("unshare has one child")
    }
}

/// A machine with a folder that belongs to the containers' user and that containers see.
pub(crate) async fn shared_machine(delivery: &str) -> TestMachine {
    let unshare =
        Command::new("unshare").args(["--pid", "--mount", "--uts", "--ipc", "--fork", "true"]).output();
    let output = unshare.await.expect("unshare is installed (Debian: util-linux)");
    assert!(output.status.success(), "containers need root: {output:?}");
    // Not below /tmp: a container has its own.
    let machine = TestMachine::below(Path::new("/var/tmp"), 0o755, providers(Duration::ZERO), delivery).await;
    let bin = machine.folder().join("bin");
    fs::create_dir(&bin).unwrap();
    File::create(bin.join("pushpost")).unwrap();
    let users = fs::read_to_string("/etc/passwd").unwrap();
    machine.write("passwd", &format!("{users}pushpost:x:{USER}:{USER}::/nonexistent:/bin/false\n"));
    give(machine.folder(), USER);
    machine
}

/// Makes a user the owner of the folder and of what is in it.
pub(crate) fn give(folder: &Path, user: u32) {
    for entry in fs::read_dir(folder).unwrap() {
        lchown(entry.unwrap().path(), Some(user), Some(user)).unwrap();
    }
    chown(folder, Some(user), Some(user)).unwrap();
}

fn log_of(machine: &TestMachine, host: &str) -> PathBuf {
    machine.folder().join(format!("{host}.log"))
}
