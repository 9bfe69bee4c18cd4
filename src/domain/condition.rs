//! Conditions over topics, such as `news && (sport || !finance)`. A condition consists of topic names, `!`, `&&`, `||`
//! and parentheses, which bind in that order. FCM's form of a name, `'news' in topics`, is understood too.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::TopicName;

/// Names in one condition; a name that occurs twice counts twice.
const NAMES_MAX: usize = 20;
/// Depth of `!` and `(`. Parsing and evaluation recurse as deep.
const DEPTH_MAX: usize = 50;

/// A condition that selects devices by their topics. `T` is how it names a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition<T = TopicName> {
    /// The device is subscribed to this topic.
    Topic(T),
    /// The inner condition does not hold.
    Not(Box<Self>),
    /// All of the conditions hold; there are two or more.
    All(Vec<Self>),
    /// At least one of the conditions holds; there are two or more.
    Any(Vec<Self>),
}

/// The place where a text is not a condition. It does not repeat the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("at byte {offset} there must be {expected}")]
pub struct BadCondition {
    /// The place, in bytes from the start.
    pub offset: usize,
    /// What would be accepted at that place.
    pub expected: &'static str,
}

impl Condition {
    /// Parses a condition.
    ///
    /// # Errors
    /// The first place where the text is not a condition.
    pub fn parse(text: &str) -> Result<Self, BadCondition> {
        let mut parser = Parser { text, at: 0, names: 0, depth: 0 };
        let condition = parser.any()?;
        if parser.at < text.len() {
            return Err(parser.expected("`&&`, `||` or the end"));
        }
        Ok(condition)
    }

    /// The topics that the condition names, each once. Whether it holds depends on no other topic.
    pub fn topics(&self) -> HashSet<&TopicName> {
        match self {
            Self::Topic(name) => HashSet::from([name]),
            Self::Not(inner) => inner.topics(),
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::topics).collect(),
        }
    }

    /// How strongly the outermost operator binds.
    fn rank(&self) -> u8 {
        match self {
            Self::Topic(_) => 3,
            Self::Not(_) => 2,
            Self::All(_) => 1,
            Self::Any(_) => 0,
        }
    }
}

impl<T> Condition<T> {
    /// Does the condition hold for a device that has the topics for which `has` is true?
    pub fn holds(&self, has: &impl Fn(&T) -> bool) -> bool {
        match self {
            Self::Topic(topic) => has(topic),
            Self::Not(inner) => !inner.holds(has),
            Self::All(parts) => parts.iter().all(|part| part.holds(has)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(has)),
        }
    }

    /// The same condition with other names of its topics.
    pub fn map<U>(&self, name: &impl Fn(&T) -> U) -> Condition<U> {
        let all = |parts: &[Self]| parts.iter().map(|part| part.map(name)).collect();
        match self {
            Self::Topic(topic) => Condition::Topic(name(topic)),
            Self::Not(inner) => Condition::Not(Box::new(inner.map(name))),
            Self::All(parts) => Condition::All(all(parts)),
            Self::Any(parts) => Condition::Any(all(parts)),
        }
    }
}

/// As its text.
impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// The text that [`Condition::parse`] parses to an equal condition, with as few parentheses as possible.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |f: &mut fmt::Formatter<'_>, part: &Self, least| match part.rank() >= least {
            true => write!(f, "{part}"),
            false => write!(f, "({part})"),
        };
        let (parts, operator) = match self {
            Self::Topic(name) => return write!(f, "{name}"),
            Self::Not(inner) => {
                f.write_str("!")?;
                return part(f, inner, self.rank());
            }
            Self::All(parts) => (parts, " && "),
            Self::Any(parts) => (parts, " || "),
        };
        for (index, inner) in parts.iter().enumerate() {
            if index > 0 {
                f.write_str(operator)?;
            }
            part(f, inner, self.rank() + 1)?;
        }
        Ok(())
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The position of the next byte, always at the start of a character.
    at: usize,
    names: usize,
    depth: usize,
}

