//! Checks of the structure.
