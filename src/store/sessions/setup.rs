//! Sets each session up by `SET` after connecting, and checks the settings, in one round trip.
//!
//! Statements must not depend on settings of the database or the role. Start-up parameters are not used, because
//! connection poolers refuse them.

use std::io;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tokio::time::timeout;

use super::orphans::ServerProcess;
use crate::store::{planner, timeline};

/// What the sessions of a pool are used for. Deadlines and planner settings depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Requests of clients, and commands.
    Requests,
    /// The queue: claims, fan-outs, the pruner.
    Queue,
    /// The committer, which stores new notifications while clients wait.
    Accept,
    /// The committer of notifications with idempotency keys, which may wait for another node's transaction.
    AcceptKeyed,
    /// The recorder, which writes outcomes in large statements.
    Record,
    /// The node's heartbeat.
    Heartbeat,
    /// The leader's duties, each of which works in batches.
    Maintenance,
    /// Wake-ups between nodes.
    WakeUps,
    /// What operators are shown: the leader's figures, and answers about single notifications. So nothing that is shown
    /// delays what is sent.
    Observe,
    /// Migrations, which have no deadline.
    Migration,
}

impl Purpose {
    /// The name of its pool in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Queue => "queue",
            Self::Accept => "accept",
            Self::AcceptKeyed => "accept_keyed",
            Self::Record => "record",
            Self::Heartbeat => "heartbeat",
            Self::Maintenance => "maintenance",
            Self::WakeUps => "wake_ups",
            Self::Observe => "observe",
            Self::Migration => "migration",
        }
    }

    /// How long a statement may take. After a silent loss of all connections a client has its 202 within 15 s. The
    /// heartbeat, and with it `/readyz`, goes on within 10 s.
    pub(super) fn statement_deadline(self) -> Duration {
        Duration::from_secs(match self {
            Self::Heartbeat => 4,
            Self::Observe => 5,
            Self::Accept | Self::AcceptKeyed | Self::WakeUps => 6,
            Self::Requests | Self::Queue | Self::Record => 10,
            Self::Maintenance | Self::Migration => 15,
        })
    }

    fn planner(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Requests => &planner::REQUESTS,
            Self::Observe => &planner::OBSERVE,
            Self::AcceptKeyed => &planner::ACCEPT_KEYED,
            Self::WakeUps | Self::Migration => &[],
            _ => &planner::QUEUE,
        }
    }
}

/// The queue's statements are written for this isolation level.
const ISOLATION: (&str, &str) = ("default_transaction_isolation", "read committed");

/// A 202 promises a durable commit. `remote_apply`, which waits for more than `on`, stays.
const DURABILITY: &str = "select set_config('synchronous_commit',
    case current_setting('synchronous_commit') when 'remote_apply' then 'remote_apply' else 'on' end, false);";

/// With these the server notices a client that is gone in silence: an idle one after about 30 s, one that does not read
/// answers after 20 s. They have no effect over Unix sockets.
const KEEPALIVES: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "10s"),
    ("tcp_keepalives_interval", "5s"),
    ("tcp_keepalives_count", "4"),
    ("tcp_user_timeout", "20s"),
];

/// While a statement runs, the server checks every 2 s whether its client is still there. Not every operating system
/// can do that.
const CONNECTION_CHECK: &str = "do $$ begin
    perform set_config('client_connection_check_interval', '2s', false);
exception when others then null; end $$;";

/// The server ends a session that does nothing for this long, in a transaction or out of one: the last resort.
const IDLE_MAX: [(&str, &str); 2] =
    [("idle_in_transaction_session_timeout", "60s"), ("idle_session_timeout", "2h")];
/// The server ends a statement this long after its deadline. The deadline comes first, because it also treats the
/// connection.
const GRACE: Duration = Duration::from_secs(2);

/// The largest value of `statement_timeout`.
const TIMEOUT_MS_MAX: u128 = i32::MAX as u128;

/// How long a statement waits for a lock of another session. The wait ends before the deadline, so that one locked row
/// does not block a session that requests wait for, and the leader goes on with its other duties. Statements of the
/// other purposes skip locked rows, or wait until their deadline.
fn lock_timeout(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Requests => "3s",
        // A request with a key that another node stores at this moment waits for so long (`idempotency_key_in_use`).
        Purpose::AcceptKeyed => "5s",
        Purpose::Maintenance | Purpose::Observe => "2s",
        _ => "0",
    }
}

/// Removes start-up parameters, which connection poolers refuse.
pub(super) fn without_parameters(options: PgConnectOptions) -> PgConnectOptions {
    options.extra_float_digits(None)
}

