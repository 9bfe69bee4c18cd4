//! A bound on what a receiver may answer to one request, interim answers (`1xx`) included: hyper reads those without an end,
//! and never lets other tasks run meanwhile.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};

/// Bytes of an answer at most. The head of an ordinary one has some hundred, and of its body 16 KiB are read.
const ANSWER_BYTES_MAX: usize = 256 << 10;
const READ_BYTES: usize = 4096;

/// A connection that fails after so many bytes without a request in between.
pub(super) struct AnswerLimit<T> {
    io: T,
    read: usize,
}

impl<T> AnswerLimit<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, read: 0 }
    }
}

impl<T: Read + Unpin> Read for AnswerLimit<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut out: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read > ANSWER_BYTES_MAX {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long")));
        }
        let mut bytes = [0; READ_BYTES];
        let wanted = READ_BYTES.min(out.remaining());
        let mut buffer = ReadBuf::new(&mut bytes[..wanted]);
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer.unfilled()))?;
        let filled = buffer.filled();
        self.read += filled.len();
        out.put_slice(filled);
        Poll::Ready(Ok(()))
    }
}

impl<T: Write + Unpin> Write for AnswerLimit<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.read = 0;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.read = 0;
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }
}

impl<T: Connection> Connection for AnswerLimit<T> {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}
