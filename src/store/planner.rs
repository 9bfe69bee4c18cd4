//! What the planner is told on the connections that run these statements.
//!
//! sqlx prepares each statement once a connection, and after five executions Postgres keeps one plan for all further
//! ones. On an idle service it is made while `jobs` is empty, when reading the whole table looks as cheap as anything,
//! and an hour later there are 300,000 rows: measured, 11 s for one claim (docs/queue.md#stable-plans).

/// For connections that work the queue: [`super::jobs`], [`super::record`], [`super::expiry`], [`super::quarantine`],
/// [`super::accept`] and what else runs beside them. JIT goes because what is disabled looks so dear that it starts.
pub const QUEUE: [(&str, &str); 4] =
    [("enable_seqscan", "off"), ("enable_mergejoin", "off"), ("enable_sort", "off"), ("jit", "off")];

/// For those of requests and commands, which read `jobs` too ([`super::status`], [`super::deliveries`]) but also sort
/// lists of devices.
pub const REQUESTS: [(&str, &str); 2] = [("enable_seqscan", "off"), ("jit", "off")];
