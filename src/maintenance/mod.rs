//! The leader's duties, one file each.
