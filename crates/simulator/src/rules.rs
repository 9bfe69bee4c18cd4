//! The script: which rule decides about a request. Rules apply to requests that have passed every check; the
//! first match wins.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use super::rule::{Action, ConnectionFault, Rule, ShareOf};
use super::{Environment, Provider, entry};

/// What a rule is matched against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) provider: Provider,
    pub(super) environment: Option<Environment>,
    pub(super) token: Option<&'a str>,
    /// The `authorization` header's value.
    pub(super) authorization: Option<&'a [u8]>,
    /// Milliseconds since the simulator's start.
    pub(super) elapsed_ms: u64,
}

/// What the first matching rule wants.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) name: Option<String>,
    pub(super) action: Action,
    pub(super) delay: Duration,
}

/// All rules in force.
#[derive(Debug)]
pub(super) struct Rules {
    seed: u64,
    script: RwLock<Script>,
}

#[derive(Debug, Default)]
struct Script {
    lines: Vec<Line>,
    /// Lines that name one token, so that thousands of them cost one look-up.
    by_token: HashMap<String, Vec<usize>>,
    /// All other lines.
    general: Vec<usize>,
}

#[derive(Debug)]
struct Line {
    rule: Rule,
    seen: AtomicU64,
    used: AtomicU64,
    used_by_token: Mutex<HashMap<String, u64>>,
    removed: AtomicBool,
}

impl Rules {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, script: RwLock::default() }
    }

    /// Appends a rule; earlier ones go first.
    pub(super) fn add(&self, rule: Rule) {
        let mut script = self.script.write().expect("no holder panics");
        let index = script.lines.len();
        match &rule.token {
            Some(token) => script.by_token.entry(token.clone()).or_default().push(index),
            None => script.general.push(index),
        }
        script.lines.push(Line {
            rule,
            seen: AtomicU64::new(0),
            used: AtomicU64::new(0),
            used_by_token: Mutex::default(),
            removed: AtomicBool::new(false),
        });
    }

    /// Forgets all rules and how often they were used.
    pub(super) fn clear(&self) {
        *self.script.write().expect("no holder panics") = Script::default();
    }

    /// Ends all rules of this name, and says how many were in force.
    pub(super) fn remove(&self, name: &str) -> usize {
        let script = self.script.read().expect("no holder panics");
        let named = script.lines.iter().filter(|line| line.rule.name.as_deref() == Some(name));
        named.filter(|line| !line.removed.swap(true, Ordering::Relaxed)).count()
    }

    /// How many rules are in force.
    pub(super) fn count(&self) -> usize {
        let script = self.script.read().expect("no holder panics");
        script.lines.iter().filter(|line| !line.removed.load(Ordering::Relaxed)).count()
    }

    /// The rules in force, in order.
    pub(super) fn list(&self) -> Vec<Rule> {
        let script = self.script.read().expect("no holder panics");
        let lines = script.lines.iter().filter(|line| !line.removed.load(Ordering::Relaxed));
        lines.map(|line| line.rule.clone()).collect()
    }

    /// What is wrong with a new connection, by the first rule that matches and is about one of these faults;
    /// counted as used.
    pub(super) fn decide_connection(
        &self,
        subject: Subject<'_>,
        about: fn(ConnectionFault) -> bool,
    ) -> Option<ConnectionFault> {
        let script = self.script.read().expect("no holder panics");
        script.general.iter().find_map(|index| {
            let line = &script.lines[*index];
            let Action::Connection { fault } = line.rule.action else { return None };
            let verdict = about(fault).then(|| line.decide(subject, mixed(self.seed, *index as u64)));
            verdict.flatten().map(|_| fault)
        })
    }

    /// The first rule that matches a request, counted as used.
    pub(super) fn decide(&self, subject: Subject<'_>) -> Option<Verdict> {
        let script = self.script.read().expect("no holder panics");
        let named: &[usize] =
            subject.token.and_then(|token| script.by_token.get(token)).map_or(&[], Vec::as_slice);
        let (mut named, mut general) = (named.iter().peekable(), script.general.iter().peekable());
        loop {
            let index = match (named.peek(), general.peek()) {
                (None, None) => return None,
                (Some(a), Some(b)) if a < b => named.next(),
                (_, Some(_)) => general.next(),
                (Some(_), None) => named.next(),
            };
            let index = *index.expect("it was just peeked at");
            if matches!(script.lines[index].rule.action, Action::Connection { .. }) {
                continue;
            }
            if let Some(verdict) = script.lines[index].decide(subject, mixed(self.seed, index as u64)) {
                return Some(verdict);
            }
        }
    }
}

impl Line {
    fn decide(&self, subject: Subject<'_>, seed: u64) -> Option<Verdict> {
        let rule = &self.rule;
        let token = subject.token.unwrap_or_default();
        let concerned = !self.removed.load(Ordering::Relaxed)
            && rule.provider.is_none_or(|provider| provider == subject.provider)
            && rule.environment.is_none_or(|environment| Some(environment) == subject.environment)
            && rule
                .token_prefix
                .as_deref()
                .is_none_or(|prefix| subject.token.is_some() && token.starts_with(prefix))
            && (rule.other_credentials_than.is_empty()
                || subject
                    .authorization
                    .is_some_and(|shown| !rule.other_credentials_than.contains(&entry::mark(shown))))
            && subject.elapsed_ms >= rule.from_ms
            && rule.until_ms.is_none_or(|until| subject.elapsed_ms < until);
        if !concerned {
            return None;
        }
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        let draw = match rule.share_of {
            ShareOf::Requests => mixed(seed, seen),
            ShareOf::Tokens => mixed(seed, hashed(token)),
        };
        if rule.share.is_some_and(|share| fraction(draw) >= share) || !self.may_still(token) {
            return None;
        }
        let spread = fraction(mixed(draw, 1)) * rule.delay_spread_ms as f64;
        let delay = Duration::from_millis(rule.delay_ms) + Duration::from_secs_f64(spread / 1000.0);
        Some(Verdict { name: rule.name.clone(), action: rule.action.clone(), delay })
    }

    fn may_still(&self, token: &str) -> bool {
        if let Some(times) = self.rule.times_per_token {
            let mut used = self.used_by_token.lock().expect("no holder panics");
            if used.get(token).is_some_and(|used| *used >= times) {
                return false;
            }
            *used.entry(token.to_owned()).or_default() += 1;
        }
        self.rule.times.is_none_or(|times| self.used.fetch_add(1, Ordering::Relaxed) < times)
    }
}

/// The finaliser of splitmix64: spreads consecutive numbers evenly.
pub(super) fn mixed(seed: u64, value: u64) -> u64 {
    let mut z = seed.wrapping_add(value.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number from 0 to below 1.
pub(super) fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// FNV-1a: the same for a text in every run, unlike the standard library's.
fn hashed(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
