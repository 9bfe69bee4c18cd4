//! Records the HTTP status of each answer while an access token is fetched.
//!
//! yup-oauth2 reads bodies only. It takes an error page for a subject token, and a refused impersonation for an answer
//! without a token. Therefore its connections record the status line of the answer that they pass on. Each connection
//! carries one request over HTTP/1.1.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use http::{StatusCode, Uri};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower::Service;

/// Most bytes of an answer, including the head. An access token has about 1 KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Length of `HTTP/1.1 200`, which ends with the status.
const STATUS_LINE_START: usize = 12;

/// The statuses of the answers within one fetch, in the order of the requests.
#[derive(Clone, Default)]
pub(super) struct Statuses(Arc<Mutex<Answers>>);

#[derive(Default)]
struct Answers {
    /// The number of the fetch. Connections of earlier fetches may still be open and must not be recorded.
    fetch: u64,
    list: Vec<Option<StatusCode>>,
}

impl Statuses {
    /// Clears the statuses when a new fetch begins.
    pub(super) fn begin(&self) {
        let mut answers = self.lock();
        answers.fetch += 1;
        answers.list.clear();
    }

    /// One element for each request. `None` if no answer began.
    pub(super) fn list(&self) -> Vec<Option<StatusCode>> {
        self.lock().list.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connector for connections that record the status of their answer.
#[derive(Clone)]
pub(super) struct StatusConnector<C> {
    inner: C,
    statuses: Statuses,
}

impl<C> StatusConnector<C> {
    pub(super) fn new(inner: C, statuses: Statuses) -> Self {
        Self { inner, statuses }
    }
}

impl<C> Service<Uri> for StatusConnector<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
{
    type Response = StatusConnection<C::Response>;
    type Error = C::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, origin: Uri) -> Self::Future {
        let (fetch, number) = {
            let mut answers = self.statuses.lock();
            answers.list.push(None);
            (answers.fetch, answers.list.len() - 1)
        };
        let (connecting, statuses) = (self.inner.call(origin), self.statuses.clone());
        Box::pin(async move {
            let io = connecting.await?;
            Ok(StatusConnection { io, fetch, number, statuses, start: Vec::new(), read: 0 })
        })
    }
}

/// A connection that records the status of its only answer.
pub(super) struct StatusConnection<T> {
    io: T,
    fetch: u64,
    /// The number of the request within its fetch, from 0.
    number: usize,
    statuses: Statuses,
    /// The first bytes of the answer, up to the status.
    start: Vec<u8>,
    read: usize,
}

impl<T> StatusConnection<T> {
    fn record(&mut self, bytes: &[u8]) {
        self.start.extend_from_slice(bytes);
        let Some(status) = self.start.get(9..STATUS_LINE_START) else { return };
        let mut answers = self.statuses.lock();
        if answers.fetch == self.fetch {
            answers.list[self.number] = StatusCode::from_bytes(status).ok();
        }
    }
}

impl<T: Read + Unpin> Read for StatusConnection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut out: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; 4096];
        // The status is read first, in reads that end with it. Later reads take any number of bytes.
        let wanted = match STATUS_LINE_START.saturating_sub(self.start.len()) {
            0 => bytes.len(),
            missing => missing,
        };
        let wanted = wanted.min(out.remaining());
        let mut buffer = ReadBuf::new(&mut bytes[..wanted]);
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer.unfilled()))?;
        let filled = buffer.filled();
        if self.start.len() < STATUS_LINE_START {
            self.record(filled);
        }
        self.read += filled.len();
        if self.read > ANSWER_BYTES_MAX {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long")));
        }
        out.put_slice(filled);
        Poll::Ready(Ok(()))
    }
}

impl<T: Write + Unpin> Write for StatusConnection<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<T: Connection> Connection for StatusConnection<T> {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper_util::rt::TokioIo;

    use super::*;

    /// Reads an answer through a connection, `at_once` bytes at a time.
    async fn read(answer: &[u8], at_once: usize) -> (io::Result<Vec<u8>>, Option<StatusCode>) {
        let statuses = Statuses::default();
        let answer = io::Cursor::new(answer.to_vec());
        let inner =
            tower::service_fn(|_: Uri| std::future::ready(Ok::<_, io::Error>(TokioIo::new(answer.clone()))));
        let connecting = StatusConnector::new(inner, statuses.clone()).call(Uri::from_static("http://a"));
        let mut connection = connecting.await.expect("a connection");
        let mut all = Vec::new();
        let result = loop {
            let mut bytes = vec![0; at_once];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = poll_fn(|cx| Pin::new(&mut connection).poll_read(cx, buffer.unfilled())).await;
            match read {
                Ok(()) if buffer.filled().is_empty() => break Ok(all),
                Ok(()) => all.extend_from_slice(buffer.filled()),
                Err(error) => break Err(error),
            }
        };
        (result, statuses.list()[0])
    }

    #[tokio::test]
    async fn a_status_is_recorded_for_any_size_of_reads() {
        let answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
        for at_once in [1, 5, 12, 13, 8192] {
            let (read, status) = read(answer, at_once).await;
            assert_eq!(read.expect("all of it"), answer, "{at_once}");
            assert_eq!(status, Some(StatusCode::FORBIDDEN), "{at_once}");
        }
        for none in [&b""[..], b"HTTP/1.1 40", b"SSH-2.0-OpenSSH_10.0"] {
            let (read, status) = read(none, 64).await;
            assert_eq!((read.expect("all of it"), status), (none.to_vec(), None));
        }
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_off() {
        let answer = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b'x'; ANSWER_BYTES_MAX]].concat();
        let (read, status) = read(&answer, 8192).await;
        assert_eq!(
            (read.map_err(|error| error.kind()), status),
            (Err(io::ErrorKind::InvalidData), Some(StatusCode::OK))
        );
    }
}
