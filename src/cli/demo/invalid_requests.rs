//! A scenario of the demo: requests that are not valid JSON, not valid notifications, or not HTTP.

use std::collections::BTreeMap;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::client::ApiClient;

/// Each body is posted this many times.
const ROUNDS: usize = 5;
/// Bytes of the largest body, more than `limits.body_bytes` of devices.
const HUGE: usize = 8 << 20;

/// Posts every body to two paths, and returns a sentence about the answers.
///
/// # Errors
/// An answer was no 4xx, or there was no answer.
pub(super) async fn post(client: &ApiClient, url: &str) -> anyhow::Result<String> {
    let mut answers: BTreeMap<u16, usize> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for body in bodies() {
            for path in ["/v1/notifications", "/v1/devices"] {
                let status = client.post_raw(path, body.clone()).await;
                // The service may close the connection instead of reading a body that is too long.
                let is_closed = status.is_none() && body.len() == HUGE;
                let refused = status.is_some_and(|status| (400..500).contains(&status));
                anyhow::ensure!(is_closed || refused, "an invalid request to {path} was answered {status:?}");
                *answers.entry(status.unwrap_or_default()).or_default() += 1;
            }
        }
        send_no_http(url).await?;
    }
    let counts = answers.iter().map(|(status, count)| match status {
        0 => format!("{count} closed"),
        status => format!("{count} x {status}"),
    });
    let counts: Vec<String> = counts.collect();
    Ok(format!("each request is refused with a reason ({}), and other clients are served", counts.join(", ")))
}

fn bodies() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        &b""[..],
        b"{",
        b"null",
        b"[]",
        b"\0\0\0\0",
        b"\xff\xfe{\"to\":",
        b"{\"to\":{\"users\":[\"\\ud800\"]},\"title\":\"x\"}",
        b"{\"to\":{\"users\":[\"a\\u0000b\"]},\"title\":\"\\u0000\"}",
        b"{\"to\":{\"users\":{}},\"title\":[]}",
        b"{\"to\":{\"tokens\":[{\"platform\":\"fax\",\"token\":\"1\"}]},\"title\":\"x\"}",
        b"{\"to\":{\"users\":[\"u\"]},\"title\":\"x\",\"ttl\":1e999}",
        b"{\"to\":{\"users\":[\"u\"]},\"titel\":\"x\"}",
        b"<?xml version=\"1.0\"?><push/>",
    ]
    .map(<[u8]>::to_vec)
    .into();
    bodies.push(b"[".repeat(100_000));
    bodies.push(vec![b'x'; HUGE]);
    bodies
}

/// Sends bytes that are not HTTP. The answer does not matter: the service must only go on.
async fn send_no_http(url: &str) -> anyhow::Result<()> {
    let address = url.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).await?;
    // The connection may be closed before everything is written.
    let _ =
        socket.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc GET / HTTP/9.9\r\n\0\0\xff\r\n\r\n").await;
    Ok(())
}
