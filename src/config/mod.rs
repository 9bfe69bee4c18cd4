//! The configuration: defaults, file, environment.
