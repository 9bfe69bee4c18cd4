//! Providers that are reached through an HTTP proxy, and proxies that refuse, ask for a password or say nothing.
//!
//! The providers are called `simulator.test` here: a name that only the proxy can reach, because what is called
//! `localhost` never goes through a proxy.

use pushpost_testkit::json::{apns_targets, assert_ended, assert_has, fcm_targets};
use std::sync::{Arc, Mutex};

use pushpost::runtime::Role;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use pushpost_testkit::service::{PRODUCTION, TestService, sent};
use pushpost_testkit::wait::WAIT_MAX;

const DEVICES: usize = 20;
const NAME: &str = "simulator.test";

/// What the proxy does with a CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    /// Connects to the port asked for, on this machine.
    Connects,
    /// Connects only clients that show `name:secret-word`.
    WantsLogin,
    /// Answers every CONNECT with 403.
    Refuses,
    /// Takes the request and answers nothing.
    Silent,
}

struct ForwardProxy {
    port: u16,
    manner: Arc<Mutex<Manner>>,
    /// The hosts and ports of all requests.
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl ForwardProxy {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (manner, asked) = (Arc::new(Mutex::new(manner)), Arc::<Mutex<Vec<String>>>::default());
        let mut tasks = JoinSet::new();
        let (how, log) = (Arc::clone(&manner), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(serve(client, *how.lock().unwrap(), Arc::clone(&log)));
            }
        });
        Self { port, manner, asked, _tasks: tasks }
    }

    fn turn(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort();
        asked.dedup();
        asked
    }
}

async fn serve(client: TcpStream, manner: Manner, log: Arc<Mutex<Vec<String>>>) {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    log.lock().unwrap().push(target.clone());
    let allowed = match manner {
        // RFC 7617: base64 of "name:secret-word".
        Manner::WantsLogin => head.contains("\r\nProxy-Authorization: Basic bmFtZTpzZWNyZXQtd29yZA==\r\n"),
        manner => manner == Manner::Connects,
    };
    let refusal = match manner {
        _ if allowed => None,
        Manner::Silent => std::future::pending().await,
        Manner::WantsLogin => Some("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"),
        _ => Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
    };
    if let Some(refusal) = refusal {
        let _gone = client.write_all(refusal.as_bytes()).await;
        return;
    }
    let port: u16 = target.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let _ended = copy_bidirectional(&mut client, &mut server).await;
}

/// A service with providers under a name that only the proxy can reach.
async fn behind(proxy: &str) -> TestService {
    let mut service = TestService::builder().build().await;
    for name in ["pushpost.toml", "service-account.json"] {
        service.write(name, &service.read(name).replace("https://localhost:", &format!("https://{NAME}:")));
    }
    service.configure("NETWORK__PROXY", proxy);
    service.node(Role::All).await;
    service
}

async fn notify(service: &TestService, targets: Vec<Value>) -> String {
    service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await
}

async fn assert_accepted(service: &TestService, id: &str) {
    let outcomes = service.notifications().outcomes(id).await;
    assert_eq!(outcomes.len(), DEVICES);
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_providers_and_the_token_endpoint_are_reached_through_a_proxy_with_a_login() {
    let proxy = ForwardProxy::start(Manner::WantsLogin).await;
    let service = behind(&format!("http://name:secret-word@127.0.0.1:{}", proxy.port)).await;
    for targets in [apns_targets("aa", DEVICES), fcm_targets("f", DEVICES)] {
        let id = notify(&service, targets).await;
        assert_accepted(&service, &id).await;
    }
    let port_of = |url: &str| url.rsplit_once(':').unwrap().1.split('/').next().unwrap().to_owned();
    let mut expected = [service.simulator.apns_endpoint(), service.simulator.fcm_endpoint()]
        .map(|endpoint| format!("{NAME}:{}", port_of(&endpoint)));
    expected.sort();
    assert_eq!(proxy.asked(), expected, "the token endpoint has FCM's port");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_refuses_makes_its_lanes_wait_and_counts_no_attempt() {
    let proxy = ForwardProxy::start(Manner::Refuses).await;
    let service = behind(&format!("http://127.0.0.1:{}", proxy.port)).await;
    let waiting = notify(&service, apns_targets("aa", DEVICES)).await;
    for (manner, cause) in
        [(Manner::Refuses, "unsuccessful"), (Manner::WantsLogin, "proxy authorization required")]
    {
        proxy.turn(manner);
        let begun = tokio::time::Instant::now();
        let why = format!("connect failed: CONNECT: {cause} (proxy 127.0.0.1:{})", proxy.port);
        while service.lanes().until_state(PRODUCTION, "broken").await["why"] != why {
            assert!(begun.elapsed() < WAIT_MAX, "{manner:?}: {}", service.lanes().get(PRODUCTION).await);
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
    }
    for delivery in service.notifications().deliveries(&waiting).await {
        assert_has(&delivery, &json!({"status": "pending", "attempts": 0}));
    }
    assert_eq!(sent(&service.ledger()).len(), 0);
    proxy.turn(Manner::Connects);
    assert_accepted(&service, &waiting).await;
    service.expect_log("lane stops sending");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_proxy_costs_a_connect_timeout_and_counts_no_attempt() {
    let proxy = ForwardProxy::start(Manner::Silent).await;
    let service = behind(&format!("http://127.0.0.1:{}", proxy.port)).await;
    let waiting = notify(&service, apns_targets("aa", DEVICES)).await;
    let lane = service.lanes().until_state(PRODUCTION, "broken").await;
    assert!(lane["why"].as_str().unwrap().contains("no answer"), "{lane}");
    proxy.turn(Manner::Connects);
    assert_accepted(&service, &waiting).await;
    service.expect_log("lane stops sending");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loopback_and_excepted_hosts_need_no_proxy() {
    let proxy = ForwardProxy::start(Manner::Refuses).await;
    let service = TestService::builder()
        .config("NETWORK__PROXY", &format!("http://127.0.0.1:{}", proxy.port))
        .node(Role::All)
        .build()
        .await;
    let id = notify(&service, apns_targets("aa", DEVICES)).await;
    assert_accepted(&service, &id).await;
    let id = notify(&service, fcm_targets("f", DEVICES)).await;
    assert_accepted(&service, &id).await;
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
    service.stop().await;
}
