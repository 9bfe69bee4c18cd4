//! Platforms, as providers state them, and the lanes that follow: app × platform × environment.
//!
//! A platform is the service that issued a device token. Each provider states its [`PlatformFacts`] in its own folder
//! (`provider/apns/platform.rs`); code outside asks these facts and names no provider.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::{BadToken, DeviceToken, Kind, OperatorAdvice};

/// What a provider states about its device tokens and lanes. All of it is fixed at compile time.
#[derive(Debug)]
pub struct PlatformFacts {
    /// The name in the API, in the configuration and in lane names. Never changes.
    pub name: &'static str,
    /// The name in sentences for people.
    pub title: &'static str,
    /// One of its tokens in sentences for people, with its article.
    pub token_title: &'static str,
    /// The number in the database. Never changes, and is never used again.
    pub code: i16,
    /// How devices are spread over lanes.
    pub environments: Environments,
    /// The kinds of token that there are. A platform with one kind sends everything to it.
    pub kinds: &'static [Kind],
    /// Checks a token as a caller wrote it (a string's content, or an object's JSON) and returns its stored form: what
    /// identifies the target and, after a space, what else is needed to send to it. Takes the stored form too, because an
    /// export writes it as a string.
    pub parse_token: fn(&str) -> Result<String, BadToken>,
    /// May a caller write the token as a JSON object? For targets with several parts.
    pub has_object_tokens: bool,
    /// Does the provider give each accepted message an id of its own? If not, the id that was sent with it counts,
    /// which is derived from notification and device.
    pub names_messages: bool,
    /// The reason with which the provider refuses a token that belongs to its other environment. None: it never does.
    pub other_environment_reason: Option<&'static str>,
    /// What operators are told about a lane of it that has stopped.
    pub advice: OperatorAdvice,
}

/// How the devices of a platform are spread over lanes.
#[derive(Clone, Copy, Debug)]
pub enum Environments {
    /// One lane for all devices.
    None,
    /// One lane per environment. The caller states the environment of a device, else the app's default is used.
    Stated(&'static [Environment]),
    /// One lane per environment. The environment is part of the device token.
    InToken {
        /// All environments of the platform.
        all: &'static [Environment],
        /// Finds the environment of a token that [`PlatformFacts::parse_token`] took.
        of: fn(&DeviceToken) -> Environment,
    },
}

/// A part of a provider that is reached by itself and fails by itself, such as Apple's sandbox or one of several push
/// services.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Environment {
    code: i16,
    name: &'static str,
}

impl Environment {
    /// States an environment. `code` is the number in the database, from 1; 0 stands for none.
    pub const fn new(code: i16, name: &'static str) -> Self {
        Self { code, name }
    }

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        self.name
    }

    /// The number in the database; none is 0.
    pub fn code(environment: Option<Self>) -> i16 {
        environment.map_or(0, |environment| environment.code)
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The service that issued a token, which is not the phone's system: an iPhone with the Firebase SDK is `fcm`. Compared
/// and ordered by the number in the database.
#[derive(Clone, Copy)]
pub struct Platform(&'static PlatformFacts);

impl Platform {
    /// The platform with these facts.
    pub const fn new(facts: &'static PlatformFacts) -> Self {
        Self(facts)
    }

    /// What its provider states.
    pub const fn facts(self) -> &'static PlatformFacts {
        self.0
    }

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        self.0.name
    }

    /// The number in the database.
    pub const fn code(self) -> i16 {
        self.0.code
    }

    /// Its environments; none if all its devices share one lane.
    pub const fn environments(self) -> &'static [Environment] {
        match self.0.environments {
            Environments::None => &[],
            Environments::Stated(all) | Environments::InToken { all, .. } => all,
        }
    }

    /// The environments that a caller may name for a device.
    pub const fn stated_environments(self) -> &'static [Environment] {
        match self.0.environments {
            Environments::Stated(all) => all,
            Environments::None | Environments::InToken { .. } => &[],
        }
    }

    /// The environment of a device if only its token is known; `default` is that of the app.
    pub fn environment_of(self, token: &DeviceToken, default: Option<Environment>) -> Option<Environment> {
        match self.0.environments {
            Environments::None => None,
            Environments::Stated(all) => default.or(all.first().copied()),
            Environments::InToken { of, .. } => Some(of(token)),
        }
    }

    /// The environment of a number in the database.
    pub fn environment_from_code(self, code: i16) -> Option<Environment> {
        self.environments().iter().copied().find(|environment| environment.code == code)
    }

    /// Does a notification reach only the devices of the kind that its push type needs?
    pub const fn has_kinds(self) -> bool {
        self.0.kinds.len() > 1
    }

    /// Its lanes, in the order of environments.
    pub fn lanes(self) -> impl Iterator<Item = LaneKey> {
        let environments = self.environments();
        let single = environments.is_empty().then_some(LaneKey { platform: self, environment: None });
        let several = environments.iter().map(move |environment| LaneKey::new(self, Some(*environment)));
        single.into_iter().chain(several)
    }
}

impl PartialEq for Platform {
    fn eq(&self, other: &Self) -> bool {
        self.code() == other.code()
    }
}

impl Eq for Platform {}

