//! The states of a lane, as they are stored and shown in the API.

use super::wire_enum::wire_enum;

wire_enum! {
    /// The state of a lane. States are ordered: the worse of two is the greater.
    LaneState {
        /// This node has not read the state since its start. The state that another node reports counts instead.
        Unknown = -1 "unknown",
        /// The lane sends.
        Running = 0 "running",
        /// The lane waits because the provider asked it to.
        Throttled = 1 "throttled",
        /// The lane waits because the provider or the connection to it does not work.
        Broken = 2 "broken",
        /// The provider rejected the credential or the configuration of the lane.
        Suspended = 3 "suspended",
        /// An operator stopped the lane.
        Paused = 4 "paused",
    }
}
