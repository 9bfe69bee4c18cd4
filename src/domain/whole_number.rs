//! Whole numbers as JSON writes them. `7`, `7.0` and `70e-1` are the same number, as for JSON Schema's `integer`.

use serde_json::{Number, Value};

/// Why a text is not a whole number of 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadWholeNumber {
    /// The text is no number of JSON, or a number with a fraction.
    NotWhole,
    /// A whole number that 64 bits do not hold.
    OutOfRange,
}

/// The value of a number, read from its digits: no digit is lost on the way through a floating-point number.
pub fn parse_whole_number(text: &str) -> Result<i64, BadWholeNumber> {
    // Only checks the form, because `arbitrary_precision` keeps the digits as they are.
    text.parse::<Number>().map_err(|_| BadWholeNumber::NotWhole)?;
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (sign, digits) = mantissa.strip_prefix('-').map_or(("", mantissa), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    // An exponent of more than 64 bits outweighs any digits.
    let exponent = exponent.parse().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX });
    let moved = digits.len() as i64 - significant.len() as i64 - fraction.len() as i64;
    let zeros = usize::try_from(exponent.saturating_add(moved)).map_err(|_| BadWholeNumber::NotWhole)?;
    let significant = significant.trim_start_matches('0');
    if significant.len().saturating_add(zeros) > i64::MAX.ilog10() as usize + 1 {
        return Err(BadWholeNumber::OutOfRange);
    }
    format!("{sign}{significant}{}", "0".repeat(zeros)).parse().map_err(|_| BadWholeNumber::OutOfRange)
}

/// The whole number that a value is, if 64 bits hold it.
pub fn as_whole_number(value: &Value) -> Option<i64> {
    parse_whole_number(&value.as_number()?.to_string()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction_of_zeros_or_an_exponent() {
        for (text, number) in [
            ("0", 0),
            ("7", 7),
            ("7.0", 7),
            ("269.000", 269),
            ("-7.0", -7),
            ("-0", 0),
            ("-0.0", 0),
            ("0e99999999999999999999", 0),
            ("0.00e-99999999999999999999", 0),
            ("7e0", 7),
            ("7E+2", 700),
            ("70e-1", 7),
            ("0.7e1", 7),
            ("1.50e1", 15),
            ("1000000000000000000000e-20", 10),
            ("0.000000000000000000000001e24", 1),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("9223372036854775807.0", i64::MAX),
            ("-9.223372036854775808e18", i64::MIN),
        ] {
            assert_eq!(parse_whole_number(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn a_number_with_a_fraction_and_a_large_one_are_told_apart() {
        use BadWholeNumber::{NotWhole, OutOfRange};
        for (text, fault) in [
            ("0.5", NotWhole),
            ("7.0000000000000000000000000001", NotWhole),
            ("1e-1", NotWhole),
            ("1e-400", NotWhole),
            ("1e-99999999999999999999", NotWhole),
            ("10e-2", NotWhole),
            ("9223372036854775808", OutOfRange),
            ("-9223372036854775809", OutOfRange),
            ("9223372036854775808.0", OutOfRange),
            ("1e19", OutOfRange),
            ("1e400", OutOfRange),
            ("-1e99999999999999999999", OutOfRange),
            ("", NotWhole),
            ("-", NotWhole),
            ("+7", NotWhole),
            ("07", NotWhole),
            (" 7", NotWhole),
            ("7.", NotWhole),
            (".7", NotWhole),
            ("7e", NotWhole),
            ("0x7", NotWhole),
            ("7_0", NotWhole),
            ("NaN", NotWhole),
        ] {
            assert_eq!(parse_whole_number(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn a_value_is_a_whole_number_whatever_its_form() {
        let value = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(as_whole_number(&value("1.0")), Some(1));
        assert_eq!(as_whole_number(&value("1E2")), Some(100));
        for other in ["1.5", "\"1\"", "true", "null", "[1]"] {
            assert_eq!(as_whole_number(&value(other)), None, "{other}");
        }
    }
}