impl Parser<'_> {
    fn any(&mut self) -> Result<Condition, BadCondition> {
        self.chain("||", Self::all, Condition::Any)
    }

    fn all(&mut self) -> Result<Condition, BadCondition> {
        self.chain("&&", Self::operand, Condition::All)
    }

    fn chain(
        &mut self,
        operator: &str,
        part: fn(&mut Self) -> Result<Condition, BadCondition>,
        joined: fn(Vec<Condition>) -> Condition,
    ) -> Result<Condition, BadCondition> {
        let first = part(self)?;
        let mut parts = vec![first];
        while self.take(operator) {
            parts.push(part(self)?);
        }
        match parts.pop() {
            Some(only) if parts.is_empty() => Ok(only),
            last => Ok(joined(parts.into_iter().chain(last).collect())),
        }
    }

    fn operand(&mut self) -> Result<Condition, BadCondition> {
        self.skip_space();
        let start = self.at;
        if self.take("!") {
            let inner = self.deeper(start, Self::operand)?;
            return Ok(Condition::Not(Box::new(inner)));
        }
        if self.take("(") {
            let inner = self.deeper(start, Self::any)?;
            if !self.take(")") {
                return Err(self.expected("`&&`, `||` or `)`"));
            }
            return Ok(inner);
        }
        self.name()
    }

    fn deeper(
        &mut self,
        start: usize,
        inner: fn(&mut Self) -> Result<Condition, BadCondition>,
    ) -> Result<Condition, BadCondition> {
        if self.depth == DEPTH_MAX {
            return Err(BadCondition {
                offset: start,
                expected: "a topic, because at most 50 `!` and `(` may be within each other",
            });
        }
        self.depth += 1;
        let inner = inner(self);
        self.depth -= 1;
        inner
    }

    fn name(&mut self) -> Result<Condition, BadCondition> {
        let start = self.at;
        let quoted = self.take("'");
        let word = self.word();
        if word.is_empty() {
            let expected = if quoted { "a topic" } else { "a topic, `!` or `(`" };
            return Err(BadCondition { offset: self.at, expected });
        }
        let Some(topic) = TopicName::parse(word) else {
            return Err(BadCondition { offset: start, expected: "a topic of at most 100 characters" });
        };
        if quoted {
            if !self.rest().starts_with('\'') {
                return Err(BadCondition { offset: self.at, expected: "`'`" });
            }
            self.at += 1;
            for expected in ["in", "topics"] {
                self.skip_space();
                let offset = self.at;
                if self.word() != expected {
                    return Err(BadCondition { offset, expected: "`in topics`" });
                }
            }
        }
        self.names += 1;
        if self.names > NAMES_MAX {
            return Err(BadCondition {
                offset: start,
                expected: "no further topic, because a condition has at most 20",
            });
        }
        Ok(Condition::Topic(topic))
    }

    /// Takes the longest text that consists of characters of a topic.
    fn word(&mut self) -> &str {
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_.~:-".contains(c))).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Takes `token` if it comes next.
    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let comes = self.rest().starts_with(token);
        if comes {
            self.at += token.len();
        }
        comes
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_ascii_start().len();
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn expected(&self, expected: &'static str) -> BadCondition {
        BadCondition { offset: self.at, expected }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topics(names: &[&str]) -> HashSet<TopicName> {
        names.iter().filter_map(|name| TopicName::parse(name)).collect()
    }

    fn holds(text: &str, names: &[&str]) -> bool {
        let topics = topics(names);
        Condition::parse(text).expect(text).holds(&|topic| topics.contains(topic))
    }

    fn fault(text: &str) -> (usize, &'static str) {
        let bad = Condition::parse(text).expect_err(text);
        (bad.offset, bad.expected)
    }

    #[test]
    fn operators_bind_in_their_order() {
        for (text, whole) in [
            ("a || b && c", "a || (b && c)"),
            ("a && b || c", "(a && b) || c"),
            ("!a && b", "(!a) && b"),
            ("!a||b", "(!a) || b"),
            ("!!a", "!(!a)"),
            ("!(a && b) || c && !d", "(!(a && b)) || (c && (!d))"),
        ] {
            assert_eq!(Condition::parse(text), Condition::parse(whole), "{text}");
        }
        assert!(holds("news && (sport || !finance)", &["news"]));
        assert!(holds("news && (sport || !finance)", &["news", "sport", "finance"]));
        assert!(!holds("news && (sport || !finance)", &["news", "finance"]));
        assert!(!holds("news && (sport || !finance)", &["sport"]));
    }

    #[test]
    fn names_in_fcms_form_are_understood() {
        let theirs = "'news' in topics && ('sport' in topics || !('a-b' in topics))";
        assert_eq!(Condition::parse(theirs), Condition::parse("news && (sport || !a-b)"));
        assert!(
            holds("in && topics", &["in", "topics"]),
            "in and topics are names where FCM's form does not have them"
        );
    }

    #[test]
    fn names_are_case_sensitive_topics() {
        assert!(holds("  team:42 ", &["team:42"]));
        assert!(!holds("News", &["news"]));
        let condition = Condition::parse("a && (b || !a)").expect("sound");
        assert_eq!(condition.topics(), topics(&["a", "b"]).iter().collect());
    }

    #[test]
    fn an_error_has_the_place_and_what_was_expected() {
        const OPERAND: &str = "a topic, `!` or `(`";
        for (text, offset, expected) in [
            ("news && (sport", 14, "`&&`, `||` or `)`"),
            ("", 0, OPERAND),
            ("  ", 2, OPERAND),
            ("news &&", 7, OPERAND),
            ("news && && sport", 8, OPERAND),
            ("&& news", 0, OPERAND),
            ("news sport", 5, "`&&`, `||` or the end"),
            ("news & sport", 5, "`&&`, `||` or the end"),
            ("news)", 4, "`&&`, `||` or the end"),
            ("()", 1, OPERAND),
            ("!", 1, OPERAND),
            ("é", 0, OPERAND),
            ("a || é", 5, OPERAND),
            ("aé", 1, "`&&`, `||` or the end"),
            ("'news", 5, "`'`"),
            ("'' in topics", 1, "a topic"),
            ("'news' in", 9, "`in topics`"),
            ("'news' && b", 7, "`in topics`"),
        ] {
            assert_eq!(fault(text), (offset, expected), "{text}");
        }
        assert_eq!(fault(&format!("a || {}", "x".repeat(101))), (5, "a topic of at most 100 characters"));
    }

    #[test]
    fn names_and_depth_are_bounded() {
        let names = |count: usize| vec!["a"; count].join("||");
        assert!(Condition::parse(&names(20)).is_ok());
        assert_eq!(fault(&names(21)), (60, "no further topic, because a condition has at most 20"));
        let deep = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(Condition::parse(&deep(50)).is_ok());
        assert_eq!(fault(&deep(51)).0, 50);
        assert_eq!(fault(&"!".repeat(1_000_000)).0, 50);
        assert_eq!(fault(&"(".repeat(1_000_000)).0, 50);
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let leaf = "[abc]".prop_map(|name| Condition::Topic(TopicName::parse(&name).expect("a letter")));
        leaf.prop_recursive(4, 12, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|inner| Condition::Not(Box::new(inner))),
                prop::collection::vec(inner.clone(), 2..4).prop_map(Condition::All),
                prop::collection::vec(inner, 2..4).prop_map(Condition::Any),
            ]
        })
        .prop_filter("few enough names", |condition| {
            condition.to_string().matches(char::is_alphabetic).count() <= 20
        })
    }

    /// The condition with parentheses around each operator.
    fn in_full(condition: &Condition) -> String {
        let join =
            |parts: &[Condition], operator| parts.iter().map(in_full).collect::<Vec<_>>().join(operator);
        match condition {
            Condition::Topic(name) => name.to_string(),
            Condition::Not(inner) => format!("(!{})", in_full(inner)),
            Condition::All(parts) => format!("({})", join(parts, "&&")),
            Condition::Any(parts) => format!("({})", join(parts, "||")),
        }
    }

    proptest! {
        #[test]
        fn a_displayed_condition_is_parsed_to_an_equal_one(condition in condition()) {
            prop_assert_eq!(Condition::parse(&condition.to_string()), Ok(condition.clone()));
            prop_assert_eq!(Condition::parse(&in_full(&condition)), Ok(condition.clone()));
            let stored = serde_json::to_vec(&condition).expect("a text");
            prop_assert_eq!(serde_json::from_slice::<Condition>(&stored).expect("as stored"), condition);
        }

        #[test]
        fn any_text_is_a_condition_or_has_an_error_within(text in "[ab!&|()' é\n]{0,40}|'a' in topics.{0,9}|.{0,20}") {
            match Condition::parse(&text) {
                Ok(condition) => prop_assert_eq!(Condition::parse(&condition.to_string()), Ok(condition)),
                Err(bad) => prop_assert!(text.is_char_boundary(bad.offset), "{} in {text:?}", bad.offset),
            }
        }
    }
}
