//! What the event log is told of lanes. A trigger tells of changes of their states, at most one in 5 s (function `tell_lane`).

use super::Error;
use crate::domain::{CredentialResult, LaneId};
use crate::store::Session;

/// A new credential that a node of a lane has tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TriedCredential {
    /// The lane that the credential is of.
    pub lane: LaneId,
    /// Identifies the credential.
    pub fingerprint: Vec<u8>,
    /// What became of it.
    pub result: CredentialResult,
    /// Why the provider refused it.
    pub reason: Option<String>,
}

/// Tells the states of lanes that changed within 5 s of the change that was told before, and are due now. A lane that another
/// session works on is left for the next time.
///
/// # Errors
/// Postgres is out of reach.
pub async fn tell_pending(conn: &mut Session) -> Result<(), Error> {
    let told = sqlx::query!(
        r#"
        with due as materialized (
          select lane_id from told_lanes where is_pending and told_at <= now() - interval '5 seconds'
          for update skip locked)
        select tell_lane(lane_id)::text as told from due
        "#
    )
    .fetch_all(&mut *conn)
    .await?;
    if !told.is_empty() {
        conn.note_events();
    }
    Ok(())
}

/// Tells what became of new credentials, unless another node has told the same.
///
/// # Errors
/// Postgres is out of reach.
pub async fn tell_credentials(conn: &mut Session, tried: &[TriedCredential]) -> Result<(), Error> {
    let lanes: Vec<i32> = tried.iter().map(|one| one.lane.0).collect();
    let fingerprints: Vec<Vec<u8>> = tried.iter().map(|one| one.fingerprint.clone()).collect();
    let results: Vec<i16> = tried.iter().map(|one| one.result.code()).collect();
    let reasons: Vec<Option<String>> = tried.iter().map(|one| one.reason.clone()).collect();
    sqlx::query!(
        "
        select tell_credential(lane, fingerprint, result, reason)::text as told
        from unnest($1::int[], $2::bytea[], $3::smallint[], $4::text[]) as tried(lane, fingerprint, result, reason)
        ",
        &lanes,
        &fingerprints,
        &results,
        &reasons as &[Option<String>]
    )
    .fetch_all(&mut *conn)
    .await?;
    conn.note_events();
    Ok(())
}
