//! Converts a line of CSV into the line of NDJSON with the same content, for `devices import`.
//!
//! A record is one line: no field of a device may contain a line break, so a quoted cell that does not end in its line
//! is a fault of this line alone.

use bytes::Bytes;
use serde_json::{Value, json};

/// The names that a column may have.
const COLUMNS: [&str; 11] = [
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

/// Longest name of an unknown column that is repeated, in bytes: shorter than any token.
const COLUMN_NAME_MAX: usize = 24;

/// The columns of a file, in the order of its first line.
#[derive(Debug)]
pub(super) struct CsvHeader(Vec<&'static str>);

impl CsvHeader {
    /// Parses the first line of a file.
    ///
    /// # Errors
    /// What is wrong with the line, in words.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        let mut columns = Vec::new();
        if let Some(separator) = other_separator(line) {
            return Err(format!("columns are separated by {separator}; separate the columns with commas"));
        }
        for cell in cells(line)? {
            let name = String::from_utf8_lossy(&cell);
            let name = name.trim();
            let Some(column) = COLUMNS.into_iter().find(|column| *column == name) else {
                // In a file without a header a cell may be a token, which is not repeated.
                let shown = if is_column_name(name) { format!(" {name:?}") } else { String::new() };
                let (number, names) = (columns.len() + 1, COLUMNS.join(", "));
                return Err(format!("column {number}{shown} is unknown; the names are {names}"));
            };
            if columns.contains(&column) {
                return Err(format!("column {column} is there twice"));
            }
            columns.push(column);
        }
        match ["platform", "token"].into_iter().find(|needed| !columns.contains(needed)) {
            Some(missing) => {
                Err(format!("column {missing} is missing; the names are {}", COLUMNS.join(", ")))
            }
            None => Ok(Self(columns)),
        }
    }

    /// Converts a line to NDJSON. An empty cell is a field left out; topics are separated by spaces or semicolons.
    ///
    /// # Errors
    /// What is wrong with the line, in words.
    pub(super) fn to_ndjson(&self, line: &[u8]) -> Result<Bytes, String> {
        let cells = cells(line)?;
        if cells.len() > self.0.len() {
            return Err(format!("this line has {} cells, the first line {}", cells.len(), self.0.len()));
        }
        let mut object = vec![b'{'];
        for (column, cell) in self.0.iter().zip(&cells).filter(|(_, cell)| !cell.is_empty()) {
            if object.len() > 1 {
                object.push(b',');
            }
            object.extend_from_slice(format!("\"{column}\":").as_bytes());
            match std::str::from_utf8(cell) {
                Ok(text) => object.extend_from_slice(member(column, text).to_string().as_bytes()),
                // As it is: the reader of the NDJSON reports that it is not UTF-8.
                Err(_) => object.extend_from_slice(&[b"\"".as_slice(), cell, b"\""].concat()),
            }
        }
        object.push(b'}');
        Ok(object.into())
    }
}

/// What separates the columns of a first line without a comma.
fn other_separator(line: &[u8]) -> Option<&'static str> {
    let has = |byte| line.contains(&byte);
    match (has(b','), has(b';'), has(b'\t')) {
        (false, true, _) => Some("semicolons"),
        (false, false, true) => Some("tabs"),
        _ => None,
    }
}

/// Can this be the name of a column? A token is longer or has other characters.
fn is_column_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b' ');
    (1..=COLUMN_NAME_MAX).contains(&text.len()) && text.bytes().all(allowed)
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

/// Splits a line (RFC 4180), which may end in a carriage return, into its cells.
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
            _ => return Err("a quoted cell is followed by other characters".to_owned()),
        }
    }
}

/// Splits at the closing quotation mark: the cell, and the rest of the line. None: there is no such mark.
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
        String::from_utf8_lossy(&header.to_ndjson(line).expect("a line")).into_owned()
    }

    #[test]
    fn cells_become_members_and_empty_cells_are_left_out() {
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
            CsvHeader::read(b"platform,token").expect("a header").to_ndjson(b"fcm,f\xff").expect("a line");
        assert!(serde_json::from_slice::<Value>(&broken).is_err(), "what is not UTF-8 is refused later");
    }

    #[test]
    fn invalid_csv_and_too_many_cells_are_errors() {
        let header = CsvHeader::read(b"platform,token").expect("a header");
        for wrong in [&b"fcm,\"f1"[..], b"fcm,\"f\"1", b"fcm,f1,x", b"fcm,\"f1\"\""] {
            assert!(header.to_ndjson(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn header_has_known_columns_once_each() {
        assert_eq!(
            CsvHeader::read(b" platform , token ,\"user\"").expect("a header").0,
            ["platform", "token", "user"]
        );
        for (wrong, says) in [
            ("platform,tokn", "column 2 \"tokn\" is unknown; the names are platform, token, kind"),
            ("platform,token,created_at", "column 3 \"created_at\" is unknown"),
            ("platform;token;user", "separated by semicolons; separate the columns with commas"),
            ("platform\ttoken", "separated by tabs"),
            ("platform,token,token", "column token is there twice"),
            ("token,user", "column platform is missing"),
            ("fcm,f1", "column 1"),
            ("\"platform", "does not end"),
        ] {
            let error = CsvHeader::read(wrong.as_bytes()).expect_err(wrong);
            assert!(error.contains(says), "{wrong}: {error}");
        }
        for token in ["0a".repeat(32), "x:APA91b".to_owned()] {
            let error = CsvHeader::read(format!("{token},fcm").as_bytes()).expect_err("a token");
            assert!(error.starts_with("column 1 is unknown"), "a token is not repeated: {error}");
        }
    }
}
