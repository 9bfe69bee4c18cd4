//! Lines on their way to stderr, written by a thread of its own.
//!
//! The reader of stderr may stop (a log driver that is stuck), and then a write waits until the reader goes on. A
//! request, a lane or a shutdown must not wait for that. So a line goes into a queue of limited size; when the queue is
//! full, lines are dropped and counted, and the loss is logged once the reader goes on.
//!
//! `tracing-appender` has such a queue, but limits lines instead of bytes, and only counts what it drops.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Most bytes that wait: some thousand lines.
const BYTES_MAX: usize = 1 << 20;
/// At the end, a reader that does not read is waited for so long.
const FLUSH: Duration = Duration::from_secs(1);
/// Before another try where the reader's pipe is full and does not block.
const PAUSE: Duration = Duration::from_millis(20);

/// A queue of lines. Clones are of the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct LogQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Lines that found no room since a loss was last told.
    dropped: u64,
    /// A batch is on its way to the reader.
    is_writing: bool,
}

impl LogQueue {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// There are no threads left.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Self::default();
        let ours = queue.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || ours.write_all(out))?;
        Ok(queue)
    }

    /// Adds a whole line, or drops it.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.bytes.len() + line.len() > BYTES_MAX {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes.extend_from_slice(line);
        self.0.changed.notify_all();
    }

    /// Waits until everything is written, but not for long.
    pub(super) fn flush(&self) {
        let until = Instant::now() + FLUSH;
        let mut waiting = self.waiting();
        while waiting.is_writing || !waiting.bytes.is_empty() || waiting.dropped > 0 {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return };
            let waited = self.0.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What the thread does, for as long as the process lives.
    fn write_all(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            self.take(&mut batch);
            // An error of stderr can be told nowhere.
            let _lost = write(&mut out, &batch);
            let dropped = self.told_dropped();
            if dropped > 0 {
                tracing::warn!(
                    lines = dropped,
                    detail = "stderr was not read, or not fast enough",
                    hint = "see what reads the log of this process",
                    "log lines were dropped"
                );
            }
            self.waiting().is_writing = false;
            self.0.changed.notify_all();
        }
    }

    /// Waits for lines, and takes all of them.
    fn take(&self, batch: &mut Vec<u8>) {
        batch.clear();
        let mut waiting = self.waiting();
        while waiting.bytes.is_empty() {
            waiting = self.0.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut waiting.bytes, batch);
        waiting.is_writing = true;
    }

    /// How many lines were dropped, once there is room for a line that tells it: until then the loss goes on.
    fn told_dropped(&self) -> u64 {
        let mut waiting = self.waiting();
        match waiting.bytes.len() < BYTES_MAX / 2 {
            true => std::mem::take(&mut waiting.dropped),
            false => 0,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all of it, also into a pipe that does not block.
fn write(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

/// Takes one event's line, which comes in one piece.
#[derive(Debug)]
pub(super) struct LineWriter<'a>(&'a LogQueue);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A reader that takes each write only when it is told to.
    struct Reader {
        may_read: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may_read.recv().map_err(io::Error::other)?;
            self.read.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_no_time_and_gets_the_first_ones_in_order() {
        let ((go, may_read), (read, lines)) = (channel(), channel());
        let queue = LogQueue::start(Reader { may_read, read }).expect("a thread");
        queue.push(b"first\n");
        while !queue.waiting().is_writing {
            thread::yield_now();
        }
        let line = [b'x'; 1023];
        for n in 0..2000 {
            queue.push(&[&line[..], b"\n"].concat());
            assert_eq!(queue.waiting().dropped, u64::saturating_sub(n + 1, 1024));
        }
        // At the end of the process nothing waits for it for ever.
        queue.flush();
        for expected in [b"first\n".to_vec(), [&line[..], b"\n"].concat().repeat(1024)] {
            go.send(()).expect("it reads");
            assert!(lines.recv_timeout(PATIENCE).expect("a write") == expected);
        }
        queue.push(b"last\n");
        go.send(()).expect("it reads");
        assert_eq!(lines.recv_timeout(PATIENCE).expect("a write"), b"last\n");
        queue.flush();
        assert_eq!(queue.waiting().dropped, 0, "the loss was told");
    }

    #[test]
    fn a_pipe_that_is_full_and_does_not_block_is_tried_again() {
        struct Full(u8, Vec<u8>);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 => Err(ErrorKind::WouldBlock.into()),
                    2 => Err(ErrorKind::Interrupted.into()),
                    _ => self.1.write(&bytes[..1]),
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut full = Full(0, Vec::new());
        write(&mut full, b"line\n").expect("in the end");
        assert_eq!(full.1, b"line\n");
    }
}
