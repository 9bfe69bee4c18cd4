//! Lists the notifications of an app, newest first. Only their ids: what an answer says of each is read by
//! [`super::status`], because it follows from receipts and jobs.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Error;
use crate::domain::{AppId, NotificationId, NotificationStatus};
use crate::store::Session;

/// Which notifications of an app are listed. Several values of one filter mean any of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NotificationFilter {
    /// Those with any of these statuses; empty: all.
    pub statuses: Vec<NotificationStatus>,
    /// Those with any of these labels, each once; empty: all.
    pub labels: Vec<String>,
    /// Those accepted after this time.
    pub created_after: Option<DateTime<Utc>>,
    /// Those accepted before this time.
    pub created_before: Option<DateTime<Utc>>,
}

/// A notification that a list looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The notification's id.
    pub id: NotificationId,
    /// False: the filter leaves it out. True: its status decides.
    pub may_match: bool,
}

/// An id and whether the filter may let it pass.
struct CandidateRow {
    id: Uuid,
    may_match: bool,
}

impl NotificationFilter {
    /// Does the filter let this status pass?
    pub fn admits(&self, status: NotificationStatus) -> bool {
        self.statuses.is_empty() || self.statuses.contains(&status)
    }

    fn asks_for(&self, statuses: &[NotificationStatus]) -> bool {
        statuses.iter().any(|status| self.statuses.contains(status))
    }
}

/// The statement that reads candidates. `$seen` reads rows of `notifications` from the bounds `upper` and `lower` on. An id is
/// made up to ten minutes before its row is committed, and by a clock that may be a little ahead of the row's time. Without
/// a time, `id_floor` is the lowest id.
macro_rules! candidates {
    ($seen:tt, $conn:expr, $app:expr, $filter:expr, $before:expr, $limit:expr $(, $more:expr)*) => {
        sqlx::query_as!(
            CandidateRow,
            r#"
        with bounds as materialized (
          select least($2::uuid, case when $5::timestamptz is not null then id_floor($5 + interval '1 minute') end,
                       'ffffffff-ffff-ffff-ffff-ffffffffffff') as upper,
                 id_floor($4::timestamptz - interval '10 minutes') as lower),
        seen as materialized ("#
                + $seen
                + r#")
        select notification_id as "id!",
               ($4 is null or created_at > $4) and ($5 is null or created_at < $5)
               and ($6 or $7 and due_at > now() or $8 and cancelled_at is not null
                    or ($9 or $10)
                       and case when target_count is null
                                     or (select true from jobs j where j.notification_id = s.notification_id limit 1)
                           then $9 else $10 end) as "may_match!"
        from seen s order by notification_id desc"#,
            $app.0,
            $before.map(|id: NotificationId| id.0),
            $limit,
            $filter.created_after,
            $filter.created_before,
            $filter.statuses.is_empty(),
            $filter.asks_for(&[NotificationStatus::Scheduled]),
            $filter.asks_for(&[NotificationStatus::Cancelled]),
            $filter.asks_for(&[NotificationStatus::Queued, NotificationStatus::Sending]),
            $filter.asks_for(&[NotificationStatus::Done])
            $(, $more)*
        )
        .fetch_all($conn)
    };
}

/// The newest notifications of an app that are older than `before`, at most `limit`, newest first. Those that the filter
/// leaves out are among them, except those with other labels, so that a request reads a bounded number of rows.
///
/// # Errors
/// Postgres is out of reach.
pub async fn candidates(
    conn: &mut Session,
    app: AppId,
    filter: &NotificationFilter,
    before: Option<NotificationId>,
    limit: i64,
) -> Result<Vec<Candidate>, Error> {
    let rows = if filter.labels.is_empty() {
        candidates!(
            r#"
          select notification_id, created_at, due_at, cancelled_at, target_count from notifications
          where app_id = $1 and notification_id < (select upper from bounds)
            and notification_id >= (select lower from bounds)
          order by notification_id desc limit $3"#,
            conn,
            app,
            filter,
            before,
            limit
        )
        .await?
    } else {
        candidates!(
            r#"
          select n.* from unnest($11::text[]) as of_label cross join lateral (
            select notification_id, created_at, due_at, cancelled_at, target_count from notifications
            where app_id = $1 and label = of_label and notification_id < (select upper from bounds)
              and notification_id >= (select lower from bounds)
            order by notification_id desc limit $3) n
          order by notification_id desc limit $3"#,
            conn,
            app,
            filter,
            before,
            limit,
            &filter.labels
        )
        .await?
    };
    let candidates =
        rows.into_iter().map(|row| Candidate { id: NotificationId(row.id), may_match: row.may_match });
    Ok(candidates.collect())
}
