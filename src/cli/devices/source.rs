//! The file of an import, or stdin, as batches of devices. It is read and parsed on a thread of its own, so that the
//! database is written to at the same time, and a read of stdin that never returns does not keep the program from
//! ending.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, anyhow};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::csv::CsvHeader;
use crate::api::devices::import::{BatchSource, ImportBatch, ImportLine, LINE_MAX, LineSplitter, OnFailure};
use crate::api::error::ApiError;
use crate::domain::{InputCode, Platforms, ValidationError};

/// Bytes of one read.
const PIECE_BYTES: usize = 128 << 10;

/// The format of a file with devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum FileFormat {
    /// One JSON object per line
    Ndjson,
    /// A first line with the names of the columns, then one device per line
    Csv,
}

/// The first line of a CSV file does not name its columns. No line of the file was imported.
#[derive(Debug, thiserror::Error)]
#[error("line 1: {0}")]
pub(super) struct BadCsvHeader(String);

/// How a file is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadOptions {
    pub(super) format: FileFormat,
    /// The first line to import, from 1; earlier ones are skipped.
    pub(super) from_line: u64,
    pub(super) after: OnFailure,
}

/// A file that is being read by its thread.
pub(super) struct Source {
    batches: mpsc::Receiver<anyhow::Result<ImportBatch>>,
    /// When cancelled, no further batch is returned.
    pub(super) interrupted: CancellationToken,
    /// Bytes read so far.
    pub(super) position: Arc<AtomicU64>,
    /// Bytes of the file, if known.
    pub(super) length: Option<u64>,
}

impl Source {
    /// Starts to read; `-` is stdin.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn open(path: &Path, reading: ReadOptions, platforms: Platforms) -> anyhow::Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        let (input, length): (Box<dyn Read + Send>, _) = match path.to_str() {
            Some("-") => (Box::new(std::io::stdin()), None),
            _ => {
                let file = File::open(path).with_context(cannot)?;
                let about = file.metadata().with_context(cannot)?;
                if about.is_dir() {
                    return Err(anyhow!("it is a directory")).with_context(cannot);
                }
                (Box::new(file), about.is_file().then_some(about.len()))
            }
        };
        // At most three batches: one is written to the database, one waits here, one is filled.
        let (sender, batches) = mpsc::channel(1);
        let position = Arc::new(AtomicU64::new(0));
        let mut reader = Reader {
            lines: LineSplitter::default(),
            header: None,
            reading,
            batch: ImportBatch::new(reading.after, platforms.clone()),
            platforms,
            sender,
        };
        let (read, name) = (Arc::clone(&position), cannot());
        let thread = std::thread::Builder::new().name("reader".to_owned());
        thread
            .spawn(move || {
                if let Err(error) = reader.read(input, &read) {
                    reader.hand_over();
                    // The receiver is gone if the command has ended.
                    let _gone = reader.sender.blocking_send(Err(error.context(name)));
                }
            })
            .context("cannot start a thread")?;
        Ok(Self { batches, interrupted: CancellationToken::new(), position, length })
    }
}

impl BatchSource for Source {
    type Error = anyhow::Error;

    async fn next(&mut self) -> anyhow::Result<Option<ImportBatch>> {
        tokio::select! {
            biased;
            () = self.interrupted.cancelled() => Ok(None),
            batch = self.batches.recv() => batch.transpose(),
        }
    }
}

struct Reader {
    lines: LineSplitter,
    /// The first line of a CSV file.
    header: Option<CsvHeader>,
    reading: ReadOptions,
    batch: ImportBatch,
    platforms: Platforms,
    sender: mpsc::Sender<anyhow::Result<ImportBatch>>,
}

impl Reader {
    fn read(&mut self, mut input: impl Read, position: &AtomicU64) -> anyhow::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = match input.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            match read {
                0 => self.lines.finish(),
                some => self.lines.feed(&piece[..some]),
            }
            while let Some(line) = self.lines.next_line() {
                if !self.take(line)? {
                    return Ok(());
                }
            }
            position.fetch_add(read as u64, Ordering::Relaxed);
            if read == 0 {
                self.hand_over();
                return Ok(());
            }
        }
    }

    /// Adds a line to the batch. False: the receiver is gone.
    fn take(&mut self, line: ImportLine) -> anyhow::Result<bool> {
        let is_csv = self.reading.format == FileFormat::Csv;
        if is_csv && self.header.is_none() {
            let text = line.text.as_deref().context("the first line is too long")?;
            self.header = Some(CsvHeader::read(text).map_err(BadCsvHeader)?);
            return Ok(true);
        }
        if line.number < self.reading.from_line {
            return Ok(true);
        }
        match &self.header {
            None => self.batch.read(&line),
            Some(header) => match line.text.as_deref().map(|text| header.to_ndjson(text)) {
                None => self.batch.fail(line.number, ApiError::LineTooLarge(LINE_MAX)),
                Some(Ok(text)) => self.batch.read(&ImportLine { number: line.number, text: Some(text) }),
                Some(Err(fault)) => {
                    let fault = ValidationError::at("#", InputCode::MalformedCsv, fault);
                    self.batch.fail(line.number, ApiError::fault(fault));
                }
            },
        }
        Ok(!self.batch.is_full() || self.hand_over())
    }

    /// Sends the batch. False: the receiver is gone.
    fn hand_over(&mut self) -> bool {
        let batch =
            std::mem::replace(&mut self.batch, ImportBatch::new(self.reading.after, self.platforms.clone()));
        batch.is_empty() || self.sender.blocking_send(Ok(batch)).is_ok()
    }
}
