//! What is found of the audiences of new notifications before the answer.

use std::sync::Arc;

use super::send::Submission;
use crate::audience::{self, DeviceLookup, Later, Resolved};
use crate::domain::{App, ScheduledAudience};
use crate::store;

/// What is found of an audience before the answer.
pub(super) enum Found {
    /// Its named devices.
    Now(Resolved),
    /// Its tokens. The rest is found when the notification is due.
    Later(ScheduledAudience),
}

/// Finds the devices of all audiences together. If that fails because of one of them, each is found by itself.
pub(super) async fn find_each(
    lookup: &DeviceLookup,
    app: &App,
    submissions: &[&Submission],
) -> Vec<Result<Found, Arc<store::Error>>> {
    match find_all(lookup, app, submissions).await {
        Ok(all) => all.into_iter().map(Ok).collect(),
        Err(error)
            if submissions.len() > 1
                && (!error.is_unavailable() || matches!(error, store::Error::Contended)) =>
        {
            let mut each = Vec::with_capacity(submissions.len());
            for submission in submissions {
                let found = find_all(lookup, app, &[*submission]).await;
                each.push(found.map(|mut found| found.remove(0)).map_err(Arc::new));
            }
            each
        }
        Err(error) => {
            let error = Arc::new(error);
            submissions.iter().map(|_| Err(Arc::clone(&error))).collect()
        }
    }
}

/// One result for each submission, in the order given.
async fn find_all(
    lookup: &DeviceLookup,
    app: &App,
    submissions: &[&Submission],
) -> Result<Vec<Found>, store::Error> {
    let (mut now, mut later) = (Vec::new(), Vec::new());
    for submission in submissions {
        let Submission { audience, kind, .. } = submission;
        match submission.send_at.later() {
            None => now.push((audience, *kind)),
            Some(due_at) => later.push(Later { audience, kind: *kind, due_at }),
        }
    }
    let mut now = match now.is_empty() {
        true => Vec::new(),
        false => audience::resolve_all(lookup, app, &now).await?,
    }
    .into_iter();
    let mut later = match later.is_empty() {
        true => Vec::new(),
        false => audience::schedule_all(lookup, app, &later).await?,
    }
    .into_iter();
    let found = submissions.iter().filter_map(|submission| match submission.send_at.later() {
        None => now.next().map(Found::Now),
        Some(_) => later.next().map(Found::Later),
    });
    Ok(found.collect())
}
