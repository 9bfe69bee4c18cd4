//! As much of Rust's grammar as the checks need: tokens with their lines, comments apart, literals emptied.

use std::iter::Peekable;
use std::str::Chars;

/// A file in pieces.
#[derive(Default)]
pub(crate) struct Pieces {
    pub(crate) tokens: Vec<Token>,
    /// Comments with the line on which they begin.
    pub(crate) comments: Vec<(usize, String)>,
}

/// An identifier, `::`, or one other character; literals are `""`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// Takes a file apart.
pub(crate) fn pieces(source: &str) -> Pieces {
    let mut reader = Reader { chars: source.chars().peekable(), line: 1 };
    let mut pieces = Pieces::default();
    while let Some(first) = reader.next() {
        let line = reader.line;
        let mut push = |text: String| pieces.tokens.push(Token { text, line });
        match first {
            '/' if reader.chars.peek() == Some(&'/') => {
                let text = reader.take_while(|c| c != '\n');
                pieces.comments.push((line, text));
            }
            '/' if reader.chars.peek() == Some(&'*') => {
                let text = reader.block_comment();
                pieces.comments.push((line, text));
            }
            '"' => {
                reader.string();
                push("\"\"".to_owned());
            }
            '\'' if reader.char_literal() => push("\"\"".to_owned()),
            ':' if reader.chars.peek() == Some(&':') => {
                reader.next();
                push("::".to_owned());
            }
            c if is_word(c) => {
                let word = c.to_string() + &reader.take_while(is_word);
                match (word.as_str(), reader.chars.peek().copied()) {
                    ("r" | "br" | "cr", Some('#' | '"')) if reader.raw_string() => push("\"\"".to_owned()),
                    // The quotation mark that follows begins an ordinary string.
                    ("b" | "c", Some('"')) => {}
                    _ => push(word),
                }
            }
            c if c.is_whitespace() => {}
            c => push(c.to_string()),
        }
    }
    pieces
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn take_while(&mut self, holds: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(c) = self.chars.next_if(|c| holds(*c)) {
            self.line += usize::from(c == '\n');
            text.push(c);
        }
        text
    }

    fn block_comment(&mut self) -> String {
        let (mut text, mut depth, mut last) = (String::new(), 1, ' ');
        self.next();
        while let Some(c) = self.next() {
            text.push(c);
            match (last, c) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    last = c;
                    continue;
                }
            }
            if depth == 0 {
                break;
            }
            last = ' ';
        }
        text
    }

    /// After the opening quotation mark.
    fn string(&mut self) {
        while let Some(c) = self.next() {
            match c {
                '\\' => drop(self.next()),
                '"' => return,
                _ => {}
            }
        }
    }

    /// After `r`. False: it was a raw identifier.
    fn raw_string(&mut self) -> bool {
        let hashes = self.take_while(|c| c == '#').len();
        if self.chars.peek() != Some(&'"') {
            return false;
        }
        self.next();
        let mut closing: Option<usize> = None;
        while let Some(c) = self.next() {
            closing = match (c, closing) {
                ('"', _) => Some(0),
                ('#', Some(seen)) => Some(seen + 1),
                _ => None,
            };
            if closing == Some(hashes) {
                break;
            }
        }
        true
    }

    /// After an apostrophe. False: it began a lifetime.
    fn char_literal(&mut self) -> bool {
        let mut ahead = self.chars.clone();
        let (first, second) = (ahead.next(), ahead.next());
        if first != Some('\\') && second != Some('\'') {
            return false;
        }
        if self.next() == Some('\\') {
            self.next();
        }
        self.take_while(|c| c != '\'');
        self.next();
        true
    }
}
