//! Ids: small integers and UUIDs within Pushpost, opaque texts in the API.
//!
//! A public device id is the row's number, encrypted with a key of the installation and authenticated together with the
//! app. So it can be neither guessed nor counted, needs no column, and is invalid for another app.

use std::fmt;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

macro_rules! integer_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

integer_id!(
    /// An app: a tenant with its keys, credentials and devices.
    AppId(i16)
);
integer_id!(
    /// A lane: app × provider × environment.
    LaneId(i32)
);
integer_id!(
    /// A node: one run of one process. Jobs are leased to it.
    NodeId(i32)
);
integer_id!(
    /// A job: up to 500 devices of one notification in one lane.
    JobId(i64)
);
integer_id!(
    /// A device's row number. The API shows it only as [`InstallationKey::device_id`].
    #[derive(serde::Serialize, serde::Deserialize)]
    DeviceId(i64)
);

integer_id!(
    /// A clean-up run's row number. The API shows it only as [`InstallationKey::cleanup_run_id`].
    CleanupRunId(i64)
);

integer_id!(
    /// A webhook's row number. The API shows it only as [`InstallationKey::webhook_id`].
    WebhookId(i64)
);

impl LaneId {
    /// Stands in receipts of tokens that have no device, and so no lane.
    pub const NONE: Self = Self(0);
}

impl DeviceId {
    /// Stands for one of `count` rejected tokens of a notification, which has no device: below 0, in the order of the tokens.
    pub fn of_rejected_token(place: usize, count: usize) -> Self {
        let number = |of: usize| i64::try_from(of).unwrap_or(i64::MAX);
        Self(number(place) - number(count))
    }

    /// False for what stands for a rejected token ([`Self::of_rejected_token`]).
    pub fn is_device(self) -> bool {
        self.0 > 0
    }

    /// Can `public` be the public form of an id: `dev_` and 1 to 60 letters and digits? A token never has this form.
    pub fn is_public_form(public: &str) -> bool {
        let id = public.strip_prefix("dev_");
        id.is_some_and(|id| (1..=60).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric()))
    }
}

/// The error of a public id that does not exist, or belongs to another app.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such id")]
pub struct BadId;

/// A notification: a UUIDv7. Its time, by Postgres's clock, determines the partition that holds all rows about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NotificationId(pub Uuid);

impl NotificationId {
    /// Creates an id for a notification accepted at `now`, by Postgres's clock.
    pub fn new(now: DateTime<Utc>) -> Self {
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid())
    }

    /// The lowest id of a time: a bound for ranges and partitions.
    pub fn floor(at: DateTime<Utc>) -> Self {
        let millis = u128::try_from(at.timestamp_millis()).unwrap_or_default();
        Self(Uuid::from_u128(millis << 80))
    }

    /// The time when it was accepted, to the millisecond.
    pub fn at(&self) -> DateTime<Utc> {
        let millis = i64::try_from(self.0.as_u128() >> 80).unwrap_or_default();
        DateTime::from_timestamp_millis(millis).unwrap_or_default()
    }

    /// Parses the public form, `ntf_` and 32 hexadecimal digits.
    pub fn parse(public: &str) -> Result<Self, BadId> {
        let digits = public.strip_prefix("ntf_").ok_or(BadId)?;
        lower_hex::<16>(digits).map(|bytes| Self(Uuid::from_bytes(bytes))).ok_or(BadId)
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ntf_{}", self.0.as_simple())
    }
}

impl fmt::Debug for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An API key's id (`key_…`). It is not the key's secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyId(pub Uuid);

impl KeyId {
    /// Creates a random id.
    pub fn random() -> Self {
        Self(Uuid::from_bytes(rand::random()))
    }

    /// Parses the public form, `key_` and 32 hexadecimal digits.
    pub fn parse(public: &str) -> Result<Self, BadId> {
        let digits = public.strip_prefix("key_").ok_or(BadId)?;
        lower_hex::<16>(digits).map(|bytes| Self(Uuid::from_bytes(bytes))).ok_or(BadId)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key_{}", self.0.as_simple())
    }
}

/// The form of the public ids of one kind of row, and what tells their keys from those of other kinds.
struct PublicIdForm {
    prefix: &'static str,
    tag_purpose: &'static [u8],
    pad_purpose: &'static [u8],
}

