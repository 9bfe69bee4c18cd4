//! Forgets what was erased, once no notification from before is left. Used by the leader.

use crate::store::Error;
use crate::store::Session;

/// Deletes up to `limit` notes about users, and as many about devices, that are a day older than the oldest notification.
/// Returns the larger number. A notification that is accepted while its devices are erased is younger than the notes, which is
/// what the day is for.
///
/// # Errors
/// Postgres is out of reach.
pub async fn delete_old(conn: &mut Session, limit: i64) -> Result<u64, Error> {
    let deleted = sqlx::query_scalar!(
        r#"with oldest as materialized (
             select coalesce((select created_at from notifications
                              where notification_id > '00000000-0000-0000-0000-000000000000'
                              order by notification_id limit 1), now()) - interval '1 day' as at),
           old_users as materialized (
             select app_id, user_digest from erased_users where erased_at < (select at from oldest)
             order by erased_at limit $1 for update skip locked),
           gone_users as (
             delete from erased_users e using old_users o
             where e.app_id = o.app_id and e.user_digest = o.user_digest returning 1),
           old_devices as materialized (
             select device_id from erased_devices where erased_at < (select at from oldest)
             order by erased_at limit $1 for update skip locked),
           gone_devices as (
             delete from erased_devices where device_id = any(array(select device_id from old_devices)) returning 1)
           select greatest((select count(*) from gone_users), (select count(*) from gone_devices)) as "deleted!""#,
        limit
    )
    .fetch_one(conn)
    .await?;
    Ok(deleted.cast_unsigned())
}
