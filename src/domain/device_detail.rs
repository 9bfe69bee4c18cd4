//! Which devices of a receipt a reader of events is told.

/// Which devices a `delivery.recorded` lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum DeviceDetail {
    /// None. The counts are told all the same.
    None,
    /// Those that ended other than `accepted`.
    Failed,
    /// All devices that ended.
    #[default]
    All,
}

impl DeviceDetail {
    /// All values, in the order in which a fault names them.
    pub const ALL: &[Self] = &[Self::All, Self::Failed, Self::None];

    /// The word in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Failed => "failed",
            Self::All => "all",
        }
    }
}
