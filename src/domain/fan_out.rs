//! The part of an audience that is too large to be found before the answer. It is found page by page afterwards
//! (docs/queue.md#fan-out).

use serde::{Deserialize, Serialize};

use super::{DeviceId, Kind, UserId};

/// All active devices that were registered or imported, narrowed by these fields. It is stored as JSON, which a node of
/// another version may read: no field is ever renamed. The version before ignores a new field, and sends to all devices
/// that the field would have left out: see the traps of an audience kind in `ARCHITECTURE.md`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FanOut {
    /// Only devices of this kind. It does not concern platforms without kinds.
    pub kind: Kind,
    /// Only devices of these platforms. None: of all platforms.
    pub platforms: Option<Vec<String>>,
    /// The devices of these users are left out.
    pub except_users: Vec<UserId>,
    /// These devices are left out: they were excepted, or are targets already because they were named.
    pub except_devices: Vec<DeviceId>,
}
