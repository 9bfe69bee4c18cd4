//! The lanes: permits, claims, attempts.
