//! A byte stream between HTTP/2 and TLS that gathers small writes and counts reads and writes.
//!
//! **Gathering.** `h2` flushes after every DATA frame, so each request would cost one TLS record and one system call.
//! Here a flush waits for the next turn of the driver, which is requested at once. Writes of other tasks before that
//! turn are sent together. Measured with client and server together: 49 → 40 µs of CPU per request with bodies of 300
//! bytes, 57 → 51 µs with 2,000.
//!
//! **Counting.** `h2` does not say whether a stream's HEADERS were written. It always writes in the same step that
//! encodes them. So if a connection ended without a write after a request was queued, the request was not sent. A
//! write counts when its bytes are accepted here, because they may be sent at any time afterwards. Bytes that `h2`
//! still holds, because the peer does not read, were not sent.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most gathered bytes: two full TLS records.
const GATHERED_BYTES_MAX: usize = 32 * 1024;

/// Counts of reads and writes of one connection since it was opened.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    reads: AtomicU64,
    writes: AtomicU64,
}

/// A byte stream that gathers writes and counts into a [`Traffic`].
///
/// The user must keep reading, because gathered writes are sent at the next read.
pub(super) struct Wire<T> {
    inner: T,
    traffic: Arc<Traffic>,
    /// Gathered bytes. Those from `drained` on are not written to `inner` yet.
    gathered: Vec<u8>,
    drained: usize,
    /// `inner` was written to since its last flush.
    unflushed: bool,
    /// The next turn of the driver was requested.
    turn_requested: bool,
}

impl Traffic {
    /// The number of reads that returned data.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Acquire)
    }

    /// The number of accepted writes, whether sent or not.
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }
}

impl<T> Wire<T> {
    pub(super) fn new(inner: T, traffic: Arc<Traffic>) -> Self {
        let gathered = Vec::with_capacity(GATHERED_BYTES_MAX);
        Self { inner, traffic, gathered, drained: 0, unflushed: false, turn_requested: false }
    }
}

impl<T: AsyncWrite + Unpin> Wire<T> {
    /// Writes the gathered bytes to `inner` and flushes it.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.drained < self.gathered.len() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.gathered[self.drained..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.drained += written;
            self.unflushed = true;
        }
        self.gathered.clear();
        self.drained = 0;
        if self.unflushed {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.unflushed = false;
        }
        self.turn_requested = false;
        Poll::Ready(Ok(()))
    }

    /// Makes room for at least one byte and returns the free bytes.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= GATHERED_BYTES_MAX {
            ready!(self.poll_drain(cx))?;
        }
        Poll::Ready(Ok(GATHERED_BYTES_MAX - self.gathered.len()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Reading goes on while writing is blocked, because the peer may wait until this side reads.
        if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.traffic.reads.fetch_add(1, Ordering::Release);
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut room = ready!(self.poll_room(cx))?;
        self.traffic.writes.fetch_add(1, Ordering::Release);
        let mut taken = 0;
        for buf in bufs {
            let part = &buf[..buf.len().min(room)];
            self.gathered.extend_from_slice(part);
            taken += part.len();
            room -= part.len();
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.turn_requested && !self.gathered.is_empty() {
            self.turn_requested = true;
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    fn pair(capacity: usize) -> (Wire<tokio::io::DuplexStream>, tokio::io::DuplexStream, Arc<Traffic>) {
        let (near, far) = duplex(capacity);
        let traffic = Arc::new(Traffic::default());
        (Wire::new(near, traffic.clone()), far, traffic)
    }

    #[tokio::test]
    async fn writes_are_gathered_until_the_next_read_and_counted_at_once() {
        let (mut wire, mut far, traffic) = pair(1 << 20);
        for part in [&b"one "[..], b"two ", b"three"] {
            wire.write_all(part).await.unwrap();
            wire.flush().await.unwrap();
        }
        assert_eq!(traffic.writes(), 3);
        let mut buf = [0; 100];
        assert!(
            timeout(Duration::from_millis(20), far.read(&mut buf)).await.is_err(),
            "nothing went out yet"
        );
        far.write_all(b"answer").await.unwrap();
        assert_eq!(wire.read(&mut buf).await.unwrap(), 6);
        assert_eq!(traffic.reads(), 1);
        let read = far.read(&mut buf).await.unwrap();
        assert_eq!(&buf[..read], b"one two three");
    }

    #[tokio::test]
    async fn nothing_is_lost_or_reordered_past_the_buffer_and_shutdown_drains() {
        let (mut wire, mut far, _) = pair(1000);
        let sent: Vec<u8> = (0..200_000u32).flat_map(|n| n.to_be_bytes()).collect();
        let mut got = Vec::new();
        let (written, read) = tokio::join!(
            async {
                for chunk in sent.chunks(777) {
                    wire.write_all(chunk).await?;
                }
                wire.shutdown().await
            },
            far.read_to_end(&mut got)
        );
        written.unwrap();
        assert_eq!(read.unwrap(), sent.len());
        assert!(got == sent);
    }

    #[tokio::test]
    async fn a_blocked_write_does_not_stop_reading_and_goes_on_with_it() {
        let (mut wire, mut far, _) = pair(10);
        wire.write_all(&[b'w'; 100]).await.unwrap();
        let mut buf = [0; 10];
        far.write_all(b"r").await.unwrap();
        assert_eq!(wire.read(&mut buf).await.unwrap(), 1);
        let mut got = vec![0; 100];
        let (read, ()) = tokio::join!(wire.read(&mut buf), async {
            far.read_exact(&mut got).await.unwrap();
            far.write_all(b"s").await.unwrap();
        });
        assert_eq!(read.unwrap(), 1);
        assert_eq!(got, [b'w'; 100]);
    }
}
