//! Label sets that several groups use.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;

use super::Histogram;

/// A family of histograms with one set of bounds.
pub(super) type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// A lane, such as `shop/fcm`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct LaneLabel {
    pub(super) lane: String,
}

/// An app, by its name in the configuration.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct AppLabel {
    pub(super) app: String,
}

/// A cause of a closed list.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct CauseLabel {
    pub(super) cause: &'static str,
}
