//! Text of others as operators see it.

use std::ops::RangeInclusive;

/// The category Cf of Unicode 16: characters that are not seen and change how others are shown, such as marks that turn the
/// direction of a text round.
const FORMAT: &[RangeInclusive<char>] = &[
    '\u{ad}'..='\u{ad}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2060}'..='\u{2064}',
    '\u{2066}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0001}'..='\u{e0001}',
    '\u{e0020}'..='\u{e007f}',
];

/// The characters of a text that can be seen, and a space for each white space. Neither controls (Cc) nor formats (Cf) remain, so
/// a text of others can neither command a terminal nor look like another text.
pub fn printable(text: &str) -> impl Iterator<Item = char> {
    let spaced = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    spaced.filter(|c| !c.is_control() && *c != char::REPLACEMENT_CHARACTER && !is_format(*c))
}

fn is_format(c: char) -> bool {
    FORMAT.iter().any(|range| range.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_and_formats_are_left_out() {
        let of = |text: &str| printable(text).collect::<String>();
        assert_eq!(of("one\ttwo\r\nth\u{7}ree \u{e9}\u{2028}\u{fffd}"), "one two  three \u{e9} ");
        assert_eq!(of("\u{1b}[2Jabc\u{9b}1m"), "[2Jabc1m");
        assert_eq!(of("a\u{202e}b\u{2066}c\u{200d}d\u{ad}e\u{feff}f\u{61c}g\u{e0041}h\u{1d173}"), "abcdefgh");
        // Letters, marks and pictures beside these ranges stay.
        let kept = "\u{5d0}\u{627}\u{606}\u{2030}\u{2065}\u{2070}\u{1f514}\u{301}";
        assert_eq!(of(kept), kept);
    }
}
