//! SubscriptionChanges as a transaction writes them: a topic comes with its first subscriber and goes with its last, and an app
//! has no more topics than it may.

use std::collections::{BTreeSet, HashMap};

use super::devices::Error;
use super::registration::{Registrar, SubscriptionChanges};
use crate::domain::{App, AppId, TopicName};
use crate::store;
use crate::store::Session;
use crate::store::topics::TopicId;

/// Writes what changes for devices that the transaction has locked or made. Answers the topics that an app's own word
/// does not make, because the app has too many: nothing is subscribed to them.
///
/// # Errors
/// See [`Error`]: a backend's word fails as a whole.
pub(super) async fn write(
    conn: &mut Session,
    app: &App,
    caller: Registrar,
    subscriptions: &SubscriptionChanges<'_>,
) -> Result<Vec<TopicName>, Error> {
    let mut left = Vec::new();
    if !subscriptions.ended.is_empty() {
        left = store::topics::unsubscribe_all(conn, app.id, &subscriptions.ended).await?;
    }
    let mut refused = Vec::new();
    if !subscriptions.added.is_empty() {
        let names: BTreeSet<&TopicName> = subscriptions.added.iter().map(|(_, name)| *name).collect();
        let names: Vec<TopicName> = names.into_iter().cloned().collect();
        let mut topics = store::topics::hold(conn, app.id, &names).await?;
        left.retain(|topic| !topics.values().any(|held| held == topic));
        if topics.len() < names.len() {
            let all = std::mem::take(&mut left);
            refused = make(conn, app, caller, &names, &mut topics, &all).await?;
        }
        let number = |(device, name): &(_, &TopicName)| Some((*topics.get(*name)?, *device));
        let pairs: Vec<_> = subscriptions.added.iter().filter_map(number).collect();
        store::topics::subscribe_all(conn, &pairs).await?;
    }
    purge(conn, app.id, &left).await?;
    Ok(refused)
}

/// Deletes those of these topics that have lost their last subscriber, unless another transaction counts topics just
/// now: maintenance finds what is left.
///
/// # Errors
/// The database's.
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

/// Makes those of `names` that are not among `topics`, as far as the app may have them; `left` are topics that may have
/// lost their last subscriber.
async fn make(
    conn: &mut Session,
    app: &App,
    caller: Registrar,
    names: &[TopicName],
    topics: &mut HashMap<TopicName, TopicId>,
    left: &[TopicId],
) -> Result<Vec<TopicName>, Error> {
    let mut count = store::topics::lock_count(conn, app.id).await?;
    if !left.is_empty() {
        count = count.saturating_sub(store::topics::purge(conn, app.id, left).await?);
    }
    let missing = |topics: &HashMap<TopicName, TopicId>| {
        names.iter().filter(|name| !topics.contains_key(*name)).cloned().collect::<Vec<_>>()
    };
    // Another transaction may have made some before this one locked the count.
    topics.extend(store::topics::hold(conn, app.id, &missing(topics)).await?);
    let mut new = missing(topics);
    let room = limit(app, caller).saturating_sub(count) as usize;
    let refused = match (new.len() > room, caller) {
        (false, _) => Vec::new(),
        (true, Registrar::App) => new.split_off(room),
        (true, Registrar::Backend | Registrar::Import) => return Err(Error::TooManyTopics(app.topics_max)),
    };
    topics.extend(store::topics::make(conn, app.id, &new).await?);
    Ok(refused)
}

/// Publishable keys leave room to the backend.
fn limit(app: &App, caller: Registrar) -> u32 {
    match caller {
        Registrar::App => app.topics_max / 5 * 4 + app.topics_max % 5 * 4 / 5,
        Registrar::Backend | Registrar::Import => app.topics_max,
    }
}
