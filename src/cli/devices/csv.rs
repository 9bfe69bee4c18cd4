//! A line of CSV as the line of NDJSON that says the same.
//!
//! A record is one line: nothing that is said of a device may hold a line break, so a quoted cell that does not end in its
//! line is a mistake, and must not swallow the lines after it.

use bytes::Bytes;
use serde_json::{Value, json};

/// What a column may be called.
pub(super) const COLUMNS: [&str; 11] = [
    "platform",
    "token",
    "kind",
    "environment",
    "user",
    "topics",
    "locale",
    "timezone",
    "app_version",
    "replaces",
    "registered_at",
];

/// The columns of a file, in order, as its first line has them.
#[derive(Debug)]
pub(super) struct CsvHeader(Vec<&'static str>);

impl CsvHeader {
    /// Reads the first line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        let mut columns = Vec::new();
        for cell in cells(line)? {
            let name = String::from_utf8_lossy(&cell);
            let Some(column) = COLUMNS.into_iter().find(|column| *column == name.trim()) else {
                // It may be a token: a file without its first line.
                return Err(format!("column {} has a name that is none", columns.len() + 1));
            };
            if columns.contains(&column) {
                return Err(format!("there are two columns {column}"));
            }
            columns.push(column);
        }
        match ["platform", "token"].into_iter().find(|needed| !columns.contains(needed)) {
            Some(missing) => Err(format!("there is no column {missing}")),
            None => Ok(Self(columns)),
        }
    }

    /// The NDJSON of a line. An empty cell is a field left out; topics are separated by spaces or semicolons.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn line(&self, line: &[u8]) -> Result<Bytes, String> {
        let cells = cells(line)?;
        if cells.len() > self.0.len() {
            return Err(format!("this line has {} cells, the first {}", cells.len(), self.0.len()));
        }
        let mut object = vec![b'{'];
        for (column, cell) in self.0.iter().zip(&cells).filter(|(_, cell)| !cell.is_empty()) {
            if object.len() > 1 {
                object.push(b',');
            }
            object.extend_from_slice(format!("\"{column}\":").as_bytes());
            match std::str::from_utf8(cell) {
                Ok(text) => object.extend_from_slice(member(column, text).to_string().as_bytes()),
                // As it is: whoever reads the line says what is wrong with it.
                Err(_) => object.extend_from_slice(&[b"\"".as_slice(), cell, b"\""].concat()),
            }
        }
        object.push(b'}');
        Ok(object.into())
    }
}

fn member(column: &str, text: &str) -> Value {
    match column {
        "topics" => {
            let names = text.split(|c: char| c == ';' || c.is_whitespace()).filter(|name| !name.is_empty());
            names.collect()
        }
        _ => json!(text),
    }
}

/// The cells of a line (RFC 4180), which may end in a carriage return.
fn cells(line: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut rest = line.strip_suffix(b"\r").unwrap_or(line);
    let mut cells = Vec::new();
    loop {
        let (cell, after) = match rest.strip_prefix(b"\"") {
            Some(quoted) => unquote(quoted).ok_or("a quoted cell does not end in its line")?,
            None => {
                let end = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
                (rest[..end].to_vec(), &rest[end..])
            }
        };
        cells.push(cell);
        match after {
            [] => return Ok(cells),
            [b',', more @ ..] => rest = more,
            _ => return Err("something follows a quoted cell".to_owned()),
        }
    }
}

/// The cell up to its closing quotation mark, and what follows.
fn unquote(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut cell = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'"')?;
        cell.extend_from_slice(&rest[..end]);
        match &rest[end + 1..] {
            [b'"', more @ ..] => {
                cell.push(b'"');
                rest = more;
            }
            after => return Some((cell, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(header: &str, line: &[u8]) -> String {
        let header = CsvHeader::read(header.as_bytes()).expect("a header");
        String::from_utf8_lossy(&header.line(line).expect("a line")).into_owned()
    }

    #[test]
    fn a_line_says_what_its_cells_say_and_an_empty_cell_nothing() {
        let header = "token,platform,user,topics\r";
        assert_eq!(
            line(header, b"f1,fcm,\"O'Neil, \"\"Bob\"\"\",news;sport team:1\r"),
            r#"{"token":"f1","platform":"fcm","user":"O'Neil, \"Bob\"","topics":["news","sport","team:1"]}"#
        );
        assert_eq!(line(header, b"f1,fcm,,"), r#"{"token":"f1","platform":"fcm"}"#);
        assert_eq!(line(header, b"f1,\"fcm\""), r#"{"token":"f1","platform":"fcm"}"#);
        assert_eq!(line(header, b"f1,fcm,\"\",; ;"), r#"{"token":"f1","platform":"fcm","topics":[]}"#);
        assert_eq!(line(header, b"f\"1,fcm"), r#"{"token":"f\"1","platform":"fcm"}"#);
        assert_eq!(line(header, b",,,"), "{}");
        let broken =
            CsvHeader::read(b"platform,token").expect("a header").line(b"fcm,f\xff").expect("a line");
        assert!(serde_json::from_slice::<Value>(&broken).is_err(), "what is no text is refused later");
    }

    #[test]
    fn a_line_that_is_no_csv_or_too_wide_is_a_fault() {
        let header = CsvHeader::read(b"platform,token").expect("a header");
        for wrong in [&b"fcm,\"f1"[..], b"fcm,\"f\"1", b"fcm,f1,x", b"fcm,\"f1\"\""] {
            assert!(header.line(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn a_header_names_columns_that_there_are_each_once() {
        assert_eq!(
            CsvHeader::read(b" platform , token ,\"user\"").expect("a header").0,
            ["platform", "token", "user"]
        );
        for (wrong, says) in [
            ("platform,tokn", "column 2"),
            ("platform,token,token", "two columns token"),
            ("token,user", "no column platform"),
            ("fcm,f1", "column 1"),
            ("\"platform", "does not end"),
        ] {
            let error = CsvHeader::read(wrong.as_bytes()).expect_err(wrong);
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
