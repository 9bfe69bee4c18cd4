//! A receiver of webhooks that answers as it is told to, byte by byte, and keeps what it was posted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::wait::{POLL_INTERVAL, WAIT_MAX};

/// A message as it was posted.
#[derive(Clone, PartialEq, Debug)]
pub struct PostedMessage {
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    pub path: String,
    pub body: String,
}

impl PostedMessage {
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn events(&self) -> Vec<Value> {
        self.json()["data"]["events"].as_array().unwrap().clone()
    }
}

/// What the receiver does with a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// It answers with this status and an empty body.
    Status(u16),
    /// It writes these bytes, and closes the connection.
    Bytes(String),
    /// It writes these bytes, and leaves the connection open.
    Unfinished(String),
    /// It closes the connection without an answer.
    Close,
    /// It answers with this status once [`WebhookReceiver::let_answer`] allows one more answer.
    Held(u16),
}

type Decide = Box<dyn Fn(&PostedMessage) -> Reply + Send + Sync>;

/// A receiver on a port of its own.
pub struct WebhookReceiver {
    shared: Arc<Shared>,
    port: u16,
    /// Ends with it.
    _server: JoinSet<()>,
}

struct Shared {
    posted: Mutex<Vec<PostedMessage>>,
    decide: Mutex<Decide>,
    connections: Mutex<usize>,
    /// Held answers that may be given.
    answers: Semaphore,
}

impl WebhookReceiver {
    /// Takes every message.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            posted: Mutex::default(),
            decide: Mutex::new(Box::new(|_| Reply::Status(200))),
            connections: Mutex::default(),
            answers: Semaphore::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&shared)));
        Self { shared, port, _server: server }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook?key=s3cret", self.port)
    }

    /// From now on it answers every message like this.
    pub fn reply(&self, reply: Reply) {
        self.decide(move |_| reply.clone());
    }

    pub fn decide(&self, decide: impl Fn(&PostedMessage) -> Reply + Send + Sync + 'static) {
        *lock(&self.shared.decide) = Box::new(decide);
    }

    /// Allows so many held answers, those that come later too.
    pub fn let_answer(&self, count: usize) {
        self.shared.answers.add_permits(count);
    }

    /// All messages, also repeated and refused ones.
    pub fn posted(&self) -> Vec<PostedMessage> {
        lock(&self.shared.posted).clone()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        *lock(&self.shared.connections)
    }

    /// Waits until the messages are as wanted, and returns them.
    pub async fn until(&self, what: &str, is_so: impl Fn(&[PostedMessage]) -> bool) -> Vec<PostedMessage> {
        let begun = Instant::now();
        loop {
            let posted = self.posted();
            if is_so(&posted) {
                return posted;
            }
            assert!(begun.elapsed() < WAIT_MAX, "in vain: {what}; messages: {posted:#?}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        *lock(&shared.connections) += 1;
        connections.spawn(serve(socket, Arc::clone(&shared)));
    }
}

/// Reads one message after the other. The connection ends with the first reply that is no whole answer.
async fn serve(mut socket: TcpStream, shared: Arc<Shared>) {
    let mut bytes = Vec::new();
    while let Some(message) = read(&mut socket, &mut bytes).await {
        lock(&shared.posted).push(message.clone());
        let reply = (lock(&shared.decide))(&message);
        if matches!(reply, Reply::Held(_)) {
            shared.answers.acquire().await.unwrap().forget();
        }
        match reply {
            Reply::Status(status) | Reply::Held(status) => {
                let answer = format!("HTTP/1.1 {status} Some\r\ncontent-length: 0\r\n\r\n");
                if socket.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Bytes(answer) => {
                let _gone = socket.write_all(answer.as_bytes()).await;
                let _gone = socket.shutdown().await;
                return;
            }
            Reply::Unfinished(answer) => {
                let _gone = socket.write_all(answer.as_bytes()).await;
                // Until the other side has had enough.
                let _gone = socket.read(&mut [0; 1]).await;
                return;
            }
            Reply::Close => return,
        }
    }
}

async fn read(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<PostedMessage> {
    loop {
        if let Some((message, length)) = parse(bytes) {
            bytes.drain(..length);
            return Some(message);
        }
        if socket.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// The first message, and its length in bytes; none if it is not there whole.
fn parse(bytes: &[u8]) -> Option<(PostedMessage, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers["content-length"].parse().unwrap();
    let body = bytes.get(end..end + length)?;
    let body = String::from_utf8(body.to_vec()).unwrap();
    Some((PostedMessage { headers, path, body }, end + length))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