/// Connects and sets the session up. `logs_events`: its statements write events, as `logs_events()` tells them.
pub(super) async fn open(
    options: &PgConnectOptions,
    purpose: Purpose,
    deadline: Option<Duration>,
    logs_events: bool,
) -> Result<(PgConnection, ServerProcess), sqlx::Error> {
    let mut conn = PgConnection::connect_with(options).await.map_err(|error| match error {
        // sqlx reports the end of the connection during the start as a protocol error.
        sqlx::Error::Protocol(text) => io::Error::new(io::ErrorKind::UnexpectedEof, text).into(),
        other => other,
    })?;
    let rows =
        sqlx::raw_sql(AssertSqlSafe(script(purpose, deadline, logs_events))).fetch_all(&mut conn).await?;
    let row = rows.last().ok_or(sqlx::Error::RowNotFound)?;
    let backend = ServerProcess { pid: row.try_get("pid")?, started: row.try_get("started")? };
    for (name, value) in checked(purpose) {
        check(row, name, |actual| actual == value)?;
    }
    check(row, "synchronous_commit", is_durable)?;
    // Before anything is stored over the connection. Migrations create what this compares.
    if purpose != Purpose::Migration {
        timeline::follow(&mut conn).await?;
    }
    Ok((conn, backend))
}

fn checked(purpose: Purpose) -> impl Iterator<Item = (&'static str, &'static str)> {
    std::iter::once(ISOLATION).chain(purpose.planner().iter().copied())
}

/// True if a commit that was answered is not lost in a crash of the server, with this value of `synchronous_commit`.
pub fn is_durable(synchronous_commit: &str) -> bool {
    matches!(synchronous_commit, "on" | "remote_apply")
}

fn check(row: &PgRow, name: &str, is_expected: impl Fn(&str) -> bool) -> Result<(), sqlx::Error> {
    let actual: String = row.try_get(name)?;
    if is_expected(&actual) {
        return Ok(());
    }
    let text = format!("the session has {name} = {actual} although pushpost has just set it otherwise");
    Err(sqlx::Error::Configuration(text.into()))
}

/// # Errors
/// The server is a standby, or read-only.
pub(super) async fn check_writable(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let question = "select pg_is_in_recovery() or current_setting('transaction_read_only') = 'on'";
    let is_read_only: bool = sqlx::raw_sql(question).fetch_one(conn).await?.try_get(0)?;
    if !is_read_only {
        return Ok(());
    }
    Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the server takes no writes")))
}

fn script(purpose: Purpose, deadline: Option<Duration>, logs_events: bool) -> String {
    let timeout_ms = deadline.map_or(0, |deadline| (deadline + GRACE).as_millis().min(TIMEOUT_MS_MAX));
    let mut script = format!("set statement_timeout = {timeout_ms};\n");
    script.push_str(&format!("set lock_timeout = '{}';\n", lock_timeout(purpose)));
    for (name, value) in checked(purpose).chain(KEEPALIVES).chain(IDLE_MAX) {
        script.push_str(&format!("set {name} = '{value}';\n"));
    }
    if !logs_events {
        script.push_str("set pushpost.events = 'off';\n");
    }
    script.push_str(DURABILITY);
    script.push_str(CONNECTION_CHECK);
    script.push_str("\nselect pid, backend_start::text as started");
    script.push_str(", current_setting('synchronous_commit') as synchronous_commit");
    for (name, _) in checked(purpose) {
        script.push_str(&format!(", current_setting('{name}') as {name}"));
    }
    script.push_str(" from pg_stat_activity where pid = pg_backend_pid()");
    script
}

/// Longest time for an answer to a client that has a session already. A server, and a pooler in session mode, answers
/// at once.
const POOLER_TIMEOUT: Duration = Duration::from_secs(2);

/// True if each client of this server keeps its session for as long as it is connected. A connection pooler in
/// transaction or statement mode lends one session to many clients: settings, prepared statements and `LISTEN` are
/// lost.
///
/// Two clients find out: while the second one is in a transaction, the statements of the first one must still run in
/// the same server process, and never in that of the second one.
///
/// # Errors
/// Postgres is out of reach.
pub async fn check_session_pooling(options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let options = without_parameters(options.clone());
    let mut one = PgConnection::connect_with(&options).await?;
    let mut other = PgConnection::connect_with(&options).await?;
    let first = backend(&mut one).await?;
    let again = backend(&mut one).await?;
    match other.execute("BEGIN").await {
        Ok(_) => {}
        // A pooler in statement mode refuses a transaction.
        Err(sqlx::Error::Database(_)) => return Ok(false),
        Err(error) => return Err(error),
    }
    let second = backend(&mut other).await?;
    // A pooler with one session for all clients has none left.
    let Ok(last) = timeout(POOLER_TIMEOUT, backend(&mut one)).await else { return Ok(false) };
    let last = last?;
    other.execute("ROLLBACK").await?;
    one.close().await?;
    other.close().await?;
    Ok(first == again && first == last && first != second)
}

/// The server process of a connection. By the simple protocol, because a prepared statement would stay in a session of
/// other clients.
async fn backend(conn: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(conn).await?.try_get(0)
}
