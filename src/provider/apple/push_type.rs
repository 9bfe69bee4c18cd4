//! APNs push types (docs/providers.md#apns-push-types). Each needs tokens of its kind.

use crate::domain::Kind;

/// The values of the header `apns-push-type`, without `mdm`, which apps can't send.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in crate::provider) enum PushType {
    /// A notification that shows or plays something.
    Alert,
    /// A notification that wakes the app and shows nothing. Its priority must be 5.
    Background,
    /// A query of the location.
    Location,
    /// An incoming call.
    Voip,
    /// An update of a complication on a watch.
    Complication,
    /// A change that a file provider signals.
    FileProvider,
    /// An event of a Live Activity.
    LiveActivity,
    /// A call of Push to Talk.
    PushToTalk,
    /// A reload of a widget.
    Widgets,
    /// A reload of a control.
    Controls,
}

impl PushType {
    /// Every push type that can be sent.
    pub(in crate::provider) const ALL: [Self; 10] = [
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
    pub(in crate::provider) fn as_str(self) -> &'static str {
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

    /// Parses the header's value.
    pub(in crate::provider) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|push_type| push_type.as_str() == name)
    }

    /// The part of `apns-topic` after the bundle id.
    pub(in crate::provider) fn topic_suffix(self) -> &'static str {
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

    /// The largest body, in bytes.
    pub(in crate::provider) fn payload_limit(self) -> usize {
        if self == Self::Voip { 5120 } else { 4096 }
    }

    /// The kind of token that it needs. A Live Activity is started by one token and updated by another.
    pub(in crate::provider) fn kind(self, starts_activity: bool) -> Kind {
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
