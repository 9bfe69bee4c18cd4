//! Lanes: app × provider × environment. What goes wrong in a lane stays in it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::wire_enum::wire_enum;

/// The service that issued a token, which is not the phone's system: an iPhone with the Firebase SDK is `fcm`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging.
    Fcm,
}

impl Platform {
    /// Every platform, in the order in which answers name them.
    pub const ALL: [Self; 2] = [Self::Apns, Self::Fcm];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
        }
    }

    /// Reads the name in the API.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.as_str() == name)
    }

    /// The number in the database.
    pub fn code(self) -> i16 {
        match self {
            Self::Apns => 1,
            Self::Fcm => 2,
        }
    }

    /// Reads the number in the database.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.code() == code)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of Apple's two worlds a token belongs to, fixed by how the app was signed
/// (docs/providers.md#apns-hosts-and-tls). FCM has none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// The App Store's and TestFlight's.
    Production,
    /// Development builds'.
    Sandbox,
}

impl Environment {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Production, Self::Sandbox];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Sandbox => "sandbox",
        }
    }

    /// Reads the name in the API.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|environment| environment.as_str() == name)
    }

    /// The number in the database; none is 0.
    pub fn code(environment: Option<Self>) -> i16 {
        match environment {
            None => 0,
            Some(Self::Production) => 1,
            Some(Self::Sandbox) => 2,
        }
    }

    /// Reads the number in the database.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|environment| Self::code(Some(*environment)) == code)
    }

    /// The one that it isn't.
    pub fn other(self) -> Self {
        match self {
            Self::Production => Self::Sandbox,
            Self::Sandbox => Self::Production,
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

wire_enum! {
    /// Whether a lane sends; the worse of two is the greater.
    LaneState {
        /// No node has read it since its start; whatever a node that has read it says is worse.
        Unknown = -1 "unknown",
        /// It sends.
        Running = 0 "running",
        /// The provider asked it to wait.
        Throttled = 1 "throttled",
        /// The provider, or the way to it, is out of order.
        Broken = 2 "broken",
        /// The provider rejected its credential or configuration.
        Suspended = 3 "suspended",
        /// An admin stopped it.
        Paused = 4 "paused",
    }
}

/// A lane within its app.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LaneKey {
    /// APNs in one environment.
    Apns(Environment),
    /// FCM.
    Fcm,
}

impl LaneKey {
    /// Every lane that an app can have.
    pub const ALL: [Self; 3] =
        [Self::Apns(Environment::Production), Self::Apns(Environment::Sandbox), Self::Fcm];

    /// The lane of a device.
    pub fn of(platform: Platform, environment: Option<Environment>) -> Self {
        match platform {
            Platform::Apns => Self::Apns(environment.unwrap_or(Environment::Production)),
            Platform::Fcm => Self::Fcm,
        }
    }

    /// The platform.
    pub fn platform(self) -> Platform {
        match self {
            Self::Apns(_) => Platform::Apns,
            Self::Fcm => Platform::Fcm,
        }
    }

    /// Reads the name in the API: `apns-production`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.to_string() == name)
    }

    /// The environment; none for FCM.
    pub fn environment(self) -> Option<Environment> {
        match self {
            Self::Apns(environment) => Some(environment),
            Self::Fcm => None,
        }
    }
}

impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apns(environment) => write!(f, "apns-{environment}"),
            Self::Fcm => f.write_str("fcm"),
        }
    }
}
