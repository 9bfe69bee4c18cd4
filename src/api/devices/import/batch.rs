//! A batch of lines: they are read together and written in one statement.

use bytes::Bytes;

use super::lines::{ImportLine, LINE_MAX};
use crate::api::devices::request;
use crate::api::error::ApiError;
use crate::api::parse_pool::ParsePool;
use crate::domain::{InputCode, Platforms, ValidationError};
use crate::registry::register::OnFailure;
use crate::registry::registration::{Registrar, Registration};

/// The most lines of a batch.
pub(super) const BATCH_LINES: usize = 1000;
/// A batch with this many bytes takes no further line.
const BATCH_BYTES: usize = 2 << 20;
/// The most faults that are reported of one line; a line that is meant as a device has fewer.
const FAULTS_MAX: usize = 32;
/// Once a batch has this many faults, only the first of each further line is reported.
const BATCH_FAULTS_MAX: usize = 1000;

/// Lines that were read, in order.
#[derive(Debug)]
pub struct ImportBatch {
    after: OnFailure,
    platforms: Platforms,
    /// The line numbers of `registrations`.
    pub(super) lines: Vec<u64>,
    /// The lines without a fault.
    pub(super) registrations: Vec<Registration>,
    /// What is wrong with the other lines, by line number.
    pub(super) failures: Vec<(u64, ApiError)>,
    /// The number of the last line.
    pub(super) last: u64,
    bytes: usize,
    faults: usize,
}

impl ImportBatch {
    /// A batch without lines.
    pub fn new(after: OnFailure, platforms: Platforms) -> Self {
        Self {
            after,
            platforms,
            lines: Vec::new(),
            registrations: Vec::new(),
            failures: Vec::new(),
            last: 0,
            bytes: 0,
            faults: 0,
        }
    }

    /// Reads a line, and keeps its registration or its faults.
    pub fn read(&mut self, line: &ImportLine) {
        let read = match &line.text {
            None => Err(ApiError::LineTooLarge(LINE_MAX)),
            Some(text) => {
                self.bytes += text.len();
                let faults_max = if self.faults < BATCH_FAULTS_MAX { FAULTS_MAX } else { 1 };
                registration(text, &self.platforms, faults_max)
            }
        };
        match read {
            Ok(registration) => {
                self.last = line.number;
                self.lines.push(line.number);
                self.registrations.push(registration);
            }
            Err(failure) => self.fail(line.number, failure),
        }
    }

    /// Notes a line that can't be read.
    pub fn fail(&mut self, line: u64, failure: ApiError) {
        self.faults += if let ApiError::Invalid(faults) = &failure { faults.len() } else { 1 };
        self.last = line;
        self.failures.push((line, failure));
    }

    /// Has the batch no line?
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.failures.is_empty()
    }

    /// Should no further line be added?
    pub fn is_full(&self) -> bool {
        self.lines.len() + self.failures.len() >= BATCH_LINES || self.bytes >= BATCH_BYTES || self.is_last()
    }

    /// Has the batch a failure that ends the import?
    pub fn is_last(&self) -> bool {
        self.after == OnFailure::Stop && !self.failures.is_empty()
    }
}

/// Lines that are still to be read, as many as a batch takes.
#[derive(Debug)]
pub(super) struct UnreadLines {
    after: OnFailure,
    lines: Vec<ImportLine>,
    bytes: usize,
}

impl UnreadLines {
    /// No lines so far.
    pub(super) fn new(after: OnFailure) -> Self {
        Self { after, lines: Vec::new(), bytes: 0 }
    }

    /// Adds a line to be read.
    pub(super) fn add(&mut self, line: ImportLine) {
        self.bytes += line.text.as_ref().map_or(0, Bytes::len);
        self.lines.push(line);
    }

    /// Should no further line be added?
    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= BATCH_LINES || self.bytes >= BATCH_BYTES
    }

    /// Has the batch no line?
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Reads the lines, up to the first failure where that ends the import.
    pub(super) async fn read(self, pool: &ParsePool, platforms: &Platforms) -> ImportBatch {
        let Self { after, lines, bytes } = self;
        let platforms = platforms.clone();
        let read = pool.run(bytes, move || {
            let mut batch = ImportBatch::new(after, platforms);
            for line in lines {
                if batch.is_last() {
                    break;
                }
                batch.read(&line);
            }
            batch
        });
        read.await
    }
}

/// Reads a line as `PUT /v1/devices` reads its body.
fn registration(text: &[u8], platforms: &Platforms, faults_max: usize) -> Result<Registration, ApiError> {
    request::registration(text, Registrar::Import, platforms).map_err(|mut faults| {
        faults.truncate(faults_max);
        faults.shrink_to_fit();
        faults.iter_mut().for_each(forget_line);
        ApiError::Invalid(faults)
    })
}

/// Removes the line number from a fault of JSON, because each line is line 1 to the reader of JSON.
fn forget_line(fault: &mut ValidationError) {
    if fault.code == InputCode::MalformedJson {
        fault.facts.remove("line");
        fault.detail = fault.detail.replace(" at line 1 column ", " at column ");
    }
}

#[cfg(test)]
mod tests {
    use crate::provider::built_in_platforms;
    use serde_json::json;

    use super::*;

    fn line(number: u64, text: &str) -> ImportLine {
        ImportLine { number, text: Some(text.to_owned().into()) }
    }

    #[test]
    fn faults_name_their_line_and_are_capped() {
        let mut batch = ImportBatch::new(OnFailure::Continue, built_in_platforms());
        batch.read(&line(7, r#"{"platform": apns}"#));
        let unknown: serde_json::Map<_, _> = (0..999).map(|n| (format!("x{n}"), json!(1))).collect();
        batch.read(&line(8, &json!(unknown).to_string()));
        batch.read(&ImportLine { number: 9, text: None });
        batch.read(&line(10, r#"{"platform":"apns","token":"aa"}"#));
        let [(7, malformed), (8, unknown), (9, ApiError::LineTooLarge(LINE_MAX))] = &batch.failures[..]
        else {
            panic!("{:?}", batch.failures);
        };
        let (ApiError::Invalid(malformed), ApiError::Invalid(unknown)) = (malformed, unknown) else {
            panic!()
        };
        assert_eq!(malformed[0].detail, "not JSON: expected value at column 14");
        assert_eq!(malformed[0].facts.keys().collect::<Vec<_>>(), ["column"]);
        assert_eq!(unknown.len(), FAULTS_MAX);
        assert_eq!((&batch.lines[..], batch.last, batch.is_full()), (&[10][..], 10, false));
    }

    #[test]
    fn a_batch_ends_by_lines_bytes_or_a_failure() {
        let right = r#"{"platform":"fcm","token":"f"}"#;
        let mut many = ImportBatch::new(OnFailure::Stop, built_in_platforms());
        for number in 1..=BATCH_LINES as u64 {
            assert!(!many.is_full(), "{number}");
            many.read(&line(number, right));
        }
        assert!(many.is_full() && !many.is_last());
        let mut large = ImportBatch::new(OnFailure::Continue, built_in_platforms());
        for number in 1..=9 {
            large.read(&line(number, &format!("{right}{}", " ".repeat(LINE_MAX - 100))));
        }
        assert!(large.is_full());
        let mut failed = ImportBatch::new(OnFailure::Stop, built_in_platforms());
        failed.read(&line(1, "{}"));
        assert!(failed.is_full() && failed.is_last());
    }
}
