//! Judges the registrations of an import without carrying them out, by what an import judges in the database: the time, and the
//! number of topics.

use std::collections::BTreeSet;

use super::devices::Error;
use super::register::OnFailure;
use super::registration::{Registrar, Registration};
use crate::domain::TopicName;
use crate::store;
use crate::store::SessionPool;

/// The check of one import. It counts the topics that the import would create.
#[derive(Debug)]
pub struct ImportCheck {
    app: String,
    topics_max: u32,
    new_topics: BTreeSet<TopicName>,
}

impl ImportCheck {
    /// For an app by its name, which the database need not know, and its greatest number of topics.
    pub fn new(app: &str, topics_max: u32) -> Self {
        Self { app: app.to_owned(), topics_max, new_topics: BTreeSet::new() }
    }

    /// Judges the next registrations of the import, in their order. After a stop there are no results for those that follow the
    /// failure.
    ///
    /// A topic that an earlier line leaves without subscribers still counts, while the import would delete it.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn judge(
        &mut self,
        pool: &SessionPool,
        registrations: &[Registration],
        on_failure: OnFailure,
    ) -> Result<Vec<Result<(), Error>>, store::Error> {
        let names = registrations.iter().flat_map(|one| one.details.topics.iter().flatten());
        let names: BTreeSet<&TopicName> = names.collect();
        let names: Vec<TopicName> = names.into_iter().cloned().collect();
        let mut conn = pool.acquire().await?;
        let usage = store::topics::usage(&mut conn, &self.app, &names).await?;
        drop(conn);
        let existing: BTreeSet<TopicName> = usage.existing.into_iter().collect();
        let mut results = Vec::with_capacity(registrations.len());
        for registration in registrations {
            let timely = registration.effective_time(usage.at, Registrar::Import);
            let result = match timely {
                Ok(_) => self.add_topics(registration, &existing, usage.count),
                Err(future) => Err(future.into()),
            };
            let is_last = result.is_err() && on_failure == OnFailure::Stop;
            results.push(result);
            if is_last {
                break;
            }
        }
        Ok(results)
    }

    fn add_topics(
        &mut self,
        registration: &Registration,
        existing: &BTreeSet<TopicName>,
        count: u32,
    ) -> Result<(), Error> {
        let stated = registration.details.topics.iter().flatten();
        let missing: BTreeSet<&TopicName> =
            stated.filter(|name| !existing.contains(name) && !self.new_topics.contains(name)).collect();
        let room = (self.topics_max.saturating_sub(count) as usize).saturating_sub(self.new_topics.len());
        if missing.len() > room {
            return Err(Error::TooManyTopics(self.topics_max));
        }
        let missing: Vec<TopicName> = missing.into_iter().cloned().collect();
        self.new_topics.extend(missing);
        Ok(())
    }
}
