//! Accept, claim, lease and record: the durable queue.

pub mod accept;
