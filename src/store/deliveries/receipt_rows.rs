//! The statement that reads receipts for the event log: their summaries, their lists as far as they are wanted, and the ends of
//! notifications that have no other receipt.

use super::recorded::{ReceiptKey, ReceiptScope, ReceiptSummary};
use super::unfold::ReceiptRow;
use crate::domain::{AppId, DeliveryCounts, DeviceDetail, LaneId, NotificationId};
use crate::store::events::{EndRows, EndedNotification, ReceiptId};
use crate::store::partitions::id_span;
use crate::store::{Error, Session};

/// A receipt as the statement reads it.
pub(super) struct FoundReceipt {
    pub(super) summary: ReceiptSummary,
    /// Number of devices that the detail asks for.
    pub(super) asked: u64,
    /// Its lists. None: no device is asked for, or the receipts before have too many.
    pub(super) lists: Option<ReceiptRow>,
    /// The end of its notification.
    pub(super) end: Option<EndedNotification>,
}

/// Receipts in the order given. One that is not kept any more is left out.
///
/// An end is read of a notification all targets of which have their outcome in this receipt. The same attempt may have a receipt of
/// another lane, which holds nothing but retries and began earlier (an environment probe), so that no other receipt exists is asked for.
pub(super) async fn found_receipts(
    conn: &mut Session,
    app: AppId,
    receipts: &[ReceiptKey],
    scope: ReceiptScope,
) -> Result<Vec<FoundReceipt>, Error> {
    let (ids, numbers): (Vec<_>, Vec<_>) = receipts.iter().map(|(id, receipt)| (id.0, receipt.0)).unzip();
    let (first, last) = id_span(&ids);
    let rows = sqlx::query!(
        r#"
        with found as (
          select w.place, w.notification_id, r.*, n.*,
                 case when $4 then accepted else 0 end
                   + case when $5 then rejected + token_dead + expired + cancelled + unknown else 0 end as asked,
                 case when $9 and r.attempt = 1 and r.retried = 0 and r.cancelled = 0 and n.is_uncancelled
                        and n.target_count = accepted + rejected + token_dead + expired + unknown
                   then (select true from receipts o
                         where o.notification_id = w.notification_id and o.notification_id between $7 and $8
                           and o.receipt_id <> w.receipt limit 1) is null
                   else false end as has_end
          from unnest($1::uuid[], $2::bigint[]) with ordinality as w(notification_id, receipt, place)
          cross join lateral (
            select receipt_id, job_id, lane_id, recorded_at, began_at, attempt, accepted, rejected, token_dead, expired, cancelled,
                   unknown, retried, devices, outcomes, reasons, reason_indexes, last_reason, provider_ids
            from receipts
            where notification_id = w.notification_id and receipt_id = w.receipt and notification_id between $7 and $8 offset 0) r
          left join lateral (
            select label, metadata, created_at, due_at, target_count,
                   cancelled_at is null and not audience_cancelled as is_uncancelled
            from notifications
            where notification_id = w.notification_id and app_id = $3 and notification_id between $7 and $8 offset 0) n on true),
        summed as (select *, sum(asked) over (order by place rows unbounded preceding) as total from found),
        -- Lists are read from their compressed form only where they are wanted.
        bounded as (select *, asked > 0 and (total = asked or total <= $6) as is_listed from summed)
        select notification_id as "notification_id!", receipt_id, lane_id, recorded_at, attempt, accepted, rejected, token_dead,
               expired, cancelled, unknown, label as "label?", asked as "asked!", is_listed as "is_listed!",
               case when is_listed then devices end as devices, case when is_listed then outcomes end as outcomes,
               case when is_listed then reasons end as "reasons: Vec<Option<String>>",
               case when is_listed then reason_indexes end as reason_indexes, last_reason,
               case when is_listed then provider_ids end as "provider_ids: Vec<Option<String>>",
               case when has_end then metadata end as metadata, case when has_end then created_at end as created_at,
               case when has_end then due_at end as due_at,
               case when has_end and job_id <> 0 and accepted + rejected + token_dead + unknown > 0 then began_at end as began_at
        from bounded order by place
        "#,
        &ids,
        &numbers,
        app.0,
        scope.detail == DeviceDetail::All,
        scope.detail != DeviceDetail::None,
        i64::try_from(scope.devices_max).unwrap_or(i64::MAX),
        first,
        last,
        scope.with_ends
    )
    .fetch_all(conn)
    .await?;
    let found = rows.into_iter().map(|row| {
        let id = NotificationId(row.notification_id);
        let counts =
            counts([row.accepted, row.unknown, row.rejected, row.token_dead, row.expired, row.cancelled]);
        let end = row.created_at.zip(row.due_at).map(|(created_at, due_at)| {
            let rows = EndRows {
                label: row.label.clone(),
                metadata: row.metadata,
                created_at,
                due_at,
                cancelled_at: None,
                is_stopped: false,
                began_at: row.began_at,
                last_at: Some(row.recorded_at),
            };
            EndedNotification::of(id, rows, counts)
        });
        let summary = ReceiptSummary {
            key: (id, ReceiptId(row.receipt_id)),
            label: row.label,
            lane: LaneId(row.lane_id),
            attempt: u16::try_from(row.attempt).unwrap_or_default(),
            counts,
        };
        let lists = row.is_listed.then(|| ReceiptRow {
            receipt_id: row.receipt_id,
            lane_id: row.lane_id,
            recorded_at: row.recorded_at,
            attempt: row.attempt,
            devices: row.devices.unwrap_or_default(),
            outcomes: row.outcomes.unwrap_or_default(),
            reasons: row.reasons,
            reason_indexes: row.reason_indexes,
            last_reason: row.last_reason,
            provider_ids: row.provider_ids,
        });
        FoundReceipt { summary, asked: u64::try_from(row.asked).unwrap_or_default(), lists, end }
    });
    Ok(found.collect())
}

fn counts(columns: [i16; 6]) -> DeliveryCounts {
    let [accepted, unknown, rejected, token_dead, expired, cancelled] =
        columns.map(|count| u64::try_from(count).unwrap_or_default());
    DeliveryCounts { pending: 0, accepted, unknown, rejected, token_dead, expired, cancelled }
}
