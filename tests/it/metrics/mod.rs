//! Metrics and figures: each under the load that changes it, and against what is on record.

mod figures;
