//! An audience that is too large to be found before the answer: it is found page by page (docs/queue.md#fan-out).

use serde::{Deserialize, Serialize};

use super::{DeviceId, Kind, UserId};

/// Who is in it: all active devices that were registered or imported, narrowed by what this says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FanOut {
    /// APNs devices of this kind; FCM devices have none.
    pub kind: Kind,
    /// Only these services; none: all.
    pub platforms: Option<Vec<String>>,
    /// Not the devices of these.
    pub except_users: Vec<UserId>,
    /// Not these: they were excepted, or are targets already, since they were addressed by name.
    pub except_devices: Vec<DeviceId>,
}
