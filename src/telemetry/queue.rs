//! The queue of a service's log lines, written to stderr by a thread of its own.
//!
//! When the reader of stderr stops, for example a log driver that hangs, a write blocks until the reader continues.
//! Requests, lanes and the shutdown must not wait for that. So lines go into a queue of limited size; when the queue is
//! full, lines are dropped and counted, and the number is logged when the reader continues.
//!
//! `tracing-appender` has such a queue, but limits the lines instead of the bytes, and does not log what it drops.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use super::bursts::{BurstKey, Bursts};

/// Bytes in the queue at most: some thousand lines.
const BYTES_MAX: usize = 1 << 20;
/// How long the end of the process waits for a reader that does not read.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Before the next write to a pipe that is full and does not block.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A queue of lines. Clones share it.
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
    /// Lines dropped since the last log line about it.
    dropped: u64,
    /// The thread is writing a batch.
    is_writing: bool,
    bursts: Bursts,
}

impl LogQueue {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Self::default();
        let ours = queue.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || ours.write_all(out))?;
        Ok(queue)
    }

    /// Adds a whole line, or drops it if the queue is full.
    pub(super) fn push(&self, line: &[u8]) {
        self.waiting().push(line);
        self.0.changed.notify_all();
    }

    /// True if the line of a burst is to be written now. Else it is held, and perhaps written at the end of the second.
    pub(super) fn admits(&self, key: BurstKey, line: &str) -> bool {
        let is_admitted = self.waiting().bursts.admits(key, line, Instant::now());
        // The thread must learn when the window ends.
        self.0.changed.notify_all();
        is_admitted
    }

    /// Waits until everything is written, at most 1 s.
    pub(super) fn flush(&self) {
        let until = Instant::now() + FLUSH_TIMEOUT;
        let mut waiting = self.waiting();
        let held = waiting.bursts.end_all();
        held.iter().for_each(|line| waiting.push(line.as_bytes()));
        self.0.changed.notify_all();
        while waiting.is_writing || !waiting.bytes.is_empty() || waiting.dropped > 0 {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return };
            let waited = self.0.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Runs on the thread of its own, and never returns.
    fn write_all(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            self.take(&mut batch);
            // There is nowhere to report an error of stderr.
            let _lost = write(&mut out, &batch);
            let dropped = self.take_dropped();
            if dropped > 0 {
                tracing::warn!(
                    lines = dropped,
                    detail = "stderr was not read, or too slowly",
                    hint = "check the program that reads this process's log",
                    "log lines were dropped"
                );
            }
            self.waiting().is_writing = false;
            self.0.changed.notify_all();
        }
    }

    /// Waits for lines, and moves all of them into `batch`.
    fn take(&self, batch: &mut Vec<u8>) {
        batch.clear();
        let mut waiting = self.waiting();
        loop {
            let now = Instant::now();
            let ended = waiting.bursts.end(now);
            ended.iter().for_each(|line| waiting.push(line.as_bytes()));
            if !waiting.bytes.is_empty() {
                break;
            }
            let changed = &self.0.changed;
            waiting = match waiting.bursts.next_end() {
                None => changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let waited = changed.wait_timeout(waiting, end.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        std::mem::swap(&mut waiting.bytes, batch);
        waiting.is_writing = true;
    }

    /// The number of dropped lines, which then starts again from 0. Always 0 while the queue is more than half full,
    /// because then more lines are likely to be dropped.
    fn take_dropped(&self) -> u64 {
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

impl Waiting {
    /// Adds a whole line, or drops it if the queue is full.
    fn push(&mut self, line: &[u8]) {
        if self.bytes.len() + line.len() > BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.bytes.extend_from_slice(line);
    }
}

/// Writes all bytes, also to a pipe that does not block.
fn write(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

/// Receives the line of one event, which `tracing` writes in one piece.
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

    /// A reader that takes one write for each message in `may_read`.
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
    fn a_stopped_reader_loses_only_the_last_lines_and_delays_nothing() {
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
        // Returns although the reader has stopped.
        queue.flush();
        for expected in [b"first\n".to_vec(), [&line[..], b"\n"].concat().repeat(1024)] {
            go.send(()).expect("it reads");
            assert!(lines.recv_timeout(PATIENCE).expect("a write") == expected);
        }
        queue.push(b"last\n");
        go.send(()).expect("it reads");
        assert_eq!(lines.recv_timeout(PATIENCE).expect("a write"), b"last\n");
        queue.flush();
        assert_eq!(queue.waiting().dropped, 0, "the loss was logged");
    }

    #[test]
    fn a_full_pipe_that_does_not_block_is_tried_again() {
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
