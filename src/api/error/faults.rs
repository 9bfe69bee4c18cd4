//! The answer to faults in a request: how grave each is, and the code that the gravest gives.

use super::ProblemCode;
use crate::api::problem::Problem;
use crate::domain::{InputCode, ValidationError};

/// How grave a fault is, the gravest first: it decides on the reply status.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Form,
    Forbidden,
    Meaning,
}

/// Is it a fault of form? Then the meaning of the request is not known.
pub fn is_form(code: InputCode) -> bool {
    severity(code) == Severity::Form
}

fn severity(code: InputCode) -> Severity {
    match code {
        InputCode::MalformedJson
        | InputCode::MalformedCsv
        | InputCode::DuplicateField
        | InputCode::UnknownField
        | InputCode::UnknownParameter
        | InputCode::WrongType
        | InputCode::MissingField
        | InputCode::InvalidCursor
        | InputCode::OutOfRange => Severity::Form,
        InputCode::ForbiddenField | InputCode::TopicClosed => Severity::Forbidden,
        _ => Severity::Meaning,
    }
}

/// The answer to faults in a request. The gravest one decides on its code.
pub(super) fn invalid(errors: Vec<ValidationError>) -> Problem {
    let detail = match errors.as_slice() {
        [only] => {
            let end = if only.detail.ends_with(['?', '.']) { "" } else { "." };
            format!("There is a fault in the request, {}: {}{end}", only.place, only.detail)
        }
        all => format!("There are {} faults in the request; `errors` lists them.", all.len()),
    };
    let gravest = errors.iter().map(|fault| fault.code).min_by_key(|code| severity(*code));
    let code = match gravest.map(|code| (severity(code), code)) {
        Some((Severity::Form, _)) | None => ProblemCode::InvalidRequest,
        Some((Severity::Forbidden, InputCode::TopicClosed)) => ProblemCode::TopicClosed,
        Some((Severity::Forbidden, _)) => ProblemCode::ForbiddenField,
        Some((Severity::Meaning, _)) => ProblemCode::Unprocessable,
    };
    Problem { errors, ..Problem::new(code, detail) }
}
