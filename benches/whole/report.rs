//! What was measured: the table, and the file that is kept.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    row: String,
    measured: String,
    ratio: Option<f64>,
    target: String,
    holds: Option<bool>,
}

impl Line {
    /// What was measured, without a target.
    pub(crate) fn new(row: impl Into<String>, measured: impl Into<String>) -> Self {
        let (row, measured) = (row.into(), measured.into());
        Self { row, measured, ratio: None, target: String::new(), holds: None }
    }

    /// What could not be measured, and why.
    pub(crate) fn missing(row: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(row, format!("not there: {}", why.into()))
    }

    /// In proportion to what was measured beside it.
    pub(crate) fn ratio(self, ratio: f64) -> Self {
        Self { ratio: Some(ratio), ..self }
    }

    /// What it ought to be, and whether it is.
    pub(crate) fn target(self, target: impl Into<String>, holds: bool) -> Self {
        Self { target: target.into(), holds: Some(holds), ..self }
    }

    fn cells(&self) -> [String; 5] {
        let holds = match self.holds {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        let ratio = self.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        [self.row.clone(), self.measured.clone(), ratio, self.target.clone(), holds.to_owned()]
    }

    fn facts(&self) -> Value {
        json!({
            "row": self.row,
            "measured": self.measured,
            "ratio": self.ratio,
            "target": self.target,
            "holds": self.holds,
        })
    }
}

/// What a row came to.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    /// For the table.
    pub(crate) lines: Vec<Line>,
    /// All that was measured on the way.
    pub(crate) facts: Value,
}

/// Everything of one run.
#[derive(Default, Debug)]
pub(crate) struct Report {
    lines: Vec<Line>,
    rows: serde_json::Map<String, Value>,
}

impl Report {
    /// Adds a row.
    pub(crate) fn add(&mut self, row: &str, findings: Findings) {
        self.lines.extend(findings.lines);
        self.rows.insert(row.to_owned(), findings.facts);
    }

    /// A Markdown table with aligned columns, readable as it is.
    pub(crate) fn table(&self) -> String {
        let titles = ["row", "measured", "ratio", "target", "holds"].map(str::to_owned);
        let cells: Vec<[String; 5]> = self.lines.iter().map(Line::cells).collect();
        let widths: [usize; 5] = std::array::from_fn(|column| {
            let lengths = cells.iter().chain([&titles]).map(|row| row[column].chars().count());
            lengths.max().unwrap_or(0)
        });
        let line = |row: &[String; 5]| {
            let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            format!("| {} |", padded.collect::<Vec<_>>().join(" | "))
        };
        let rule = format!("|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
        let rows = cells.iter().map(line);
        [line(&titles), rule].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
    }

    /// Saves all of it. `run` says where, when and how.
    pub(crate) fn save(&self, path: &Path, run: &Value) -> anyhow::Result<()> {
        let lines: Vec<Value> = self.lines.iter().map(Line::facts).collect();
        let whole = json!({ "run": run, "table": lines, "rows": self.rows });
        fs::write(path, format!("{whole:#}\n")).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A rate as `52,100/s`.
pub(crate) fn per_second(rate: f64) -> String {
    format!("{}/s", grouped(rate.round() as u64))
}

/// A number as `1,000,000`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size as `120 MB`.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1 << 20))
}
