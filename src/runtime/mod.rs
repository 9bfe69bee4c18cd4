//! The composition root and the two-stage shutdown.
