//! `GET /dashboard/api/live`: what the pages show while they are open, as server-sent events. Figures are read every two seconds,
//! once per app on a node however many pages are open, and not at all while none is. Events of the log come from the streams that
//! `/v1/events` serves.

mod figures;
mod needs;
mod snapshot;
mod stream;
mod webhook_needs;
mod worker;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

pub(super) use stream::live;
pub use worker::{LiveSettings, LiveWorker};

use crate::domain::AppId;
use crate::events::EventLog;

/// The live view of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DashboardLive(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Its streams serve the view also if the configuration keeps no events: then they show none.
    log: EventLog,
    apps: Mutex<HashMap<AppId, (usize, Figures)>>,
    /// Notified when a view begins.
    begun: Notify,
}

/// The figures of an app; none before they are read for the first time.
type Figures = watch::Sender<Option<Arc<LiveFigures>>>;

/// Figures of an app, as they are sent.
#[derive(Clone, PartialEq, Eq, Debug)]
struct LiveFigures {
    /// For keys with `admin`.
    for_admins: Bytes,
    /// For keys that only read.
    for_readers: Bytes,
    minutes: Bytes,
    /// Counts up when `minutes` are read anew.
    minutes_number: u64,
}

/// One view of an app's figures. While there is one, they are read.
#[derive(Debug)]
struct View {
    shared: Arc<Shared>,
    app: AppId,
    figures: watch::Receiver<Option<Arc<LiveFigures>>>,
}

impl DashboardLive {
    /// Without views. The worker reads for them.
    pub fn new(log: EventLog) -> Self {
        Self(Arc::new(Shared { log, apps: Mutex::default(), begun: Notify::new() }))
    }

    fn view(&self, app: AppId) -> View {
        let mut apps = self.0.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let (views, figures) = apps.entry(app).or_insert_with(|| (0, watch::Sender::new(None)));
        *views += 1;
        let mut figures = figures.subscribe();
        // What is known already is shown at once.
        figures.mark_changed();
        drop(apps);
        self.0.begun.notify_one();
        View { shared: Arc::clone(&self.0), app, figures }
    }

    /// The apps that pages are open for.
    fn viewed(&self) -> Vec<(AppId, Figures)> {
        let apps = self.0.apps.lock().unwrap_or_else(PoisonError::into_inner);
        apps.iter().map(|(app, (_, figures))| (*app, figures.clone())).collect()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut apps = self.shared.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut known) = apps.entry(self.app) {
            known.get_mut().0 -= 1;
            if known.get().0 == 0 {
                known.remove();
            }
        }
    }
}