const DEVICE_IDS: PublicIdForm =
    PublicIdForm { prefix: "dev_", tag_purpose: b"device tag", pad_purpose: b"device pad" };
const RUN_IDS: PublicIdForm =
    PublicIdForm { prefix: "run_", tag_purpose: b"cleanup run tag", pad_purpose: b"cleanup run pad" };
const WEBHOOK_IDS: PublicIdForm =
    PublicIdForm { prefix: "whk_", tag_purpose: b"webhook tag", pad_purpose: b"webhook pad" };

/// The installation's secret. It is created once, kept in the database and never changed, because public device ids and
/// `apns-id`s are derived from it.
#[derive(Clone)]
pub struct InstallationKey(Hmac<Sha256>);

impl fmt::Debug for InstallationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstallationKey(…)")
    }
}

impl InstallationKey {
    /// Wraps the stored bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Hmac::new_from_slice(&bytes).expect("HMAC takes a key of any length"))
    }

    /// The public form of a device's id, `dev_` and 32 hexadecimal digits.
    pub fn device_id(&self, app: AppId, device: DeviceId) -> String {
        self.public_id(&DEVICE_IDS, app, device.0)
    }

    /// Parses a public device id of this app.
    ///
    /// # Errors
    /// The id does not exist, or belongs to another app.
    pub fn parse_device_id(&self, app: AppId, public: &str) -> Result<DeviceId, BadId> {
        self.parse_public_id(&DEVICE_IDS, app, public).map(DeviceId)
    }

    /// The public form of a clean-up run's id, `run_` and 32 hexadecimal digits.
    pub fn cleanup_run_id(&self, app: AppId, run: CleanupRunId) -> String {
        self.public_id(&RUN_IDS, app, run.0)
    }

    /// Parses a public id of a clean-up run of this app.
    ///
    /// # Errors
    /// The id does not exist, or belongs to another app.
    pub fn parse_cleanup_run_id(&self, app: AppId, public: &str) -> Result<CleanupRunId, BadId> {
        self.parse_public_id(&RUN_IDS, app, public).map(CleanupRunId)
    }

    /// The public form of a webhook's id, `whk_` and 32 hexadecimal digits.
    pub fn webhook_id(&self, app: AppId, webhook: WebhookId) -> String {
        self.public_id(&WEBHOOK_IDS, app, webhook.0)
    }

    /// Parses a public id of a webhook of this app.
    ///
    /// # Errors
    /// The id does not exist, or belongs to another app.
    pub fn parse_webhook_id(&self, app: AppId, public: &str) -> Result<WebhookId, BadId> {
        self.parse_public_id(&WEBHOOK_IDS, app, public).map(WebhookId)
    }

    /// The `apns-id` of every attempt for this notification and device: a UUIDv8 of an HMAC. So a repeated attempt
    /// after a crash has the same id, it needs no storage, and device numbers can't be derived from it
    /// (docs/queue.md#notification-ids-at-providers).
    pub fn message_id(&self, notification: NotificationId, device: DeviceId) -> Uuid {
        let mac = self.mac(&[notification.0.as_bytes(), &device.0.to_be_bytes()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&mac[..16]);
        Uuid::new_v8(bytes)
    }

    fn public_id(&self, form: &PublicIdForm, app: AppId, number: i64) -> String {
        let tag = self.tag(form, app, number);
        let masked = number as u64 ^ u64::from_be_bytes(self.pad(form, &tag));
        format!("{}{:016x}{masked:016x}", form.prefix, u64::from_be_bytes(tag))
    }

    fn parse_public_id(&self, form: &PublicIdForm, app: AppId, public: &str) -> Result<i64, BadId> {
        let bytes: [u8; 16] = public.strip_prefix(form.prefix).and_then(lower_hex).ok_or(BadId)?;
        let (tag, masked) = bytes.split_first_chunk::<8>().ok_or(BadId)?;
        let masked = u64::from_be_bytes(masked.try_into().map_err(|_| BadId)?);
        let number = (masked ^ u64::from_be_bytes(self.pad(form, tag))) as i64;
        if self.tag(form, app, number) == *tag { Ok(number) } else { Err(BadId) }
    }

    fn tag(&self, form: &PublicIdForm, app: AppId, number: i64) -> [u8; 8] {
        first_8(&self.mac(&[form.tag_purpose, &app.0.to_be_bytes(), &number.to_be_bytes()]))
    }

    fn pad(&self, form: &PublicIdForm, tag: &[u8; 8]) -> [u8; 8] {
        first_8(&self.mac(&[form.pad_purpose, tag]))
    }

    pub(super) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

fn first_8(mac: &[u8; 32]) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&mac[..8]);
    out
}

