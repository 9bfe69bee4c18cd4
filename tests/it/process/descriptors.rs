//! Limits of open files, and clients that use many connections.

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::reloads::{take_over, with_market};
use pushpost_testkit::processes::TestProcess;
use pushpost_testkit::wait::WAIT_MAX;

const POLL: std::time::Duration = std::time::Duration::from_millis(50);

/// The process's own view of its limit of open files.
fn limits(process: &TestProcess) -> Vec<String> {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().skip(3).take(2).map(str::to_owned).collect()
}

/// One request on a connection that stays.
async fn healthz(stream: &mut TcpStream) -> std::io::Result<String> {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    let mut answer = [0; 512];
    let read = timeout(WAIT_MAX, stream.read(&mut answer)).await.expect("an answer or an end")?;
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

async fn is_ended(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    let read = timeout(POLL, stream.read(&mut byte)).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_leave_descriptors_for_everything_else() {
    let mut process = TestProcess::create().await;
    process.limit_descriptors(64, 96);
    process.variable("PUSHPOST__SERVER__RELOAD_INTERVAL", "1h");
    process.serve().await;
    assert_eq!(limits(&process), ["96", "96"], "the soft limit is raised to the hard one");
    let (backend, admin) = (process.key("send,read,devices").await, process.key("admin").await);

    let mut kept = TcpStream::connect(process.address()).await.unwrap();
    assert!(healthz(&mut kept).await.unwrap().starts_with("HTTP/1.1 200"));
    let mut silent = Vec::new();
    for _ in 0..240 {
        silent.push(TcpStream::connect(process.address()).await.unwrap());
    }
    // Answers, sends, keeps the connection that asked something, and reads its configuration again.
    let to = json!({"to": {"tokens": [{"platform": "fcm", "token": "f1"}, {"platform": "apns", "token": "ab".repeat(32)}]}, "title": "A"});
    let sent = process.ask(Method::POST, "/v1/notifications", &backend, Some(&to)).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let path = format!("/v1/notifications/{}", sent.body["id"].as_str().unwrap());
    let until = Instant::now() + WAIT_MAX;
    while process.ask(Method::GET, &path, &backend, None).await.body["counts"]["accepted"] != 2 {
        assert!(Instant::now() < until, "not sent: {}", process.log());
        sleep(POLL).await;
    }
    assert_eq!(process.ask(Method::GET, "/v1/admin/lanes", &admin, None).await.status, 200);
    assert!(healthz(&mut kept).await.unwrap().starts_with("HTTP/1.1 200"));
    let config = process.read("pushpost.toml");
    process.write("pushpost.toml", &format!("{config}\n[limits]\ntargets = 9\n"));
    process.hang_up().await;
    process.until_logged("limits.targets").await;

    let mut ended = 0;
    for stream in &mut silent {
        ended += usize::from(is_ended(stream).await);
    }
    assert!(ended >= 240 - 96, "{ended} of 240 have made room");
    let log = process.log();
    assert_eq!(log.matches("client connections are at their limit").count(), 1, "{log}");
    for trouble in ["could not be accepted", "Too many open files", "os error 24"] {
        assert!(!log.contains(trouble), "{log}");
    }
    process.expect_log("client connections are at their limit");
    process.expect_log("configuration has changes that take a restart");
    process.expect_log("could not be accepted");
    process.expect_log("the limit of open files is low");
    assert!(process.stop().await.success());
}

/// All connections are in use: the next one waits for its turn instead of taking another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_closed_for_new_ones_and_busy_ones_are_not() {
    let mut process = TestProcess::create().await;
    process.limit_descriptors(64, 64);
    process.serve().await;
    process.until_logged("the limit of open files is low").await;
    let backend = process.key("devices").await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(process.address()).await.unwrap();
        assert!(healthz(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
        idle.push(stream);
    }
    let mut ended = Vec::new();
    for stream in &mut idle {
        ended.push(is_ended(stream).await);
    }
    let last = ended.iter().rposition(|ended| *ended).expect("some have made room");
    assert!(ended[..=last].iter().all(|ended| *ended), "those that were idle the longest: {ended:?}");
    assert!(last < 19, "the last ones stay");

    // Imports that are under way, on every connection that there may be.
    let head = format!(
        "POST /v1/devices/import HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {backend}\r\nContent-Type: application/x-ndjson\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    );
    let mut imports = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(process.address()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 25];
        timeout(WAIT_MAX, stream.read_exact(&mut answer)).await.expect("it is under way").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
        imports.push(stream);
    }
    let mut next = TcpStream::connect(process.address()).await.unwrap();
    next.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(!is_ended(&mut next).await);
    for stream in &mut imports {
        stream.write_all(b"{}\n").await.unwrap();
        let mut answer = [0; 15];
        timeout(WAIT_MAX, stream.read_exact(&mut answer)).await.expect("it is answered").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
    let mut answer = [0; 15];
    timeout(WAIT_MAX, next.read_exact(&mut answer)).await.expect("it has a turn").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    process.expect_log("the limit of open files is low");
    process.expect_log("client connections are at their limit");
    assert!(process.stop().await.success());
}

/// An app that a reload adds has connections to its providers: clients get so many fewer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_added_app_takes_its_descriptors_from_the_clients() {
    const CLIENTS: usize = 60;
    let mut process = TestProcess::create().await;
    process.limit_descriptors(160, 160);
    process.variable("PUSHPOST__SERVER__RELOAD_INTERVAL", "1h");
    process.serve().await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(process.address()).await.unwrap();
        assert!(healthz(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
        clients.push(stream);
    }
    let mut ended = vec![false; CLIENTS];
    for (stream, ended) in clients.iter_mut().zip(&mut ended) {
        *ended = is_ended(stream).await;
    }
    assert!(!ended.contains(&true), "there is room for them all: {ended:?}");

    take_over(&process, &with_market(&process.read("pushpost.toml"))).await;
    // Two lanes of APNs and one of FCM have up to 37 connections, and 75 were the clients' before.
    let until = Instant::now() + WAIT_MAX;
    while ended.iter().filter(|ended| **ended).count() < CLIENTS - 38 {
        assert!(Instant::now() < until, "they keep their connections: {ended:?}");
        for (stream, ended) in clients.iter_mut().zip(&mut ended) {
            *ended = *ended || is_ended(stream).await;
        }
    }
    let last = ended.iter().rposition(|ended| *ended).unwrap();
    assert!(ended[..=last].iter().all(|ended| *ended), "those that were idle the longest: {ended:?}");
    let mut next = TcpStream::connect(process.address()).await.unwrap();
    assert!(healthz(&mut next).await.unwrap().starts_with("HTTP/1.1 200"));
    process.expect_log("client connections are at their limit");
    process.expect_log("app has no provider");
    assert!(process.stop().await.success());
}
