//! Addresses that are not public, in a network namespace of its own in which this machine has them: listeners there see no
//! connection, the refusal names what to allow, and what is allowed is reached.
//!
//! The test runs its own program again in that namespace, which takes root and `unshare`.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use pushpost::domain::{AddressGuard, Network, WebhookOutcome};
use pushpost::events::webhooks::WebhookUrl;
use pushpost::events::webhooks::client::{Attempted, SignedMessage, WebhookClient};
use pushpost::provider::transport::tls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Set in the namespace: the file that is `/etc/hosts` there.
const HOSTS: &str = "WEBHOOK_TEST_HOSTS";
const NAME: &str = "webhooks::addresses::addresses_of_this_machine_are_reached_only_if_they_are_allowed";
/// Gives the loopback device the addresses, and replaces `/etc/hosts`.
const SCRIPT: &str = "\
set -e
ip link set lo up
for address in 10.0.0.1 100.64.0.1 169.254.169.254 93.184.216.34; do ip address add $address/32 dev lo; done
for address in 64:ff9b::a9fe:a9fe 2002:a00:1::1 fd00::1; do ip address add $address/128 dev lo nodad; done
mount --bind \"$WEBHOOK_TEST_HOSTS\" /etc/hosts
exec \"$@\"
";

/// Answers every request with a redirect to loopback, and keeps the addresses at which it was reached.
struct Listener {
    port: u16,
    reached: Arc<Mutex<Vec<IpAddr>>>,
    _accepting: JoinSet<()>,
}

impl Listener {
    async fn start() -> Self {
        let listener = TcpListener::bind("[::]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let reached = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut accepting) = (Arc::clone(&reached), JoinSet::new());
        accepting.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let at: SocketAddr = socket.local_addr().unwrap();
                seen.lock().unwrap().push(at.ip().to_canonical());
                let _read = socket.read(&mut [0; 4096]).await;
                let answer = format!(
                    "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{port}/\r\ncontent-length: 0\r\n\r\n"
                );
                let _gone = socket.write_all(answer.as_bytes()).await;
            }
        });
        Self { port, reached, _accepting: accepting }
    }

    fn take_reached(&self) -> Vec<IpAddr> {
        std::mem::take(&mut *self.reached.lock().unwrap())
    }
}

async fn attempt(url: &str, allowed: &[&str]) -> Attempted {
    let networks = allowed.iter().map(|text| Network::parse(text).unwrap()).collect();
    let guard = Arc::new(AddressGuard::new(networks));
    let client = WebhookClient::new(WebhookUrl::parse(url).unwrap(), guard, &tls(None).unwrap());
    let now: DateTime<Utc> = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
    let message = SignedMessage {
        id: "msg_1".to_owned(),
        timestamp: now.timestamp(),
        signature: "v1,abc".to_owned(),
        body: "{}".into(),
        traceparent: None,
    };
    client.post(&message, now).await
}

async fn within_namespace(hosts: &str) {
    let listener = Listener::start().await;
    let port = listener.port;
    for (host, network) in [
        ("127.0.0.1", "127.0.0.0/8"),
        ("[::1]", "::1/128"),
        ("0x7f000001", "127.0.0.0/8"),
        ("10.0.0.1", "10.0.0.0/8"),
        ("[::ffff:10.0.0.1]", "10.0.0.0/8"),
        ("[64:ff9b::a9fe:a9fe]", "169.254.0.0/16"),
        ("[2002:a00:1::1]", "10.0.0.0/8"),
        ("169.254.169.254", "169.254.0.0/16"),
        ("100.64.0.1", "100.64.0.0/10"),
        ("[fd00::1]", "fc00::/7"),
        ("private.test", "10.0.0.0/8"),
    ] {
        std::fs::write(hosts, "10.0.0.1 private.test\n").unwrap();
        let url = format!("http://{host}:{port}/");
        for url in [&url, &url.replace("http", "https")] {
            let refused = attempt(url, &[]).await;
            assert_eq!(refused.outcome, WebhookOutcome::Blocked, "{url}: {refused:?}");
            let error = refused.error.unwrap();
            assert!(
                error.contains(&format!("add \"{network}\" to webhooks.allow_networks")),
                "{url}: {error}"
            );
        }
        assert_eq!(listener.take_reached(), [] as [IpAddr; 0], "{host}");
        let allowed = attempt(&url, &[network]).await;
        assert_eq!(allowed.status, Some(302), "{host}: {allowed:?}");
        assert_eq!(listener.take_reached().len(), 1, "the redirect of {host} is not followed");
    }

    // A name that has a public address first, and loopback at the next attempt.
    let url = format!("https://changing.test:{port}/");
    std::fs::write(hosts, "93.184.216.34 changing.test\n").unwrap();
    assert_eq!(attempt(&url, &[]).await.outcome, WebhookOutcome::TlsFailed);
    assert_eq!(listener.take_reached(), ["93.184.216.34".parse::<IpAddr>().unwrap()]);
    std::fs::write(hosts, "127.0.0.1 changing.test\n").unwrap();
    assert_eq!(attempt(&url, &[]).await.outcome, WebhookOutcome::Blocked);
    std::fs::write(hosts, "127.0.0.1 changing.test\n93.184.216.34 changing.test\n").unwrap();
    assert_eq!(attempt(&url, &[]).await.outcome, WebhookOutcome::TlsFailed);
    assert_eq!(listener.take_reached(), ["93.184.216.34".parse::<IpAddr>().unwrap()], "only the public one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_of_this_machine_are_reached_only_if_they_are_allowed() {
    if let Ok(hosts) = std::env::var(HOSTS) {
        return within_namespace(&hosts).await;
    }
    let may_unshare = Command::new("unshare").args(["--net", "--mount", "true"]).status();
    if !may_unshare.is_ok_and(|status| status.success()) {
        eprintln!("not run: network namespaces take root and unshare");
        return;
    }
    let hosts = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "bash", "-c", SCRIPT, "bash"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", NAME, "--nocapture"]).env(HOSTS, hosts.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("1 passed"), "{}", text(&output.stdout));
}
