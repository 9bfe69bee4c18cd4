//! The status of each answer on the way to an access token.
//!
//! yup-oauth2 looks at bodies only: it takes an error page for a subject token, and a refused impersonation for an answer
//! without a token. So its connections note the status line as they hand on the answer. Each connection carries one
//! request, over HTTP/1.1.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use http::{StatusCode, Uri};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower::Service;

/// Bytes of an answer, its head included. An access token has about 1 KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Bytes up to the end of the status: `HTTP/1.1 200`.
const STATUS_LINE_START: usize = 12;

/// What the requests of one fetch were answered, in order.
#[derive(Clone, Default)]
pub(super) struct Statuses(Arc<Mutex<Answers>>);

#[derive(Default)]
struct Answers {
    /// Counts fetches: a connection of an earlier fetch may outlive it.
    fetch: u64,
    list: Vec<Option<StatusCode>>,
}

impl Statuses {
    /// A new fetch begins.
    pub(super) fn begin(&self) {
        let mut answers = self.lock();
        answers.fetch += 1;
        answers.list.clear();
    }

    /// One element for each request; `None` where no answer began.
    pub(super) fn list(&self) -> Vec<Option<StatusCode>> {
        self.lock().list.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connector that makes connections which note their status.
#[derive(Clone)]
pub(super) struct Noting<C> {
    inner: C,
    statuses: Statuses,
}

impl<C> Noting<C> {
    pub(super) fn new(inner: C, statuses: Statuses) -> Self {
        Self { inner, statuses }
    }
}

impl<C> Service<Uri> for Noting<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
{
    type Response = Noted<C::Response>;
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
            Ok(Noted { io, fetch, number, statuses, start: Vec::new(), read: 0 })
        })
    }
}

/// A connection that notes the status of its one answer.
pub(super) struct Noted<T> {
    io: T,
    fetch: u64,
    /// Of the request within its fetch.
    number: usize,
    statuses: Statuses,
    /// The beginning of the answer.
    start: Vec<u8>,
    read: usize,
}

impl<T> Noted<T> {
    fn note(&mut self, bytes: &[u8]) {
        self.start.extend_from_slice(bytes);
        let Some(status) = self.start.get(9..STATUS_LINE_START) else { return };
        let mut answers = self.statuses.lock();
        if answers.fetch == self.fetch {
            answers.list[self.number] = StatusCode::from_bytes(status).ok();
        }
    }
}

impl<T: Read + Unpin> Read for Noted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut out: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; 4096];
        // The first bytes of the head alone, then whatever comes.
        let wanted = match STATUS_LINE_START.saturating_sub(self.start.len()) {
            0 => bytes.len(),
            missing => missing,
        };
        let wanted = wanted.min(out.remaining());
        let mut buffer = ReadBuf::new(&mut bytes[..wanted]);
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer.unfilled()))?;
        let filled = buffer.filled();
        if self.start.len() < STATUS_LINE_START {
            self.note(filled);
        }
        self.read += filled.len();
        if self.read > ANSWER_BYTES_MAX {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long")));
        }
        out.put_slice(filled);
        Poll::Ready(Ok(()))
    }
}

impl<T: Write + Unpin> Write for Noted<T> {
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

impl<T: Connection> Connection for Noted<T> {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper_util::rt::TokioIo;

    use super::*;

    /// Reads an answer through a connection, so many bytes at a time.
    async fn read(answer: &[u8], at_once: usize) -> (io::Result<Vec<u8>>, Option<StatusCode>) {
        let statuses = Statuses::default();
        let answer = io::Cursor::new(answer.to_vec());
        let inner =
            tower::service_fn(|_: Uri| std::future::ready(Ok::<_, io::Error>(TokioIo::new(answer.clone()))));
        let connecting = Noting::new(inner, statuses.clone()).call(Uri::from_static("http://a"));
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
    async fn a_status_is_noted_however_the_answer_comes() {
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
    async fn an_answer_without_end_is_cut_off() {
        let answer = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b'x'; ANSWER_BYTES_MAX]].concat();
        let (read, status) = read(&answer, 8192).await;
        assert_eq!(
            (read.map_err(|error| error.kind()), status),
            (Err(io::ErrorKind::InvalidData), Some(StatusCode::OK))
        );
    }
}
