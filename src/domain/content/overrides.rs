//! The parts of a notification that only one provider uses.

use std::sync::LazyLock;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::domain::Platform;

static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// What a request says to one provider each, by the name of the provider's platform. A provider checks its own part and
/// merges it into its message last (RFC 7396).
///
/// The order of the parts and of their members stays as it was read.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ProviderOverrides(Vec<(String, Map<String, Value>)>);

impl ProviderOverrides {
    /// Adds the part of a provider that has none yet.
    pub fn add(&mut self, platform: impl Into<String>, part: Map<String, Value>) {
        self.0.push((platform.into(), part));
    }

    /// The part of a provider; empty if there is none.
    pub fn of(&self, platform: Platform) -> &Map<String, Value> {
        let part = self.0.iter().find(|(name, _)| name == platform.as_str());
        part.map_or(&NOTHING, |(_, part)| part)
    }

    /// The object that is a member of a provider's part; empty if there is none.
    pub fn object(&self, platform: Platform, member: &str) -> &Map<String, Value> {
        // Each rendering asks several times. Comparing a few names is faster than hashing one.
        let found = self.of(platform).iter().find(|(name, _)| *name == member);
        found.and_then(|(_, value)| value.as_object()).unwrap_or(&NOTHING)
    }
}

impl Serialize for ProviderOverrides {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, part)| (name, part)))
    }
}
