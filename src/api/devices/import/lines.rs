//! Splits the pieces of a stream into numbered lines. Of a line that is too long no more than the limit is kept.

use bytes::{Buf, Bytes, BytesMut};

/// The most bytes of a line: room for two of the longest tokens and the most topics, escaped.
pub const LINE_MAX: usize = 256 << 10;
/// Some programs write it at the beginning of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line that is not blank.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportLine {
    /// The line's number, from 1; blank lines count.
    pub number: u64,
    /// The line without its end; none if it has more than [`LINE_MAX`] bytes.
    pub text: Option<Bytes>,
}

/// Takes the pieces of a stream and gives its lines.
#[derive(Debug, Default)]
pub struct LineSplitter {
    unread: BytesMut,
    /// The bytes at the start of `unread` that are known to have no end of a line.
    searched: usize,
    /// The number of lines that have ended.
    ended: u64,
    /// The present line is too long, and that was reported.
    overlong: bool,
    /// There are no more pieces.
    complete: bool,
}

impl LineSplitter {
    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        self.unread.extend_from_slice(piece);
    }

    /// There are no more pieces: the rest without an end is a line too.
    pub fn finish(&mut self) {
        self.complete = true;
    }

    /// The number of lines that have ended; blank lines count.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// The next line that is not blank, if all of it is there.
    pub fn next_line(&mut self) -> Option<ImportLine> {
        loop {
            let text = match self.unread[self.searched..].iter().position(|byte| *byte == b'\n') {
                Some(at) => {
                    let text = self.unread.split_to(self.searched + at).freeze();
                    self.unread.advance(1);
                    text
                }
                None if self.complete && !self.unread.is_empty() => self.unread.split().freeze(),
                None => return self.overlong(),
            };
            self.searched = 0;
            self.ended += 1;
            if std::mem::take(&mut self.overlong) {
                continue;
            }
            let number = self.ended;
            if text.len() > LINE_MAX {
                return Some(ImportLine { number, text: None });
            }
            let mark = if number == 1 { BYTE_ORDER_MARK } else { b"" };
            let start = if text.starts_with(mark) { mark.len() } else { 0 };
            if !text[start..].trim_ascii().is_empty() {
                return Some(ImportLine { number, text: Some(text.slice(start..)) });
            }
        }
    }

    /// Reports once that a line without an end is too long, and drops the part of it that has come.
    fn overlong(&mut self) -> Option<ImportLine> {
        self.searched = self.unread.len();
        if self.searched <= LINE_MAX && !self.overlong {
            return None;
        }
        self.unread.clear();
        self.searched = 0;
        let is_news = !std::mem::replace(&mut self.overlong, true);
        is_news.then_some(ImportLine { number: self.ended + 1, text: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines of pieces, as number and text.
    fn lines(pieces: &[&[u8]]) -> Vec<(u64, Option<String>)> {
        let (mut lines, mut all) = (LineSplitter::default(), Vec::new());
        let mut take = |lines: &mut LineSplitter| {
            while let Some(line) = lines.next_line() {
                let text = line.text.map(|text| String::from_utf8_lossy(&text).into_owned());
                all.push((line.number, text));
            }
        };
        for piece in pieces {
            lines.feed(piece);
            take(&mut lines);
        }
        lines.finish();
        take(&mut lines);
        all
    }

    fn texts(expected: &[(u64, &str)]) -> Vec<(u64, Option<String>)> {
        expected.iter().map(|(number, text)| (*number, Some((*text).to_owned()))).collect()
    }

    #[test]
    fn lines_are_numbered_wherever_the_pieces_end_and_blank_ones_count() {
        let all = b"\xef\xbb\xbfa\r\n\n \t\r\nbc\nd";
        let expected = texts(&[(1, "a\r"), (4, "bc"), (5, "d")]);
        assert_eq!(lines(&[all]), expected);
        for cut in 1..all.len() {
            assert_eq!(lines(&[&all[..cut], &all[cut..]]), expected, "{cut}");
        }
        let bytes: Vec<_> = all.iter().map(std::slice::from_ref).collect();
        assert_eq!(lines(&bytes), expected);
        assert_eq!(lines(&[b"a\nb\n"]), texts(&[(1, "a"), (2, "b")]));
        assert_eq!(lines(&[]), []);
        assert_eq!(lines(&[b"\n"]), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_reported_once_and_not_kept() {
        let full = vec![b'x'; LINE_MAX];
        let long = vec![b'x'; LINE_MAX + 1];
        let as_text = |bytes: &[u8]| Some(String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(lines(&[&full, b"\nb"]), [(1, as_text(&full)), (2, as_text(b"b"))]);
        assert_eq!(lines(&[&long, b"\nb"]), [(1, None), (2, as_text(b"b"))]);
        assert_eq!(
            lines(&[b"a\n", &long, &long, &long, b"z\n\nb\n"]),
            [(1, as_text(b"a")), (2, None), (4, as_text(b"b"))]
        );
        let whole = [&long[..], b"\nb"].concat();
        assert_eq!(lines(&[&whole]), [(1, None), (2, as_text(b"b"))]);
        assert_eq!(lines(&[&long]), [(1, None)], "without an end");
        assert_eq!(lines(&[&long, &long]), [(1, None)]);

        let mut endless = LineSplitter::default();
        for _ in 0..100 {
            endless.feed(&long);
            endless.next_line();
            assert!(endless.unread.len() <= LINE_MAX, "it does not pile up");
        }
    }
}
