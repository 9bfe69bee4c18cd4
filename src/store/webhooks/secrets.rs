//! The secrets of webhooks that the API made.

use chrono::{DateTime, Utc};

use crate::domain::WebhookId;
use crate::store::{Error, Session};

/// A secret and the time from which on it signs no more. None: it signs on.
pub type StoredSecret = (Vec<u8>, Option<DateTime<Utc>>);

/// The secrets of a webhook that still sign, the newest first. Until the transaction ends, no other one changes them.
///
/// # Errors
/// Postgres is out of reach.
pub async fn lock_secrets(conn: &mut Session, webhook: WebhookId) -> Result<Vec<StoredSecret>, Error> {
    let row = sqlx::query!(
        r#"
        select secrets, secrets_expire_at as "secrets_expire_at: Vec<Option<DateTime<Utc>>>", clock_timestamp() as "now!"
        from webhooks where webhook_id = $1 and source = 2 for no key update
        "#,
        webhook.0
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(Vec::new()) };
    let secrets = row.secrets.into_iter().zip(row.secrets_expire_at);
    Ok(secrets.filter(|(_, ends)| ends.is_none_or(|ends| ends > row.now)).collect())
}

/// Replaces the secrets of a webhook that the API made, the newest first, and voids its lease.
///
/// # Errors
/// Postgres is out of reach.
pub async fn set_secrets(
    conn: &mut Session,
    webhook: WebhookId,
    secrets: &[StoredSecret],
) -> Result<(), Error> {
    let bytes: Vec<Vec<u8>> = secrets.iter().map(|(bytes, _)| bytes.clone()).collect();
    let expire_at: Vec<Option<DateTime<Utc>>> = secrets.iter().map(|(_, at)| *at).collect();
    sqlx::query!(
        "
        update webhooks set secrets = $2, secrets_expire_at = $3, node_id = null, version = version + 1
        where webhook_id = $1 and source = 2
        ",
        webhook.0,
        &bytes,
        &expire_at as &[Option<DateTime<Utc>>]
    )
    .execute(conn)
    .await?;
    Ok(())
}
