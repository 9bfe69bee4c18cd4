//! The states of a lane, as they are stored and shown.

use super::wire_enum::wire_enum;

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
