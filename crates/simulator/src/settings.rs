//! How a simulator is set up. Every default is the providers' own number, so tests shorten only what they test.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::LedgerMode;

/// All settings; `Settings::default()` binds free ports on loopback.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of all ports.
    pub bind: IpAddr,
    /// Production APNs; 0 takes a free port.
    pub apns_port: u16,
    /// Sandbox APNs; absent: none.
    pub sandbox_port: Option<u16>,
    /// FCM and OAuth.
    pub fcm_port: u16,
    /// Plain HTTP for scripts and the ledger; absent: none.
    pub control_port: Option<u16>,
    /// What the APNs ports demand.
    pub apns: ApnsSettings,
    /// What the FCM port demands.
    pub fcm: FcmSettings,
    /// Every provider answer waits this long.
    pub latency: Duration,
    /// And a part of this, drawn from the seed.
    pub latency_spread: Duration,
    /// What a stream beyond the limit gets.
    pub overflow: Overflow,
    /// Drives shares and spreads.
    pub seed: u64,
    /// How much the ledger keeps.
    pub ledger: LedgerMode,
}

/// APNs: the keys and topics that it takes.
#[derive(Debug, Clone)]
pub struct ApnsSettings {
    /// Bundle ids that the key may send for.
    pub bundles: Vec<String>,
    /// `iss` of the provider token.
    pub team_id: String,
    /// `kid` of the provider token.
    pub key_id: String,
    /// Streams per connection after the first valid provider token; before it there is one.
    pub streams: u32,
    /// An `iat` further than this from now, either way, is `ExpiredProviderToken`
    /// (docs/providers.md#apns-provider-token).
    pub jwt_max_age: Duration,
    /// Two provider tokens on one connection within this time are `TooManyProviderTokenUpdates`.
    pub jwt_min_refresh: Duration,
    /// After `ExpiredProviderToken` a connection never accepts another token (docs/providers.md#apns-provider-token,
    /// disputed: so the worse case).
    pub wedge_after_expired: bool,
    /// A rejection lowers the stream limit to 1 until the next accepted push (docs/providers.md#apns-http2, observed).
    pub streams_drop_on_rejection: bool,
}

/// FCM and OAuth: the project and accounts that they take.
#[derive(Debug, Clone)]
pub struct FcmSettings {
    /// The project of the service account.
    pub project_id: String,
    /// `iss` of the assertion.
    pub client_email: String,
    /// Streams per connection.
    pub streams: u32,
    /// `expires_in` of an access token.
    pub token_life: Duration,
    /// A connection without a request for so long gets GOAWAY `session_timed_out`
    /// (docs/providers.md#connection-failures).
    pub idle_close: Option<Duration>,
}

/// What happens to a stream beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// RST_STREAM with REFUSED_STREAM, as RFC 9113 advises.
    #[default]
    Refuse,
    /// GOAWAY that spares nothing new, as APNs (REFUSED_STREAM) and FCM (PROTOCOL_ERROR) have been seen to do
    /// (docs/providers.md#apns-http2, #connection-failures).
    GoAway,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            apns_port: 0,
            sandbox_port: Some(0),
            fcm_port: 0,
            control_port: Some(0),
            apns: ApnsSettings::default(),
            fcm: FcmSettings::default(),
            latency: Duration::ZERO,
            latency_spread: Duration::ZERO,
            overflow: Overflow::default(),
            seed: 1,
            ledger: LedgerMode::Full,
        }
    }
}

impl Default for ApnsSettings {
    fn default() -> Self {
        Self {
            bundles: vec!["com.example.shop".to_owned()],
            team_id: "DEF123GHIJ".to_owned(),
            key_id: "ABC123DEFG".to_owned(),
            streams: 1000,
            jwt_max_age: Duration::from_secs(3600),
            jwt_min_refresh: Duration::from_secs(20 * 60),
            wedge_after_expired: true,
            streams_drop_on_rejection: false,
        }
    }
}

impl Default for FcmSettings {
    fn default() -> Self {
        Self {
            project_id: "shop-1".to_owned(),
            client_email: "pushpost@shop-1.iam.gserviceaccount.com".to_owned(),
            streams: 100,
            token_life: Duration::from_secs(3599),
            idle_close: None,
        }
    }
}
