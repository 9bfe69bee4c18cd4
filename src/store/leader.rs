//! The leader: the node that runs the periodic duties. Two leaders would be harmless, because every duty is idempotent
//! or locks its rows.
//!
//! Leadership is a row and not a lock of a session. A process that hangs keeps its sessions and their locks, but its
//! heartbeat stops.

use super::Error;
use crate::domain::NodeId;
use crate::store::Session;

/// Makes a living node the leader, unless another living node leads. Returns whether the node took the leadership over.
///
/// # Errors
/// Postgres is out of reach.
pub async fn try_lead(conn: &mut Session, node: NodeId) -> Result<bool, Error> {
    let done = sqlx::query!(
        "
        insert into leader (node_id) select node_id from nodes where node_id = $1 and dead_at is null
        on conflict (singleton) do update set node_id = excluded.node_id, since = now()
        where leader.node_id <> excluded.node_id
          and not exists (select from nodes n where n.node_id = leader.node_id and n.dead_at is null)
        ",
        node.0
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives the leadership of this node up. Changes nothing if another node leads already.
///
/// # Errors
/// Postgres is out of reach.
pub async fn resign(conn: &mut Session, node: NodeId) -> Result<(), Error> {
    sqlx::query!("delete from leader where node_id = $1", node.0).execute(conn).await?;
    Ok(())
}
