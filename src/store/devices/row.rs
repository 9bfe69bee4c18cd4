//! The row of a device and its conversion to [`Device`]. The columns are named here only.

use chrono::{DateTime, Utc};

use super::{Device, Quarantine, Replacement};
use crate::domain::{
    AppId, AppVersion, DeviceId, DeviceToken, Kind, Locale, Platforms, QuarantineReason, Source, TimeZone,
    UserId,
};
use crate::store::Error;

/// A checked query for whole devices: the condition (and whatever follows it) as a literal, then its arguments.
macro_rules! devices_where {
    ($condition:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            DeviceRow,
            "select device_id, app_id, platform, environment, environment_proven, kind, source, token, user_id,
                    locale, timezone, app_version, created_at, registered_at, quarantined_at, quarantine_reason,
                    evidence_at, replaces_id, replaces_at
             from devices where " + $condition,
            $($argument),+
        )
    };
}
pub(super) use devices_where;

/// A row of the table `devices`.
pub(super) struct DeviceRow {
    pub(super) device_id: i64,
    pub(super) app_id: i16,
    pub(super) platform: i16,
    pub(super) environment: i16,
    pub(super) environment_proven: bool,
    pub(super) kind: i16,
    pub(super) source: i16,
    pub(super) token: String,
    pub(super) user_id: Option<String>,
    pub(super) locale: Option<String>,
    pub(super) timezone: Option<String>,
    pub(super) app_version: Option<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) registered_at: Option<DateTime<Utc>>,
    pub(super) quarantined_at: Option<DateTime<Utc>>,
    pub(super) quarantine_reason: Option<String>,
    pub(super) evidence_at: Option<DateTime<Utc>>,
    pub(super) replaces_id: Option<i64>,
    pub(super) replaces_at: Option<DateTime<Utc>>,
}

impl Device {
    /// Reads a row; `known` are the platforms of this node.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] for a number that stands for nothing here.
    pub(super) fn from_row(row: DeviceRow, known: &Platforms) -> Result<Self, Error> {
        let odd = |column| Error::Inconsistent { table: "devices", column, row: row.device_id };
        let platform = known.from_code(row.platform).ok_or_else(|| odd("platform"))?;
        Ok(Self {
            id: DeviceId(row.device_id),
            app: AppId(row.app_id),
            platform,
            environment: platform.environment_from_code(row.environment),
            environment_proven: row.environment_proven,
            kind: Kind::from_code(row.kind).ok_or_else(|| odd("kind"))?,
            source: Source::from_code(row.source).ok_or_else(|| odd("source"))?,
            token: DeviceToken::stored(row.token),
            user: row.user_id.map(UserId::stored),
            locale: row.locale.map(Locale::stored),
            timezone: row.timezone.map(TimeZone::stored),
            app_version: row.app_version.map(AppVersion::stored),
            created_at: row.created_at,
            registered_at: row.registered_at,
            quarantine: row.quarantined_at.map(|at| Quarantine {
                at,
                reason: QuarantineReason(row.quarantine_reason.unwrap_or_default()),
                evidence_at: row.evidence_at,
            }),
            replaces: row
                .replaces_id
                .zip(row.replaces_at)
                .map(|(id, at)| Replacement { device: DeviceId(id), at }),
        })
    }
}
