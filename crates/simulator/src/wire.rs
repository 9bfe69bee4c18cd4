//! Says on the wire what `h2`'s server has no call for: another `MAX_CONCURRENT_STREAMS` in mid-connection,
//! and a GOAWAY with any last stream id and debug data.
//!
//! [`Tap`] stands between `h2` and TLS and follows the frames that go out. A SETTINGS frame's stream limit is
//! overwritten with the announced one. To announce a change, the connection asks `h2` to send
//! `INITIAL_WINDOW_SIZE` again (its value unchanged, and `h2` awaits the acknowledgement as it must); on its
//! way out that entry becomes `MAX_CONCURRENT_STREAMS`. Both entries are six bytes, so no length changes.
//! Whole frames of our own go out between two of `h2`'s.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const HEADER: usize = 9;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const ENTRY: usize = 6;
const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
/// Past this much unsent output the socket must take some before more is accepted.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// What the connection tells its [`Tap`].
#[derive(Debug)]
pub(super) struct Wire {
    announced: AtomicU32,
    inserted: Mutex<BytesMut>,
}

impl Wire {
    /// A wire that announces `streams` in its first SETTINGS.
    pub(super) fn new(streams: u32) -> Arc<Self> {
        Arc::new(Self { announced: AtomicU32::new(streams), inserted: Mutex::default() })
    }

    /// The stream limit that the next SETTINGS frame carries.
    pub(super) fn announce(&self, streams: u32) {
        self.announced.store(streams, Ordering::Relaxed);
    }

    /// Puts a GOAWAY between two frames; it leaves with the next flush of the connection.
    pub(super) fn go_away(&self, last_stream: u32, code: u32, debug: &[u8]) {
        let mut out = self.inserted.lock().expect("no holder panics");
        let length = u32::try_from(8 + debug.len()).expect("debug data is short");
        out.put_slice(&length.to_be_bytes()[1..]);
        out.put_u8(GOAWAY);
        out.put_u8(0);
        out.put_u32(0);
        out.put_u32(last_stream);
        out.put_u32(code);
        out.put_slice(debug);
    }
}

/// The byte stream under `h2`'s server; see the module's description.
#[derive(Debug)]
pub(super) struct Tap<T> {
    io: T,
    wire: Arc<Wire>,
    frames: Frames,
    out: BytesMut,
}

impl<T> Tap<T> {
    /// Wraps a TLS stream before the HTTP/2 handshake.
    pub(super) fn new(io: T, wire: Arc<Wire>) -> Self {
        Self { io, wire, frames: Frames::default(), out: BytesMut::with_capacity(4096) }
    }
}

impl<T: AsyncWrite + Unpin> Tap<T> {
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn insert_ours(&mut self) {
        if self.frames.between_two() {
            let mut inserted = self.wire.inserted.lock().expect("no holder panics");
            if !inserted.is_empty() {
                self.out.extend_from_slice(&inserted.split());
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Tap<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tap<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.out.len() >= OUTPUT_LIMIT {
            ready!(self.drain(cx))?;
        }
        self.insert_ours();
        let this = &mut *self;
        let limit = this.wire.announced.load(Ordering::Relaxed);
        this.frames.copy(buf, &mut this.out, limit);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.insert_ours();
        ready!(self.drain(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.insert_ours();
        ready!(self.drain(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Follows frame boundaries over writes of any size and rewrites SETTINGS entries.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; HEADER],
    header_seen: usize,
    payload_left: usize,
    settings_frames: usize,
    entry: [u8; ENTRY],
    entry_seen: usize,
}

impl Frames {
    fn between_two(&self) -> bool {
        self.header_seen == 0 && self.payload_left == 0
    }

    fn in_settings(&self) -> bool {
        self.header[3] == SETTINGS
    }

    fn copy(&mut self, mut bytes: &[u8], out: &mut BytesMut, limit: u32) {
        while !bytes.is_empty() {
            if self.payload_left == 0 {
                bytes = self.take_header(bytes, out);
            } else if self.in_settings() {
                self.take_settings_byte(bytes[0], out, limit);
                bytes = &bytes[1..];
            } else {
                let (now, later) = bytes.split_at(bytes.len().min(self.payload_left));
                out.extend_from_slice(now);
                self.payload_left -= now.len();
                bytes = later;
            }
        }
    }

    fn take_header<'a>(&mut self, bytes: &'a [u8], out: &mut BytesMut) -> &'a [u8] {
        let (now, later) = bytes.split_at(bytes.len().min(HEADER - self.header_seen));
        self.header[self.header_seen..self.header_seen + now.len()].copy_from_slice(now);
        self.header_seen += now.len();
        out.extend_from_slice(now);
        if self.header_seen == HEADER {
            self.header_seen = 0;
            self.payload_left = usize::from(self.header[0]) << 16
                | usize::from(self.header[1]) << 8
                | usize::from(self.header[2]);
            self.entry_seen = 0;
            if self.in_settings() && self.payload_left > 0 {
                self.settings_frames += 1;
            }
        }
        later
    }

    /// Entries are held back until whole; the frame cannot end inside one.
    fn take_settings_byte(&mut self, byte: u8, out: &mut BytesMut, limit: u32) {
        self.entry[self.entry_seen] = byte;
        self.entry_seen += 1;
        self.payload_left -= 1;
        if self.entry_seen == ENTRY {
            self.entry_seen = 0;
            let id = [self.entry[0], self.entry[1]];
            let changes =
                id == MAX_CONCURRENT_STREAMS || (self.settings_frames > 1 && id == INITIAL_WINDOW_SIZE);
            if changes {
                out.put_slice(&MAX_CONCURRENT_STREAMS);
                out.put_u32(limit);
            } else {
                out.put_slice(&self.entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(entries.len() * ENTRY).unwrap(), SETTINGS, 0, 0, 0, 0, 0];
        for (id, value) in entries {
            frame.extend_from_slice(&id.to_be_bytes());
            frame.extend_from_slice(&value.to_be_bytes());
        }
        frame
    }

    /// What comes out must not depend on how the writes were cut.
    #[test]
    fn rewrites_the_limit_however_the_writes_are_cut() {
        let data = [0, 0, 5, 0, 1, 0, 0, 0, 1, 4, 4, 4, 4, 4];
        let sent = [settings(&[(3, 77), (4, 65535)]), data.to_vec(), settings(&[(4, 65535)])].concat();
        let expected = [settings(&[(3, 9), (4, 65535)]), data.to_vec(), settings(&[(3, 9)])].concat();
        for size in 1..=sent.len() {
            let (mut frames, mut out) = (Frames::default(), BytesMut::new());
            sent.chunks(size).for_each(|piece| frames.copy(piece, &mut out, 9));
            assert_eq!(out.as_ref(), expected, "cut into pieces of {size}");
            assert!(frames.between_two());
        }
    }
}
