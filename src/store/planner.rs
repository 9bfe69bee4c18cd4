//! Planner settings of the connections that run the statements of this folder. Set by [`super::sessions`].
//!
//! sqlx prepares each statement once per connection, and after five executions Postgres keeps one plan for all later
//! ones. On an idle service the plan is made while `jobs` is empty, when a scan of the whole table looks cheap. An hour
//! later the table may have 300,000 rows: one claim took 11 s, measured (docs/queue.md#stable-plans).

/// Settings for connections that work on the queue: [`super::jobs`], [`super::record`], [`super::waiting_jobs`],
/// [`super::quarantine`], [`super::accept`] and the statements beside them. JIT is off because a disabled plan node
/// looks so expensive that JIT would start.
pub const QUEUE: [(&str, &str); 4] =
    [("enable_seqscan", "off"), ("enable_mergejoin", "off"), ("enable_sort", "off"), ("jit", "off")];

/// Settings for the committer of notifications with keys. `store_idempotency_keys` would be planned again for each batch, because
/// a plan for one day looks cheaper than a plan that chooses the day when it runs. With many keys of the day before, its
/// look-up would start two parallel workers for each batch: 19 ms instead of 3 ms for 60 notifications, measured.
pub const ACCEPT_KEYED: [(&str, &str); 6] = [
    QUEUE[0],
    QUEUE[1],
    QUEUE[2],
    QUEUE[3],
    ("plan_cache_mode", "force_generic_plan"),
    ("max_parallel_workers_per_gather", "0"),
];

/// Settings for what observes: the readers of the event log, the leader's figures and explanations. A page of the log names a few ids, and a plan
/// for their day alone looks cheaper than one that chooses the days when it runs, so Postgres would plan each page again: 1.2 ms for a
/// statement that then runs 0.03 ms, measured with 16 days.
pub const OBSERVE: [(&str, &str); 3] = [REQUESTS[0], REQUESTS[1], ("plan_cache_mode", "force_generic_plan")];

/// Settings for requests and commands. They read `jobs` too ([`super::status`], [`super::deliveries`]), and they sort
/// lists of devices.
pub const REQUESTS: [(&str, &str); 2] = [("enable_seqscan", "off"), ("jit", "off")];
