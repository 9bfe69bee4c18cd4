//! APNs push types (docs/providers.md#apns-push-types). In the domain, since the audience depends on them: each needs
//! its kind of token.

use super::Kind;

/// `apns-push-type`, but for `mdm`, which is no app's to send.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PushType {
    /// Something to see or hear.
    Alert,
    /// Wakes the app without a sign; priority 5 only.
    Background,
    /// Location query.
    Location,
    /// A call.
    Voip,
    /// Watch complication.
    Complication,
    /// File provider change.
    FileProvider,
    /// Live Activity.
    LiveActivity,
    /// Push to Talk.
    PushToTalk,
    /// Widget reload.
    Widgets,
    /// Control reload.
    Controls,
}

impl PushType {
    /// Every push type that can be sent.
    pub const ALL: [Self; 10] = [
        Self::Alert,
        Self::Background,
        Self::Location,
        Self::Voip,
        Self::Complication,
        Self::FileProvider,
        Self::LiveActivity,
        Self::PushToTalk,
        Self::Widgets,
        Self::Controls,
    ];

    /// The header's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Background => "background",
            Self::Location => "location",
            Self::Voip => "voip",
            Self::Complication => "complication",
            Self::FileProvider => "fileprovider",
            Self::LiveActivity => "liveactivity",
            Self::PushToTalk => "pushtotalk",
            Self::Widgets => "widgets",
            Self::Controls => "controls",
        }
    }

    /// Reads the header's value.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|push_type| push_type.as_str() == name)
    }

    /// What follows the bundle id in `apns-topic`.
    pub fn topic_suffix(self) -> &'static str {
        match self {
            Self::Alert | Self::Background => "",
            Self::Location => ".location-query",
            Self::Voip => ".voip",
            Self::Complication => ".complication",
            Self::FileProvider => ".pushkit.fileprovider",
            Self::LiveActivity => ".push-type.liveactivity",
            Self::PushToTalk => ".voip-ptt",
            Self::Widgets => ".push-type.widgets",
            Self::Controls => ".push-type.controls",
        }
    }

    /// Largest body in bytes.
    pub fn payload_limit(self) -> usize {
        if self == Self::Voip { 5120 } else { 4096 }
    }

    /// The kind of token that takes it. A Live Activity is started by one token and updated by another.
    pub fn kind(self, starts_activity: bool) -> Kind {
        match self {
            Self::Alert | Self::Background => Kind::Alert,
            Self::Location => Kind::Location,
            Self::Voip => Kind::Voip,
            Self::Complication => Kind::Complication,
            Self::FileProvider => Kind::FileProvider,
            Self::LiveActivity if starts_activity => Kind::LiveActivityStart,
            Self::LiveActivity => Kind::LiveActivity,
            Self::PushToTalk => Kind::PushToTalk,
            Self::Widgets => Kind::Widgets,
            Self::Controls => Kind::Controls,
        }
    }
}
