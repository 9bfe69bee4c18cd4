//! What commands print on stdout: lines and tables.

use std::io::{ErrorKind, Write as _};

use anyhow::Context as _;

use crate::domain::printable;

/// Writes one line. A closed pipe, as `head` leaves it, is no failure.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    line_to_reader(text).map(|_| ())
}

/// Writes one line. False: the pipe is closed, so a further line would not be read either.
pub(super) fn line_to_reader(text: &str) -> anyhow::Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to stdout"),
    }
}

/// A table as text. Each column is as wide as its widest cell. What can't be seen of a cell is left out.
pub(super) fn table<const N: usize>(titles: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<_> =
        rows.iter().map(|row| row.each_ref().map(|cell| printable(cell).collect::<String>())).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([titles[column].chars().count()]).max().unwrap_or(0)
    });
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rows = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(titles)).chain(rows).collect::<Vec<_>>().join("\n")
}

/// A number with commas between the thousands.
pub(super) fn grouped(number: u64) -> String {
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

/// An age in the two largest units.
pub(super) fn age(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..10 => format!("{:.1} s", seconds.max(0.0)),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn table_columns_are_as_wide_as_their_widest_cells() {
        let rows = [
            ["a".to_owned(), "ünïcode".to_owned(), "x".to_owned()],
            ["bbb".to_owned(), String::new(), String::new()],
        ];
        assert_eq!(super::table(["ID", "NAME", "END"], &rows), "ID   NAME     END\na    ünïcode  x\nbbb");
        let odd = [["a\u{1b}[2J\u{202e}b\nc".to_owned(), "d".to_owned()]];
        assert_eq!(super::table(["ID", "X"], &odd), "ID       X\na[2Jb c  d");
    }

    #[test]
    fn thousands_are_grouped() {
        let shown = [0, 12, 123, 1234, 123_456, 1_234_567].map(super::grouped);
        assert_eq!(shown, ["0", "12", "123", "1,234", "123,456", "1,234,567"]);
    }

    #[test]
    fn an_age_has_at_most_two_units() {
        let shown = [0.0, 9.94, 59.9, 61.0, 3600.0, 90_061.0].map(super::age);
        assert_eq!(shown, ["0.0 s", "9.9 s", "59 s", "1 min 1 s", "1 h 0 min", "1 d 1 h"]);
    }
}
