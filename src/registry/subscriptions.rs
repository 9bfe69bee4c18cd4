//! Writing subscriptions within a transaction. A topic is created with its first subscriber and deleted with its last,
//! and an app has at most `limits.topics` topics.

use std::collections::{BTreeSet, HashMap};

use super::devices::Error;
use super::registration::{Registrar, SubscriptionChanges};
use crate::domain::{App, AppId, TopicName};
use crate::store;
use crate::store::Session;
use crate::store::topics::TopicId;

/// Writes the changes for devices that the transaction has locked or inserted. Returns the topics that an app asked for
/// and that were not created, because its app has too many: nothing is subscribed to them.
///
/// # Errors
/// See [`Error`]. A backend's request for too many topics fails as a whole.
pub(super) async fn write(
    conn: &mut Session,
    app: &App,
    caller: Registrar,
    changes: &SubscriptionChanges<'_>,
) -> Result<Vec<TopicName>, Error> {
    let mut unsubscribed = Vec::new();
    if !changes.removed.is_empty() {
        unsubscribed = store::topics::unsubscribe_all(conn, app.id, &changes.removed).await?;
    }
    let mut refused = Vec::new();
    if !changes.added.is_empty() {
        let names: BTreeSet<&TopicName> = changes.added.iter().map(|((_, name), _)| *name).collect();
        let names: Vec<TopicName> = names.into_iter().cloned().collect();
        let mut topics = store::topics::hold(conn, app.id, &names).await?;
        unsubscribed.retain(|topic| !topics.values().any(|held| held == topic));
        if topics.len() < names.len() {
            let candidates = std::mem::take(&mut unsubscribed);
            refused = create_missing(conn, app, caller, &names, &mut topics, &candidates).await?;
        }
        let rows = changes.added.iter().filter_map(|((device, name), term)| {
            let topic = *topics.get(*name)?;
            Some((topic, *device, *term))
        });
        let rows: Vec<_> = rows.collect();
        store::topics::subscribe_all(conn, &rows).await?;
    }
    purge(conn, app.id, &unsubscribed).await?;
    Ok(refused)
}

/// Deletes those of `topics` that have no subscriber left. Does nothing while another transaction counts the app's
/// topics: maintenance deletes them later.
///
/// # Errors
/// Postgres is out of reach.
pub(super) async fn purge(conn: &mut Session, app: AppId, topics: &[TopicId]) -> Result<(), store::Error> {
    if topics.is_empty() {
        return Ok(());
    }
    let empty = store::topics::without_subscribers(conn, topics).await?;
    if !empty.is_empty() && store::topics::try_lock_count(conn, app).await? {
        store::topics::purge(conn, app, &empty).await?;
    }
    Ok(())
}

/// Locks a topic for the rest of the transaction, on behalf of a backend, or creates it. None: it is missing, and the app has
/// too many topics.
///
/// # Errors
/// Postgres is out of reach.
pub(super) async fn hold_or_create(
    conn: &mut Session,
    app: &App,
    name: &TopicName,
) -> Result<Option<TopicId>, store::Error> {
    let names = std::slice::from_ref(name);
    let mut topics = store::topics::hold(conn, app.id, names).await?;
    if topics.is_empty() {
        match create_missing(conn, app, Registrar::Backend, names, &mut topics, &[]).await {
            Ok(_) => {}
            Err(Error::Store(error)) => return Err(error),
            Err(Error::TooManyTopics(_) | Error::RegisteredInFuture(_) | Error::UnsupportedDetail(_)) => {
                return Ok(None);
            }
        }
    }
    Ok(topics.remove(name))
}

/// Creates those of `names` that are not in `topics` and adds them to `topics`, as many as the app may have.
/// `unsubscribed` are topics that may have lost their last subscriber; they are deleted first. Returns the names that
/// were refused.
async fn create_missing(
    conn: &mut Session,
    app: &App,
    caller: Registrar,
    names: &[TopicName],
    topics: &mut HashMap<TopicName, TopicId>,
    unsubscribed: &[TopicId],
) -> Result<Vec<TopicName>, Error> {
    let mut count = store::topics::lock_count(conn, app.id).await?;
    if !unsubscribed.is_empty() {
        count = count.saturating_sub(store::topics::purge(conn, app.id, unsubscribed).await?);
    }
    let missing = |topics: &HashMap<TopicName, TopicId>| {
        names.iter().filter(|name| !topics.contains_key(*name)).cloned().collect::<Vec<_>>()
    };
    // Another transaction may have created some before this one locked the count.
    topics.extend(store::topics::hold(conn, app.id, &missing(topics)).await?);
    let mut new = missing(topics);
    let room = topics_max(app, caller).saturating_sub(count) as usize;
    let refused = match (new.len() > room, caller) {
        (false, _) => Vec::new(),
        (true, Registrar::App) => new.split_off(room),
        (true, Registrar::Backend | Registrar::Import) => {
            return Err(Error::TooManyTopics(app.topics_max));
        }
    };
    topics.extend(store::topics::create(conn, app.id, &new).await?);
    Ok(refused)
}

/// Publishable keys may use 80 % of the limit, so that the backend can still create topics.
fn topics_max(app: &App, caller: Registrar) -> u32 {
    match caller {
        Registrar::App => app.topics_max / 5 * 4 + app.topics_max % 5 * 4 / 5,
        Registrar::Backend | Registrar::Import => app.topics_max,
    }
}
