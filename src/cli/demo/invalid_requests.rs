//! A client that posts what no API expects, some of it no HTTP at all.

use std::collections::BTreeMap;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::client::ApiClient;

/// Each is posted so often.
const ROUNDS: usize = 5;
/// Bytes of the largest.
const HUGE: usize = 8 << 20;

/// Posts all of it; says what the answers were.
///
/// # Errors
/// An answer was not a refusal, or there was none.
pub(super) async fn post(client: &ApiClient, url: &str) -> anyhow::Result<String> {
    let mut answers: BTreeMap<u16, usize> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for body in bodies() {
            for path in ["/v1/notifications", "/v1/devices"] {
                let status = client.post_raw(path, body.clone()).await;
                // Nobody has to read all of what is too long.
                let hung_up_on = status.is_none() && body.len() == HUGE;
                let refused = status.is_some_and(|status| (400..500).contains(&status));
                anyhow::ensure!(hung_up_on || refused, "garbage to {path} was answered {status:?}");
                *answers.entry(status.unwrap_or_default()).or_default() += 1;
            }
        }
        no_http(url).await?;
    }
    let told = answers.iter().map(|(status, count)| match status {
        0 => format!("{count} hung up on"),
        status => format!("{count} x {status}"),
    });
    let told: Vec<String> = told.collect();
    Ok(format!("each request is refused with a reason ({}), and everybody else is served", told.join(", ")))
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

/// What speaks no HTTP gets no answer that matters; it must only not do harm.
async fn no_http(url: &str) -> anyhow::Result<()> {
    let address = url.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).await?;
    // It may be hung up on before all of it is written.
    let _ =
        socket.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc GET / HTTP/9.9\r\n\0\0\xff\r\n\r\n").await;
    Ok(())
}
