//! Nodes: one row per start of a process. A job is leased to a node for as long as the node lives.

use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::{FactKind, NodeId};
use crate::store::Session;

/// What a heartbeat reads.
#[derive(Clone, Debug)]
pub struct Beat {
    /// Number of living nodes, with this one.
    pub living_nodes: i64,
    /// Postgres's time, read within the statement.
    pub clock: DateTime<Utc>,
    /// The server and timeline of the database: see [`super::timeline`].
    pub timeline: Option<String>,
}

/// A node that has just been registered.
#[derive(Clone, Debug)]
pub struct RegisteredNode {
    /// The id that the node got.
    pub node: NodeId,
    /// Postgres's time, read within the statement.
    pub clock: DateTime<Utc>,
    /// The server and timeline of the database.
    pub timeline: Option<String>,
}

/// What a node tells of itself when it registers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeDescription {
    /// A name to recognise the node by: its host and process id, separated by a hyphen.
    pub name: String,
    /// The version of its program.
    pub version: &'static str,
    /// What it does: `all`, `api` or `worker`.
    pub role: &'static str,
}

/// A node as operators see it.
#[derive(Clone, PartialEq, Debug)]
pub struct ListedNode {
    /// The node's id.
    pub node: NodeId,
    /// Its host and process id, separated by a hyphen.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// What it does: `all`, `api` or `worker`.
    pub role: String,
    /// When it registered.
    pub started_at: DateTime<Utc>,
    /// Seconds since its last heartbeat.
    pub heartbeat_age_seconds: f64,
    /// It lives and is the leader.
    pub leads: bool,
    /// It shuts down.
    pub is_draining: bool,
    /// When other nodes declared it dead; none while it lives.
    pub dead_at: Option<DateTime<Utc>>,
}

/// A node as the leader and the other nodes watch it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatchedNode {
    /// The node's id.
    pub node: NodeId,
    /// Its heartbeat counter.
    pub beat: i64,
    /// It was declared dead.
    pub dead: bool,
    /// It is the leader, or was the last one.
    pub leads: bool,
}

impl NodeDescription {
    /// A node of this program that answers requests and sends.
    pub fn of_this_program(name: impl Into<String>) -> Self {
        Self { name: name.into(), version: env!("CARGO_PKG_VERSION"), role: "all" }
    }
}

/// Registers a new node, and tells the event log of every app.
pub async fn register(conn: &mut Session, node: &NodeDescription) -> Result<RegisteredNode, Error> {
    let row = sqlx::query!(
        r#"
        with started as (
          insert into nodes (name, version, role) values ($1, $2, $3) returning node_id, name, version),
        facts as (
          insert into event_outbox (app_id, kind, fact)
          select app_id, $4, convert_to(json_build_object(
                   'node', node_id, 'name', started.name, 'version', version)::text, 'UTF8')
          from started, apps where logs_events())
        select node_id, clock_timestamp() as "clock!", (select timeline from installation) as timeline from started
        "#,
        node.name,
        node.version,
        node.role,
        FactKind::NodeStarted.code()
    )
    .fetch_one(&mut *conn)
    .await?;
    conn.note_events();
    Ok(RegisteredNode { node: NodeId(row.node_id), clock: row.clock, timeline: row.timeline })
}

/// Counts a node's heartbeat up, and says whether it shuts down. None: the node was declared dead, so it must drop what it
/// has leased and register again.
pub async fn beat(conn: &mut Session, node: NodeId, is_draining: bool) -> Result<Option<Beat>, Error> {
    let row = sqlx::query!(
        r#"
        update nodes set beat = beat + 1, beat_at = now(), is_draining = $2 where node_id = $1 and dead_at is null
        returning (select count(*) from nodes where dead_at is null) as "living_nodes!", clock_timestamp() as "clock!",
                  (select timeline from installation) as timeline
        "#,
        node.0,
        is_draining
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Beat { living_nodes: row.living_nodes, clock: row.clock, timeline: row.timeline }))
}