impl PartialOrd for Platform {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Platform {
    fn cmp(&self, other: &Self) -> Ordering {
        self.code().cmp(&other.code())
    }
}

impl Hash for Platform {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.code().hash(state);
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A lane within its app. What goes wrong in a lane stays in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey {
    platform: Platform,
    environment: Option<Environment>,
}

impl LaneKey {
    /// The lane of a platform and environment, as stored or stated.
    pub const fn new(platform: Platform, environment: Option<Environment>) -> Self {
        Self { platform, environment }
    }

    /// The lane of a device. Where the device has no environment and the platform has some, the first one counts.
    pub fn of(platform: Platform, environment: Option<Environment>) -> Self {
        let environments = platform.environments();
        let environment = environment.filter(|environment| environments.contains(environment));
        Self { platform, environment: environment.or(environments.first().copied()) }
    }

    /// The platform of the lane.
    pub const fn platform(self) -> Platform {
        self.platform
    }

    /// The environment; none if all devices of the platform share one lane.
    pub const fn environment(self) -> Option<Environment> {
        self.environment
    }

    /// The lane that may take a token which this one calls bad: the same platform's in its other environment. Only
    /// where the provider confuses the two.
    pub fn in_other_environment(self) -> Option<Self> {
        let environment = self.environment?;
        self.platform.facts().other_environment_reason?;
        let mut others = self.platform.environments().iter().filter(|other| **other != environment);
        others.next().map(|other| Self { environment: Some(*other), ..self })
    }
}

impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.environment {
            Some(environment) => write!(f, "{}-{environment}", self.platform),
            None => write!(f, "{}", self.platform),
        }
    }
}

impl fmt::Debug for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The platforms that a node knows, by number, ascending. Cheap to clone. Two services in one process may differ in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Platforms(Arc<[Platform]>);

impl Platforms {
    /// The set of these platforms.
    pub fn new(platforms: impl IntoIterator<Item = Platform>) -> Self {
        let mut platforms: Vec<Platform> = platforms.into_iter().collect();
        platforms.sort_unstable();
        Self(platforms.into())
    }

    /// In the order in which answers name them.
    pub fn iter(&self) -> impl Iterator<Item = Platform> + '_ {
        self.0.iter().copied()
    }

    /// All platforms, as a list.
    pub fn as_slice(&self) -> &[Platform] {
        &self.0
    }

    /// Their names in the API.
    pub fn names(&self) -> Vec<&'static str> {
        self.iter().map(Platform::as_str).collect()
    }

    /// Parses the name in the API.
    pub fn parse(&self, name: &str) -> Option<Platform> {
        self.iter().find(|platform| platform.as_str() == name)
    }

    /// The platform of a number in the database. None: a newer version wrote it, or a provider that this node lacks.
    pub fn from_code(&self, code: i16) -> Option<Platform> {
        self.iter().find(|platform| platform.code() == code)
    }

    /// Every lane that an app can have.
    pub fn lanes(&self) -> impl Iterator<Item = LaneKey> + '_ {
        self.iter().flat_map(Platform::lanes)
    }

    /// Parses a lane's name in the API: `apns-production`.
    pub fn parse_lane(&self, name: &str) -> Option<LaneKey> {
        self.lanes().find(|key| key.to_string() == name)
    }

    /// Every environment that a caller may name for a device of some platform.
    pub fn stated_environments(&self) -> Vec<Environment> {
        self.iter().flat_map(Platform::stated_environments).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_platform::{EAST, STRUCTURED, WEST};

    const SINGLE: Platform = Platform::new(&PlatformFacts {
        name: "single",
        title: "Single",
        token_title: "a token",
        code: 8,
        environments: Environments::None,
        kinds: &[Kind::Alert],
        parse_token: |text| Ok(text.to_owned()),
        has_object_tokens: false,
        names_messages: true,
        other_environment_reason: None,
        advice: OperatorAdvice::GENERAL,
    });

    #[test]
    fn platforms_are_found_by_name_and_number_and_have_their_lanes() {
        let platforms = Platforms::new([SINGLE, STRUCTURED]);
        assert_eq!(platforms.names(), ["structured", "single"]);
        assert_eq!(platforms.parse("single"), Some(SINGLE));
        assert_eq!((platforms.from_code(7), platforms.from_code(1)), (Some(STRUCTURED), None));
        let lanes: Vec<String> = platforms.lanes().map(|lane| lane.to_string()).collect();
        assert_eq!(lanes, ["structured-east", "structured-west", "single"]);
        for lane in platforms.lanes() {
            assert_eq!(platforms.parse_lane(&lane.to_string()), Some(lane));
            assert_eq!(LaneKey::of(lane.platform(), lane.environment()), lane);
        }
    }

    #[test]
    fn the_environment_is_the_tokens_the_apps_or_none() {
        let token = DeviceToken::parse(STRUCTURED, "west.example/1 k").expect("a token");
        assert_eq!(STRUCTURED.environment_of(&token, Some(EAST)), Some(WEST));
        assert_eq!(SINGLE.environment_of(&token, Some(EAST)), None);
        assert_eq!(LaneKey::of(SINGLE, Some(EAST)).environment(), None);
        assert_eq!(
            (STRUCTURED.environment_from_code(2), STRUCTURED.environment_from_code(0)),
            (Some(WEST), None)
        );
    }
}
