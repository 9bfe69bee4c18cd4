//! A client of a stream of events, which reads as fast as a test asks it to.

use pushpost_testkit::wait::WAIT_MAX;
use reqwest::{Client, Response};
use serde_json::Value;
use tokio::time::timeout;

/// An open stream.
pub(crate) struct StreamClient {
    response: Response,
    read: Vec<u8>,
}

/// A block of server-sent events: up to an empty line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Block {
    pub(crate) id: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) data: Option<Value>,
    pub(crate) retry: Option<u64>,
    pub(crate) comment: Option<String>,
}

impl StreamClient {
    /// Opens a stream, which must be answered 200.
    pub(crate) async fn open(url: String, key: &str, accept: &str, last: Option<&str>) -> Self {
        Self::read(ask(url, key, accept, last).await, accept).await
    }

    /// A stream that was asked for, which must be answered 200.
    pub(crate) async fn read(response: Response, accept: &str) -> Self {
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        assert_eq!(response.headers()["content-type"], accept);
        assert_eq!(response.headers()["cache-control"], "no-store, no-transform");
        Self { response, read: Vec::new() }
    }

    pub(crate) async fn sse(url: String, key: &str, last: Option<&str>) -> Self {
        Self::open(url, key, "text/event-stream", last).await
    }

    /// The next line. None: the stream has ended, or was cut off.
    pub(crate) async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            let chunk = timeout(WAIT_MAX, self.response.chunk()).await.expect("a stream gives signs of life");
            self.read.extend(chunk.ok().flatten()?);
        }
    }

    /// The next event as a line of JSON; signs of life are passed.
    pub(crate) async fn json(&mut self) -> Option<Value> {
        loop {
            let line = self.line().await?;
            if !line.is_empty() {
                return Some(serde_json::from_str(&line).unwrap());
            }
        }
    }

    /// The next block of server-sent events.
    pub(crate) async fn block(&mut self) -> Option<Block> {
        let mut block = Block::default();
        loop {
            let line = self.line().await?;
            match line.split_once(':').map(|(name, value)| (name, value.trim_start().to_owned())) {
                None if line.is_empty() => return Some(block),
                Some(("id", id)) => block.id = Some(id),
                Some(("event", event)) => block.event = Some(event),
                Some(("data", data)) => block.data = Some(serde_json::from_str(&data).unwrap()),
                Some(("retry", retry)) => block.retry = Some(retry.parse().unwrap()),
                Some(("", comment)) => block.comment = Some(comment),
                other => panic!("no line of server-sent events: {other:?}"),
            }
        }
    }

    /// The next event; other blocks are passed, and must have no id.
    pub(crate) async fn event(&mut self) -> Option<Value> {
        loop {
            let block = self.block().await?;
            let Some(event) = block.data else {
                assert_eq!(block.id, None, "only events have ids");
                continue;
            };
            assert_eq!(block.id.as_deref(), event["id"].as_str());
            assert_eq!(block.event.as_deref(), event["type"].as_str());
            return Some(event);
        }
    }
}

/// Asks for a stream and does not read it.
pub(crate) async fn ask(url: String, key: &str, accept: &str, last: Option<&str>) -> Response {
    let client = Client::builder().no_proxy().build().unwrap();
    let request = client.get(url).bearer_auth(key).header("accept", accept);
    let request = last.into_iter().fold(request, |request, id| request.header("last-event-id", id));
    request.send().await.unwrap()
}
