//! LineSplitter out of the pieces of a stream, numbered, and each with its limit: however long one is, no more than the limit of
//! it is kept.

use bytes::{Buf, Bytes, BytesMut};

/// Most bytes of a line: room for two of the longest tokens and the most topics, escaped.
pub const LINE_MAX: usize = 256 << 10;
/// What some programs write before anything else.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line that says something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportLine {
    /// Its number, from 1 on; those that say nothing count.
    pub number: u64,
    /// Without its end; none: it has more than [`LINE_MAX`] bytes.
    pub text: Option<Bytes>,
}

/// Takes pieces and gives lines.
#[derive(Debug, Default)]
pub struct LineSplitter {
    unread: BytesMut,
    /// So much of it has no end of a line.
    searched: usize,
    /// LineSplitter whose end was seen.
    ended: u64,
    /// The line under way is too long, and that was said.
    overlong: bool,
    /// Nothing more comes.
    complete: bool,
}

impl LineSplitter {
    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        self.unread.extend_from_slice(piece);
    }

    /// There are no more pieces: what has no end is a line too.
    pub fn finish(&mut self) {
        self.complete = true;
    }

    /// How many lines came to their end, whether or not they say anything.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// The next line that says something, if all of it is there.
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

    /// Without an end in sight: says once that the line is too long, and forgets of it what has come.
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
    fn a_line_that_is_too_long_is_said_once_and_not_kept() {
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
