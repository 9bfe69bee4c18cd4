//! Words of closed lists as labels, and gauges that count what is held.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::gauge::Gauge;

/// A gauge with a fraction: seconds, or a ratio.
pub type SecondsGauge = Gauge<f64, AtomicU64>;

/// Counts one in a gauge for as long as it lives.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    /// Counts one more.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Defines an enumeration with the word of each variant in a label.
macro_rules! label_words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, in the order of the declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in the label.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}
pub(super) use label_words;
