//! A client for HTTP/1.1 over one kept-alive connection, as lean as a load generator has to be on the machine that it
//! loads: one write a request, no allocation but for larger answers.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const BUFFER: usize = 4096;

/// One connection with one key.
pub(crate) struct Connection {
    stream: TcpStream,
    head: Vec<u8>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// An answer, until the next request.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr, key: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("cannot connect to the service")?;
        stream.set_nodelay(true)?;
        let head = format!("Host: {address}\r\nAuthorization: Bearer {key}\r\n").into_bytes();
        Ok(Self { stream, head, request: Vec::new(), answer: Vec::with_capacity(BUFFER) })
    }

    /// Asks for something.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Answer<'_>> {
        self.begin(&format!("GET {path} HTTP/1.1\r\n"), "\r\n");
        self.stream.write_all(&self.request).await?;
        self.read().await
    }

    /// Posts JSON and reads the whole answer.
    pub(crate) async fn post(&mut self, path: &str, body: &[u8]) -> anyhow::Result<Answer<'_>> {
        let line = format!("POST {path} HTTP/1.1\r\n");
        let rest = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        self.begin(&line, &rest);
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request).await?;
        self.read().await
    }

    /// Posts a body that is made while it is sent: `more` fills in the next piece, and leaves nothing at the end.
    pub(crate) async fn stream(
        &mut self,
        path: &str,
        content_type: &str,
        mut more: impl FnMut(&mut Vec<u8>),
    ) -> anyhow::Result<Answer<'_>> {
        let line = format!("POST {path} HTTP/1.1\r\n");
        self.begin(&line, &format!("Content-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"));
        self.stream.write_all(&self.request).await?;
        let mut piece = Vec::new();
        loop {
            piece.clear();
            more(&mut piece);
            self.request.clear();
            self.request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            self.request.extend_from_slice(&piece);
            self.request.extend_from_slice(b"\r\n");
            self.stream.write_all(&self.request).await?;
            if piece.is_empty() {
                return self.read().await;
            }
        }
    }

    fn begin(&mut self, line: &str, rest: &str) {
        self.request.clear();
        self.request.extend_from_slice(line.as_bytes());
        self.request.extend_from_slice(&self.head);
        self.request.extend_from_slice(rest.as_bytes());
    }

    async fn read(&mut self) -> anyhow::Result<Answer<'_>> {
        self.answer.clear();
        let body_at = loop {
            if let Some(at) = self.answer.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let (status, length) = head_of(&self.answer[..body_at])?;
        while self.answer.len() < body_at + length {
            self.more().await?;
        }
        Ok(Answer { status, body: &self.answer[body_at..body_at + length] })
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.answer).await? == 0 {
            bail!("the service closed the connection");
        }
        Ok(())
    }
}

/// Status and length of the body.
fn head_of(head: &[u8]) -> anyhow::Result<(u16, usize)> {
    let text = std::str::from_utf8(head)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?.parse()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    Ok((status, length.context("an answer without a length")?.parse()?))
}

/// The id that a 202 begins with: `{"id":"ntf_…",…`.
pub(crate) fn id_in(body: &[u8]) -> anyhow::Result<&str> {
    let text = std::str::from_utf8(body)?;
    let (_, after) = text.split_once("\"id\":\"").context("an answer without an id")?;
    after.split_once('"').map(|(id, _)| id).context("an answer without an id")
}
