//! Nodes: one row per start of a process. A job is leased while its node lives.

use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::NodeId;
use crate::store::Session;

/// What a beat brings back.
#[derive(Clone, Debug)]
pub struct Beat {
    /// How many nodes live, this one among them.
    pub living: i64,
    /// Postgres's time.
    pub clock: DateTime<Utc>,
    /// The line of history that the database is on: see [`super::timeline`].
    pub timeline: Option<String>,
}

/// A node that has just been entered.
#[derive(Clone, Debug)]
pub struct RegisteredNode {
    /// Which.
    pub node: NodeId,
    /// Postgres's time.
    pub clock: DateTime<Utc>,
    /// The line of history that the database is on.
    pub timeline: Option<String>,
}

/// A node as the others watch it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatchedNode {
    /// Which.
    pub node: NodeId,
    /// Its count.
    pub beat: i64,
    /// Has it been called dead?
    pub dead: bool,
    /// Is it the leader, or was it the last one?
    pub leads: bool,
}

/// Enters a new node.
pub async fn register(conn: &mut Session, name: &str) -> Result<RegisteredNode, Error> {
    let row = sqlx::query!(
        r#"
        insert into nodes (name) values ($1)
        returning node_id, clock_timestamp() as "clock!", (select timeline from installation) as timeline
        "#,
        name
    )
    .fetch_one(conn)
    .await?;
    Ok(RegisteredNode { node: NodeId(row.node_id), clock: row.clock, timeline: row.timeline })
}

/// Counts up. None: this node was called dead; it drops what it holds and starts again under a new id.
pub async fn beat(conn: &mut Session, node: NodeId) -> Result<Option<Beat>, Error> {
    let row = sqlx::query!(
        r#"
        update nodes set beat = beat + 1 where node_id = $1 and dead_at is null
        returning (select count(*) from nodes where dead_at is null) as "living!", clock_timestamp() as "clock!",
                  (select timeline from installation) as timeline
        "#,
        node.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Beat { living: row.living, clock: row.clock, timeline: row.timeline }))
}

/// Every node of the last day.
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

/// Calls a node dead, if its beat is still the one that was watched. Says whether it did.
pub async fn mark_dead(conn: &mut Session, node: NodeId, beat: i64) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update nodes set dead_at = now() where node_id = $1 and beat = $2 and dead_at is null",
        node.0,
        beat
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Calls every living node but `except` dead: only for a process that knows itself alone on its own database.
pub async fn mark_others_dead(conn: &mut Session, except: NodeId) -> Result<Vec<NodeId>, Error> {
    let rows = sqlx::query_scalar!(
        "update nodes set dead_at = now() where node_id <> $1 and dead_at is null returning node_id",
        except.0
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(NodeId).collect())
}

/// A node's own farewell, after it has released what it held.
pub async fn deregister(conn: &mut Session, node: NodeId) -> Result<(), Error> {
    sqlx::query!("update nodes set dead_at = now() where node_id = $1 and dead_at is null", node.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets nodes that died more than a day ago and hold nothing.
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