/// Parses exactly `2 * N` lower-case hexadecimal digits. Upper case is refused, so that an id has one spelling.
fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut out = [0; N];
    hex::decode_to_slice(text, &mut out).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> InstallationKey {
        InstallationKey::new([7; 32])
    }

    #[test]
    fn a_device_id_is_valid_for_its_own_app_only() {
        let public = key().device_id(AppId(1), DeviceId(42));
        assert_eq!(key().parse_device_id(AppId(1), &public), Ok(DeviceId(42)));
        assert_eq!(key().parse_device_id(AppId(2), &public), Err(BadId));
        assert_eq!(InstallationKey::new([8; 32]).parse_device_id(AppId(1), &public), Err(BadId));
        assert_ne!(key().device_id(AppId(1), DeviceId(43))[..20], public[..20]);
    }

    #[test]
    fn a_run_id_is_valid_for_its_own_app_only_and_is_no_device_id() {
        let public = key().cleanup_run_id(AppId(1), CleanupRunId(42));
        assert_eq!(key().parse_cleanup_run_id(AppId(1), &public), Ok(CleanupRunId(42)));
        assert_eq!(key().parse_cleanup_run_id(AppId(2), &public), Err(BadId));
        let as_device = public.replace("run_", "dev_");
        assert_eq!(key().parse_device_id(AppId(1), &as_device), Err(BadId));
    }

    #[test]
    fn a_webhook_id_is_valid_for_its_own_app_only() {
        let public = key().webhook_id(AppId(1), WebhookId(42));
        assert!(public.starts_with("whk_"));
        assert_eq!(key().parse_webhook_id(AppId(1), &public), Ok(WebhookId(42)));
        assert_eq!(key().parse_webhook_id(AppId(2), &public), Err(BadId));
    }

    #[test]
    fn a_changed_or_misspelt_device_id_is_refused() {
        let public = key().device_id(AppId(1), DeviceId(42));
        let mut last = public.clone();
        let flipped = if last.pop() == Some('0') { '1' } else { '0' };
        last.push(flipped);
        for wrong in [&last, &public.to_uppercase(), &format!("{public}0"), "dev_", "dev_é", "ntf_00"] {
            assert_eq!(key().parse_device_id(AppId(1), wrong), Err(BadId), "{wrong}");
        }
    }

    #[test]
    fn a_token_never_has_the_form_of_a_device_id() {
        for id in [&key().device_id(AppId(1), DeviceId(42)), "dev_x", &format!("dev_{}", "Z9".repeat(30))] {
            assert!(DeviceId::is_public_form(id), "{id}");
        }
        let token = "c0ffee".repeat(10) + "cafe";
        for text in [&*token, "", "dev_", "dev-1", "dev_a:b", "dev_é", &format!("dev_{}", "9".repeat(61))] {
            assert!(!DeviceId::is_public_form(text), "{text}");
        }
    }

    #[test]
    fn an_apns_id_is_a_stable_version_8_uuid_of_notification_and_device() {
        let id = NotificationId(Uuid::from_u128(1));
        let apns_id = key().message_id(id, DeviceId(42));
        assert_eq!(apns_id, key().message_id(id, DeviceId(42)));
        assert_ne!(apns_id, key().message_id(id, DeviceId(43)));
        assert_eq!(apns_id.get_version_num(), 8);
        // The id must survive upgrades: an attempt that is repeated after an upgrade must have the same id.
        assert_eq!(apns_id.to_string(), "333db8c5-2ce6-8fce-9e5b-9e7e2cab17bb");
    }

    #[test]
    fn a_notification_id_holds_its_time_and_is_parsed_back() {
        let at = DateTime::from_timestamp_millis(1_795_000_000_123).expect("in range");
        let id = NotificationId::new(at);
        assert_eq!(NotificationId::parse(&id.to_string()), Ok(id));
        assert!(id >= NotificationId::floor(at));
        assert!(id < NotificationId::floor(at + chrono::TimeDelta::milliseconds(1)));
        assert_eq!(NotificationId::parse("ntf_x"), Err(BadId));
    }
}
