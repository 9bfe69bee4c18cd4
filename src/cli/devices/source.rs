//! A file, or stdin, read and parsed on a thread of its own: the database is written to at the same time, and a read that
//! waits for ever keeps nobody from ending.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, anyhow};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::csv::{COLUMNS, CsvHeader};
use crate::api::devices::import::{BatchSource, ImportBatch, ImportLine, LINE_MAX, LineSplitter, OnFailure};
use crate::api::error::ApiError;
use crate::domain::{InputCode, ValidationError};

/// Read at a time, in bytes.
const PIECE: usize = 128 << 10;

/// How lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum FileFormat {
    /// A JSON object a line
    Ndjson,
    /// A first line with the names of the columns, then a device a line
    Csv,
}

/// What is read of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadOptions {
    pub(super) format: FileFormat,
    /// The first line that counts.
    pub(super) from_line: u64,
    pub(super) after: OnFailure,
}

/// A file that is being read.
pub(super) struct Source {
    batches: mpsc::Receiver<anyhow::Result<ImportBatch>>,
    /// No further batch is taken.
    pub(super) interrupted: CancellationToken,
    /// How far it was read, in bytes.
    pub(super) position: Arc<AtomicU64>,
    /// How many bytes it has, if that is known.
    pub(super) length: Option<u64>,
}

impl Source {
    /// Begins to read; `-` is stdin.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn open(path: &Path, reading: ReadOptions) -> anyhow::Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        let (input, length): (Box<dyn Read + Send>, _) = match path.to_str() {
            Some("-") => (Box::new(std::io::stdin()), None),
            _ => {
                let file = File::open(path).with_context(cannot)?;
                let about = file.metadata().with_context(cannot)?;
                if about.is_dir() {
                    return Err(anyhow!("it is a folder")).with_context(cannot);
                }
                (Box::new(file), about.is_file().then_some(about.len()))
            }
        };
        // One is written, one waits, one is read.
        let (sender, batches) = mpsc::channel(1);
        let position = Arc::new(AtomicU64::new(0));
        let mut reader = Reader {
            lines: LineSplitter::default(),
            header: None,
            reading,
            batch: ImportBatch::new(reading.after),
            sender,
        };
        let (read, name) = (Arc::clone(&position), cannot());
        let thread = std::thread::Builder::new().name("reader".to_owned());
        thread
            .spawn(move || {
                if let Err(error) = reader.read(input, &read) {
                    reader.hand_over();
                    // Nobody waits for it any more where the command has ended.
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
    /// CSV's first line.
    header: Option<CsvHeader>,
    reading: ReadOptions,
    batch: ImportBatch,
    sender: mpsc::Sender<anyhow::Result<ImportBatch>>,
}

impl Reader {
    fn read(&mut self, mut input: impl Read, position: &AtomicU64) -> anyhow::Result<()> {
        let mut piece = vec![0; PIECE];
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

    /// False: nobody wants more.
    fn take(&mut self, line: ImportLine) -> anyhow::Result<bool> {
        let is_csv = self.reading.format == FileFormat::Csv;
        if is_csv && self.header.is_none() {
            let text = line.text.as_deref().context("its first line is too long")?;
            let read = CsvHeader::read(text).map_err(|fault| {
                anyhow!("{fault} in its first line, which holds names out of {}", COLUMNS.join(", "))
            });
            self.header = Some(read?);
            return Ok(true);
        }
        if line.number < self.reading.from_line {
            return Ok(true);
        }
        match &self.header {
            None => self.batch.read(&line),
            Some(header) => match line.text.as_deref().map(|text| header.line(text)) {
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

    /// False: nobody wants it.
    fn hand_over(&mut self) -> bool {
        let batch = std::mem::replace(&mut self.batch, ImportBatch::new(self.reading.after));
        batch.is_empty() || self.sender.blocking_send(Ok(batch)).is_ok()
    }
}
