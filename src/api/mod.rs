//! HTTP in, domain out; the only place that chooses a reply status.
