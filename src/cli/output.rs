//! Data on stdout.

use std::io::{ErrorKind, Write as _};

use anyhow::Context as _;

/// Writes one line. A reader that went away, as `head` does, is no failure.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

/// Rows below their titles, each column as wide as its widest cell.
pub(super) fn table<const N: usize>(titles: [&str; N], rows: &[[String; N]]) -> String {
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

#[cfg(test)]
mod tests {
    #[test]
    fn a_table_is_as_wide_as_its_widest_cells() {
        let rows = [
            ["a".to_owned(), "ünïcode".to_owned(), "x".to_owned()],
            ["bbb".to_owned(), String::new(), String::new()],
        ];
        assert_eq!(super::table(["ID", "NAME", "END"], &rows), "ID   NAME     END\na    ünïcode  x\nbbb");
    }
}
