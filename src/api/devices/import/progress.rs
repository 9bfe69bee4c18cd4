//! The progress of an import, and the report that is its answer.

use serde::Serialize;
use utoipa::ToSchema;

use super::batch::ImportBatch;
use crate::api::error::ApiError;
use crate::api::problem::{Problem, ProblemDocument};
use crate::registry::register::OnFailure;
use crate::registry::registration::RegistrationResult;

/// The most errors that are reported; more are counted.
const ERRORS_MAX: usize = 1000;

/// Counts of lines, and what is wrong with the first lines that failed.
#[derive(Debug)]
pub struct ImportProgress {
    after: OnFailure,
    /// Lines with a token that was unknown.
    pub created: u64,
    /// Lines with a token that was known.
    pub updated: u64,
    /// Lines with a fault.
    pub failed: u64,
    /// Parts that were left out of lines that were imported.
    pub ignored: u64,
    /// What is wrong with the first 1,000 lines that failed, by line number.
    pub errors: Vec<(u64, Problem)>,
    /// The first line that was not imported, if the import ended before its last line.
    pub stopped_at: Option<u64>,
    /// The line to go on from.
    pub next_line: u64,
}

impl ImportProgress {
    /// The progress before the first line.
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

    /// Lines that were gone through; blank lines do not count.
    pub fn lines(&self) -> u64 {
        self.created + self.updated + self.failed
    }

    /// The import ends before its last line.
    pub fn stop(&mut self) {
        self.stopped_at = Some(self.next_line);
    }

    /// Adds a batch that was written, with the outcomes of those of its registrations that were carried out.
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

    /// The answer's body; without a request id where there is no request.
    pub fn report<'a>(&'a self, request_id: Option<&'a str>) -> ImportReport<'a> {
        let error = |(line, problem): &'a (u64, Problem)| ImportError {
            line: *line,
            problem: problem.document(request_id),
        };
        ImportReport {
            lines: self.lines(),
            created: self.created,
            updated: self.updated,
            failed: self.failed,
            errors: self.errors.iter().map(error).collect(),
            stopped_at: self.stopped_at,
            ignored: self.ignored,
        }
    }
}

/// How an import went. Lines before a failure stay imported; sending them again is harmless.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "lines": 3, "created": 1, "updated": 1, "failed": 1,
    "errors": [{"line": 3, "problem": {
        "type": "/docs/errors#unprocessable", "title": "The request can't be carried out", "status": 422,
        "code": "unprocessable", "detail": "There is a fault in the request, at #/token: a token is hex digits.",
        "request_id": "0198a2f1c3d47e5f8a9b0c1d2e3f4a5b",
        "errors": [{"pointer": "#/token", "code": "bad_token", "detail": "a token is hex digits"}]
    }}],
    "stopped_at": null
}))]
pub struct ImportReport<'a> {
    /// Lines that were gone through; blank ones do not count.
    lines: u64,
    /// Lines with a token that was unknown.
    created: u64,
    /// Lines with a token that was known.
    updated: u64,
    /// Lines with a fault.
    failed: u64,
    /// What is wrong with the first 1,000 lines that failed.
    #[schema(max_items = 1000)]
    errors: Vec<ImportError<'a>>,
    /// The first line that was not imported, where the import ended before its last line.
    #[schema(required)]
    stopped_at: Option<u64>,
    /// Parts of lines that were left out, if there are any.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    ignored: u64,
}

/// What is wrong with a line of an import.
#[derive(Serialize, ToSchema, Debug)]
pub struct ImportError<'a> {
    /// The line's number, from 1; blank lines count.
    line: u64,
    /// The problem that `PUT /v1/devices` would answer this line with.
    problem: ProblemDocument<'a>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::lines::ImportLine;
    use super::*;
    use crate::api::error::NotFoundKind;

    fn batch(after: OnFailure, numbers: std::ops::RangeInclusive<u64>) -> ImportBatch {
        let mut batch = ImportBatch::new(after, crate::provider::built_in_platforms());
        for number in numbers {
            let text = if number % 2 == 0 { r#"{"platform":"apns","token":"aa"}"# } else { "?" };
            batch.read(&ImportLine { number, text: Some(text.into()) });
        }
        batch
    }

    #[test]
    fn errors_come_by_line_and_end_at_a_thousand() {
        let mut progress = ImportProgress::new(OnFailure::Continue);
        let future = || Err(ApiError::NotFound(NotFoundKind::Id));
        let done = |is_new| Ok(RegistrationResult { is_new, ignored: Vec::new() });
        progress.add(batch(OnFailure::Continue, 1..=6), vec![done(true), future(), done(false)]);
        assert_eq!(progress.errors.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert_eq!((progress.created, progress.updated, progress.failed, progress.lines()), (1, 1, 4, 6));
        progress.add(batch(OnFailure::Continue, 7..=2500), vec![]);
        assert_eq!((progress.failed, progress.errors.len(), progress.next_line), (1251, 1000, 2501));
        assert_eq!(json!(progress.report(Some("r")))["errors"][0]["problem"]["request_id"], "r");
        assert_eq!(json!(progress.report(None))["stopped_at"], Value::Null);
    }

    #[test]
    fn an_import_stops_at_the_first_failure() {
        let mut progress = ImportProgress::new(OnFailure::Stop);
        let mut before = ImportBatch::new(OnFailure::Stop, crate::provider::built_in_platforms());
        for number in [2, 4, 6] {
            let text = Some(r#"{"platform":"apns","token":"aa"}"#.into());
            before.read(&ImportLine { number, text });
        }
        before.read(&ImportLine { number: 7, text: None });
        let done = RegistrationResult { is_new: true, ignored: Vec::new() };
        progress.add(before, vec![Ok(done), Err(ApiError::NotFound(NotFoundKind::Id))]);
        assert_eq!(
            (progress.lines(), progress.failed, progress.stopped_at, progress.next_line),
            (2, 1, Some(4), 4)
        );
    }
}
