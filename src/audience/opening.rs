//! Resolves the audiences of scheduled notifications that are due. Named devices become jobs at once, in one transaction for
//! many notifications; what is found page by page is left as a fan-out (docs/queue.md#scheduled-notifications).

use std::collections::BTreeSet;

use super::found::{Found, TracedPage};
use super::resolve::{Resolved, resolve_without_tokens};
use super::selector::{Audience, AudienceSelector};
use super::{Unmatched, scheduled};
use crate::domain::{App, FanOut, Kind, LaneId, Priority};
use crate::store::accept::{AcceptBatch, JobTerms};
use crate::store::scheduled::{DueNotification, OpenedNotification};
use crate::store::{self, Session};

/// Resolves the audiences of due notifications of one app and one priority, which the transaction has locked.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value. The transaction must be rolled back.
pub(super) async fn open(
    conn: &mut Session,
    app: &App,
    priority: Priority,
    due: Vec<DueNotification>,
) -> Result<Found, store::Error> {
    let mut opened = Vec::with_capacity(due.len());
    let mut readable: Vec<(DueNotification, Audience, Kind)> = Vec::with_capacity(due.len());
    for mut notification in due {
        match notification.audience.take() {
            Some(stored) => {
                let kind = stored.kind;
                readable.push((notification, scheduled::from_stored(stored, app), kind));
            }
            None => {
                let detail = "its devices get nothing";
                tracing::error!(notification = %notification.id, detail, "the stored audience cannot be read");
                opened.push(OpenedNotification::empty(notification.id));
            }
        }
    }
    leave_out_erased(conn, app, &mut readable).await?;
    let wanted: Vec<(&Audience, Kind)> =
        readable.iter().map(|(_, audience, kind)| (audience, *kind)).collect();
    let resolved = resolve_without_tokens(conn, app, &wanted).await?;
    let (mut batch, mut traced) = (AcceptBatch::default(), Vec::new());
    for ((notification, audience, kind), resolved) in readable.iter().zip(&resolved) {
        let left = left_to_find(notification, audience, resolved, app, *kind);
        let targets = left.is_none().then_some(resolved.targets.len());
        let page = |send| TracedPage { send, page: 0, targets: resolved.targets.len() as u64 };
        traced.extend(notification.trace.map(page));
        let terms = JobTerms {
            priority,
            trace: notification.trace.map(|trace| trace.for_targets(targets)),
            window_secs: u32::try_from((notification.expires_at - notification.due_at).num_seconds())
                .unwrap_or_default(),
            due_at: Some(notification.due_at),
        };
        batch.targets(notification.id, terms, &resolved.targets, &[], |_, _| None);
        opened.push(OpenedNotification {
            id: notification.id,
            found: resolved.targets.len(),
            by_user: resolved.targets.iter().any(|target| target.user.is_some()),
            unmatched: Unmatched::of(resolved).to_stored(),
            fan_out: left,
        });
    }
    let jobs = store::accept::insert(conn, &batch).await?;
    store::scheduled::opened(conn, app.id, &opened).await?;
    let devices = opened.iter().map(|notification| notification.found as u64).sum();
    let lanes: BTreeSet<LaneId> = jobs.into_iter().map(|job| job.lane).collect();
    Ok(Found { lanes: lanes.into_iter().collect(), devices, traced })
}

/// The part of the audience that is found page by page. None: there is none, or no time is left for it.
fn left_to_find(
    notification: &DueNotification,
    audience: &Audience,
    resolved: &Resolved,
    app: &App,
    kind: Kind,
) -> Option<FanOut> {
    let fan_out = audience.fan_out(app, resolved, kind)?;
    if notification.late {
        let detail = "devices that were not found get nothing";
        tracing::warn!(notification = %notification.id, detail, "the time to live ended before the audience was looked for");
        return None;
    }
    Some(fan_out)
}

/// Removes the users that were erased after their notification was accepted. No answer names them any more.
async fn leave_out_erased(
    conn: &mut Session,
    app: &App,
    audiences: &mut [(DueNotification, Audience, Kind)],
) -> Result<(), store::Error> {
    let named = audiences
        .iter()
        .flat_map(|(notification, audience, _)| audience.users().map(|user| (notification.id, user.clone())));
    let erased = store::erasures::erased_among(conn, app.id, named.collect()).await?;
    if erased.is_empty() {
        return Ok(());
    }
    for (notification, audience, _) in audiences {
        for selector in &mut audience.selectors {
            if let AudienceSelector::Users(users) = selector {
                users.retain(|user| !erased.contains(&(notification.id, user.clone())));
            }
        }
    }
    Ok(())
}
