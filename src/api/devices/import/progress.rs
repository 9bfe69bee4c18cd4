//! What an import came to so far.

use serde_json::{Value, json};

use super::batch::ImportBatch;
use crate::api::error::ApiError;
use crate::api::problem::Problem;
use crate::registry::register::OnFailure;
use crate::registry::registration::RegistrationResult;

/// Most errors that are told; more are counted.
const ERRORS_MAX: usize = 1000;

/// Counts of lines, and what is wrong with the first of those that failed.
#[derive(Debug)]
pub struct ImportProgress {
    after: OnFailure,
    /// LineSplitter whose token was unknown.
    pub created: u64,
    /// LineSplitter whose token was known.
    pub updated: u64,
    /// LineSplitter with a fault.
    pub failed: u64,
    /// Parts that were left out of lines that were imported.
    pub ignored: u64,
    /// What is wrong with the first of them, by their numbers.
    pub errors: Vec<(u64, Problem)>,
    /// The first line that was not carried out, where that ended the import.
    pub stopped_at: Option<u64>,
    /// The first line that is still to come.
    pub next_line: u64,
}

impl ImportProgress {
    /// Nothing so far.
    pub fn new(after: OnFailure) -> Self {
        Self {
            after,
            created: 0,
            updated: 0,
            failed: 0,
            ignored: 0,
            errors: Vec::new(),
            stopped_at: None,
            next_line: 1,
        }
    }

    /// LineSplitter that said something and were gone through.
    pub fn lines(&self) -> u64 {
        self.created + self.updated + self.failed
    }

    /// The import ends before its last line.
    pub fn stop(&mut self) {
        self.stopped_at = Some(self.next_line);
    }

    /// Adds a batch that was written; `outcomes` are those of its registrations, as far as they were carried out.
    pub(super) fn add(&mut self, batch: ImportBatch, outcomes: Vec<Result<RegistrationResult, ApiError>>) {
        let mut failures = batch.failures;
        for (line, outcome) in batch.lines.into_iter().zip(outcomes) {
            match outcome {
                Ok(RegistrationResult { is_new, ignored }) => {
                    *(if is_new { &mut self.created } else { &mut self.updated }) += 1;
                    self.ignored += ignored.len() as u64;
                }
                Err(failure) => failures.push((line, failure)),
            }
        }
        failures.sort_by_key(|(line, _)| *line);
        self.next_line = batch.last + 1;
        if self.after == OnFailure::Stop
            && let Some((line, _)) = failures.first()
        {
            (self.stopped_at, self.next_line) = (Some(*line), *line);
            failures.truncate(1);
        }
        self.failed += failures.len() as u64;
        let room = ERRORS_MAX.saturating_sub(self.errors.len());
        self.errors.extend(failures.into_iter().take(room).map(|(line, failure)| (line, failure.problem())));
    }

    /// The answer's body; without an id where there is no request.
    pub fn document(&self, request_id: Option<&str>) -> Value {
        let error =
            |(line, problem): &(u64, Problem)| json!({"line": line, "problem": problem.document(request_id)});
        let mut document = json!({
            "lines": self.lines(),
            "created": self.created,
            "updated": self.updated,
            "failed": self.failed,
            "errors": self.errors.iter().map(error).collect::<Vec<_>>(),
            "stopped_at": self.stopped_at,
        });
        if self.ignored > 0 {
            document["ignored"] = json!(self.ignored);
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::ImportLine;
    use super::*;

    fn batch(after: OnFailure, numbers: std::ops::RangeInclusive<u64>) -> ImportBatch {
        let mut batch = ImportBatch::new(after);
        for number in numbers {
            let text = if number % 2 == 0 { r#"{"platform":"apns","token":"aa"}"# } else { "?" };
            batch.read(&ImportLine { number, text: Some(text.into()) });
        }
        batch
    }

    #[test]
    fn errors_come_by_line_and_end_at_a_thousand() {
        let mut progress = ImportProgress::new(OnFailure::Continue);
        let future = || Err(ApiError::NotFound);
        let done = |is_new| Ok(RegistrationResult { is_new, ignored: Vec::new() });
        progress.add(batch(OnFailure::Continue, 1..=6), vec![done(true), future(), done(false)]);
        assert_eq!(progress.errors.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert_eq!((progress.created, progress.updated, progress.failed, progress.lines()), (1, 1, 4, 6));
        progress.add(batch(OnFailure::Continue, 7..=2500), vec![]);
        assert_eq!((progress.failed, progress.errors.len(), progress.next_line), (1251, 1000, 2501));
        assert_eq!(progress.document(Some("r"))["errors"][0]["problem"]["request_id"], "r");
        assert_eq!(progress.document(None)["stopped_at"], Value::Null);
    }

    #[test]
    fn a_stop_is_at_the_first_failure_wherever_it_was_found() {
        let mut progress = ImportProgress::new(OnFailure::Stop);
        let mut before = ImportBatch::new(OnFailure::Stop);
        for number in [2, 4, 6] {
            let text = Some(r#"{"platform":"apns","token":"aa"}"#.into());
            before.read(&ImportLine { number, text });
        }
        before.read(&ImportLine { number: 7, text: None });
        let done = RegistrationResult { is_new: true, ignored: Vec::new() };
        progress.add(before, vec![Ok(done), Err(ApiError::NotFound)]);
        assert_eq!(
            (progress.lines(), progress.failed, progress.stopped_at, progress.next_line),
            (2, 1, Some(4), 4)
        );
    }
}