/// Every living node, and those that other nodes declared dead within the last day. A dead node is left out from the moment
/// at which a node starts on its host: the process was started again. In the order of their ids.
pub async fn list(conn: &mut Session) -> Result<Vec<ListedNode>, Error> {
    let rows = sqlx::query!(
        r#"
        select node_id, name, version, role, started_at,
               extract(epoch from clock_timestamp() - beat_at)::float8 as "heartbeat_age_seconds!",
               dead_at is null and exists (select from leader l where l.node_id = n.node_id) as "leads!",
               is_draining, dead_at
        from nodes n
        where dead_at is null or dead_at > now() - interval '1 day' and not ended_orderly and not exists (
          select from nodes later where later.node_id > n.node_id
            and regexp_replace(later.name, '-[0-9]+$', '') = regexp_replace(n.name, '-[0-9]+$', ''))
        order by node_id
        "#
    )
    .fetch_all(conn)
    .await?;
    let listed = rows.into_iter().map(|row| ListedNode {
        node: NodeId(row.node_id),
        name: row.name,
        version: row.version,
        role: row.role,
        started_at: row.started_at,
        heartbeat_age_seconds: row.heartbeat_age_seconds,
        leads: row.leads,
        is_draining: row.is_draining,
        dead_at: row.dead_at,
    });
    Ok(listed.collect())
}

/// Every living node, and every node that died within the last day.
pub async fn watch(conn: &mut Session) -> Result<Vec<WatchedNode>, Error> {
    let rows = sqlx::query!(
        r#"
        select node_id, beat, dead_at is not null as "dead!",
               exists (select from leader l where l.node_id = n.node_id) as "leads!"
        from nodes n
        "#
    )
    .fetch_all(conn)
    .await?;
    let watched = rows.into_iter().map(|row| WatchedNode {
        node: NodeId(row.node_id),
        beat: row.beat,
        dead: row.dead,
        leads: row.leads,
    });
    Ok(watched.collect())
}

/// Declares a node dead if its heartbeat still has the value that was watched, and tells the event log of every app. Returns
/// whether it did.
pub async fn mark_dead(conn: &mut Session, node: NodeId, beat: i64) -> Result<bool, Error> {
    let done = sqlx::query_scalar!(
        r#"
        with died as (
          update nodes set dead_at = now() where node_id = $1 and beat = $2 and dead_at is null
          returning node_id, name, version),
        facts as (
          insert into event_outbox (app_id, kind, fact)
          select app_id, $3, convert_to(json_build_object(
                   'node', node_id, 'name', died.name, 'version', version)::text, 'UTF8')
          from died, apps where logs_events())
        select true as "is_dead!" from died
        "#,
        node.0,
        beat,
        FactKind::NodeDied.code()
    )
    .fetch_optional(&mut *conn)
    .await?;
    conn.note_events();
    Ok(done.is_some())
}

/// Declares every living node but `except` dead, and tells the event log of every app. Only for a process that is alone on its
/// embedded database.
pub async fn mark_others_dead(conn: &mut Session, except: NodeId) -> Result<Vec<NodeId>, Error> {
    let rows = sqlx::query_scalar!(
        r#"
        with died as (
          update nodes set dead_at = now(), ended_orderly = true where node_id <> $1 and dead_at is null
          returning node_id, name, version),
        facts as (
          insert into event_outbox (app_id, kind, fact)
          select app_id, $2, convert_to(json_build_object(
                   'node', node_id, 'name', died.name, 'version', version)::text, 'UTF8')
          from died, apps where logs_events())
        select node_id as "node_id!" from died
        "#,
        except.0,
        FactKind::NodeDied.code()
    )
    .fetch_all(&mut *conn)
    .await?;
    conn.note_events();
    Ok(rows.into_iter().map(NodeId).collect())
}

/// Declares this node dead itself, after it has released what it had leased.
pub async fn deregister(conn: &mut Session, node: NodeId) -> Result<(), Error> {
    sqlx::query!(
        "update nodes set dead_at = now(), ended_orderly = true where node_id = $1 and dead_at is null",
        node.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes the rows of nodes that died more than a day ago and have no job. Returns how many.
pub async fn purge(conn: &mut Session) -> Result<u64, Error> {
    sqlx::query!(
        "delete from lane_reports where node_id = any(array(select node_id from nodes where dead_at is not null))"
    )
    .execute(&mut *conn)
    .await?;
    let done = sqlx::query!(
        "
        delete from nodes n where dead_at < now() - interval '1 day'
          and not exists (select 1 from jobs j where j.node_id = n.node_id)
        "
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
