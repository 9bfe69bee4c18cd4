//! `pushpost queue` by the real program: the table, an operator's commands, and what is said where a request fails.

use std::process::{Output, Stdio};
use std::sync::Arc;

use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::processes::{command, program};
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::WAIT_MAX;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::commands::{assert_ended, run as queue};

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_pauses_looks_and_resumes() {
    let service = TestService::start().await;
    for lane in ["apns-production", "apns-sandbox", "fcm"] {
        let answer = service.by_admin(http::Method::POST, &format!("/v1/admin/lanes/{lane}/resume")).await;
        assert_eq!(answer.status, 200);
    }
    let (url, key) = (service.url(""), service.key("admin").await);
    let by_variable = [("PUSHPOST_URL", url.as_str()), ("PUSHPOST_KEY", key.as_str())];
    let by_argument = [("PUSHPOST_KEY", key.as_str())];
    service.lanes().until_state(fcm::LANE, "running").await;
    assert_ended(&queue("queue", &by_variable).await, 0, &["LANE  ", "apns-sandbox", "running"], &[]);

    let paused = queue(&format!("queue pause shop/fcm --url {url}/"), &by_argument).await;
    assert_ended(&paused, 0, &["fcm   paused"], &[]);
    let waits = json!({"to": {"tokens": fcm_targets("f", 3)}, "title": "Hi"});
    let id = service.notifications().send(waits).await;
    service.lanes().until(fcm::LANE, &json!({"depth": 3})).await;
    assert_ended(
        &queue("queue", &by_variable).await,
        2,
        &["fcm              paused   3"],
        &["lane fcm is paused"],
    );
    let listed = queue("queue --json", &by_variable).await;
    assert_ended(&listed, 2, &["\"depth\":3"], &["lane fcm is paused"]);
    assert_eq!(lines(&listed).len(), 3);

    let resumed = queue("queue resume fcm --json", &by_variable).await;
    assert_ended(&resumed, 0, &["\"lane\":\"fcm\""], &[]);
    assert_eq!(lines(&resumed).len(), 1);
    assert_eq!(service.notifications().until_done(&id).await["counts"]["accepted"], 3);
    assert_ended(&queue("queue retry fcm", &by_variable).await, 0, &["fcm   running"], &[]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_when_its_reader_has_gone() {
    let service = TestService::start().await;
    let (url, key) = (service.url(""), service.key("admin").await);
    let mut watch = command(program());
    watch.args(["queue", "--watch"]).env("PUSHPOST_URL", url).env("PUSHPOST_KEY", key);
    let mut watch = watch.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut first = [0; 4];
    watch.stdout.take().unwrap().read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"LANE");
    let ended = timeout(WAIT_MAX, watch.wait()).await.expect("the watch ends").unwrap();
    assert_eq!(ended.code(), Some(0));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_says_what_to_do() {
    let service = TestService::start().await;
    let (url, key, sender) = (service.url(""), service.key("admin").await, service.key("send").await);
    let nowhere = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let unknown = format!("pushpost_sk_{}", "0a".repeat(32));
    for (line, url, key, code, said) in [
        ("queue", &url, None, 64, ["error: PUSHPOST_KEY is not set", "hint: it holds the secret"]),
        (
            "queue",
            &"push.example.com".to_owned(),
            Some(&key),
            64,
            ["begins with http://", "hint: such as --url"],
        ),
        (
            "queue",
            &nowhere,
            Some(&key),
            69,
            ["connection refused: nothing listens at", "hint: --url or PUSHPOST_URL"],
        ),
        (
            "queue",
            &url,
            Some(&unknown),
            77,
            ["the key in PUSHPOST_KEY is refused", "hint: pushpost keys list"],
        ),
        ("queue", &url, Some(&sender), 77, ["scope admin", "hint: pushpost keys create --scope"]),
        ("queue pause fmc", &url, Some(&key), 1, ["No such lane; there are", "fcm"]),
        ("queue pause other/fcm", &url, Some(&key), 1, ["No such lane; there are", "fcm"]),
        ("queue pause fcm/../../x", &url, Some(&key), 64, ["a lane is written as", "shop/fcm"]),
    ] {
        let variables = [("PUSHPOST_URL", url.as_str()), ("PUSHPOST_KEY", key.map_or("", String::as_str))];
        let output = queue(line, &variables).await;
        assert_ended(&output, code, &[], &said);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(key.is_none_or(|key| !stderr.contains(key.as_str())), "{stderr}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_admin_calls_have_an_address_of_their_own_the_other_address_says_so() {
    let service =
        TestService::builder().config("SERVER__INTERNAL_LISTEN", "127.0.0.1:0").node(Role::All).build().await;
    let (url, key) = (service.url(""), service.key("admin").await);
    let output = queue("queue", &[("PUSHPOST_URL", &url), ("PUSHPOST_KEY", &key)]).await;
    assert_ended(&output, 1, &[], &["No such path", "server.internal_listen"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_behind_tls_is_asked_if_its_authority_is_trusted() {
    let service = TestService::start().await;
    let url = service.url("");
    let (front, authority, _accepting) = tls_front(url.trim_start_matches("http://")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority).unwrap();
    let (key, file) = (service.key("admin").await, file.to_str().unwrap().to_owned());
    let line = format!("queue --json --url {front}");
    let trusted = queue(&line, &[("PUSHPOST_KEY", &key), ("SSL_CERT_FILE", &file)]).await;
    assert_eq!(lines(&trusted).len(), 3, "{trusted:?}");
    let unknown = queue(&line, &[("PUSHPOST_KEY", &key)]).await;
    assert_ended(&unknown, 69, &[], &["invalid peer certificate", "hint: SSL_CERT_FILE"]);
    service.stop().await;
}

/// Ends TLS at `localhost` and passes the bytes on to the address. Returns its URL and its certificate.
async fn tls_front(address: &str) -> (String, String, JoinSet<()>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(crypto).with_safe_default_protocol_versions();
    let tls = versions.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let (tls, address) = (TlsAcceptor::from(Arc::new(tls)), address.to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            // A client that does not trust the certificate ends the handshake.
            let Ok(mut client) = tls.accept(socket).await else { continue };
            let mut server = TcpStream::connect(&address).await.unwrap();
            let _ended = copy_bidirectional(&mut client, &mut server).await;
        }
    });
    (url, made.cert.pem(), accepting)
}
