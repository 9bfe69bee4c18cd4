//! Fan-outs of a [`TestQueue`]: notifications for all devices, resolved page by page.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta};
use pushpost::audience::{FanOutWorker, PageLimits, write_page};
use pushpost::domain::{
    DeviceId, FanOut, FanOutPart, Kind, LaneId, LaneKey, NotificationId, Priority, ScheduledAudience,
    SendTime, ServedApps,
};
use pushpost::queue::accept::NewNotification;
use pushpost::store::fan_outs::{self, LockedFanOut};
use pushpost::telemetry::metrics::Metrics;
use tokio::sync::Notify;

use super::TestQueue;

/// All devices except these.
pub fn all_but(devices: impl IntoIterator<Item = i64>) -> FanOut {
    FanOut { except_devices: devices.into_iter().map(DeviceId).collect(), ..union_of([FanOutPart::All]) }
}

/// An empty audience, to be found later.
pub fn nobody_later() -> ScheduledAudience {
    ScheduledAudience {
        kind: Kind::Alert,
        devices: Vec::new(),
        users: Vec::new(),
        tokens: Vec::new(),
        parts: Vec::new(),
        platforms: None,
        except_users: Vec::new(),
        except_devices: Vec::new(),
        except_topics: Vec::new(),
    }
}

/// The devices of any of these parts.
pub fn union_of(parts: impl IntoIterator<Item = FanOutPart>) -> FanOut {
    FanOut {
        kind: Kind::Alert,
        platforms: None,
        parts: parts.into_iter().collect(),
        except_users: Vec::new(),
        except_devices: Vec::new(),
        except_topics: Vec::new(),
    }
}

impl TestQueue {
    /// A notification for all devices.
    pub fn wanted_by_all(&self, priority: Priority) -> NewNotification {
        let mut new = self.wanted([]);
        Arc::make_mut(&mut new.content).priority = priority;
        NewNotification { fan_out: Some(all_but([])), ..new }
    }

    /// A notification that is due in the year 2100.
    pub fn wanted_later(&self, audience: ScheduledAudience) -> NewNotification {
        let send_at = SendTime::Later(DateTime::UNIX_EPOCH + TimeDelta::days(47_482));
        NewNotification { send_at, scheduled: Some(audience), ..self.wanted([]) }
    }

    /// Scheduled notifications are due so many seconds ago.
    pub async fn bring_forward(&self, due_secs_ago: f64) {
        let forward = format!(
            "expires_at = now() - make_interval(secs => {due_secs_ago}) + (expires_at - due_at),
             due_at = now() - make_interval(secs => {due_secs_ago}) where due_at > now()"
        );
        let sql =
            format!("with forwarded as (update fan_outs set {forward}) update notifications set {forward}");
        self.database.execute(&sql).await;
    }

    /// So many registered FCM devices; answers the numbers of the first and the last.
    pub async fn crowd(&self, count: i64) -> (i64, i64) {
        sqlx::query_as(
            "with made as (
               insert into devices (app_id, platform, environment, token, token_digest, registered_at)
               select $1, 2, 0, gen_random_uuid()::text, substr(sha256(gen_random_uuid()::text::bytea), 1, 16), now()
               from generate_series(1, $2) returning device_id)
             select min(device_id), max(device_id) from made",
        )
        .bind(self.app.id.0)
        .bind(count)
        .fetch_one(&self.database.pool)
        .await
        .unwrap()
    }

    pub fn lanes(&self) -> Vec<(LaneKey, LaneId)> {
        self.app.lanes.iter().map(|(key, lane)| (*key, lane.id)).collect()
    }

    /// One page of a size of ours; answers what was found. None: there was nothing to do.
    pub async fn page(&self, size: usize) -> Option<(NotificationId, i64)> {
        self.page_within(PageLimits { devices: size, ..PageLimits::DEFAULT }).await
    }

    /// The same with other limits too.
    pub async fn page_within(&self, limits: PageLimits) -> Option<(NotificationId, i64)> {
        let mut conn = self.pool.acquire().await.unwrap();
        let mut tx = conn.begin().await.unwrap();
        let fan_out = fan_outs::lock_next(&mut tx, &[self.app.id], &[]).await.unwrap()?;
        let found = self.write(&mut tx, &fan_out, limits).await;
        tx.commit().await.unwrap();
        Some((fan_out.id, found))
    }

    pub async fn write(
        &self,
        conn: &mut pushpost::store::Session,
        fan_out: &LockedFanOut,
        limits: PageLimits,
    ) -> i64 {
        let audience = fan_out.audience.as_ref().unwrap();
        let page = write_page(conn, fan_out, audience, &self.lanes(), limits).await.unwrap();
        match page.reached {
            None => fan_outs::finish(conn, fan_out.id, page.found).await.unwrap(),
            Some(reached) => {
                fan_outs::advance(conn, fan_out.id, reached, fan_out.last, page.found).await.unwrap();
            }
        }
        page.found
    }

    /// The service's own loop.
    pub fn fan_outs(&self, found: &Arc<Mutex<Vec<(LaneId, Priority)>>>) -> FanOutWorker {
        let found = Arc::clone(found);
        FanOutWorker {
            pool: self.pool.clone(),
            apps: Arc::new(ServedApps::new([(self.app.id, Arc::clone(&self.app))].into())),
            metrics: Metrics::new(),
            wake: Arc::new(Notify::new()),
            on_jobs_added: Box::new(move |lane, _, priority| found.lock().unwrap().push((lane, priority))),
            tracer: pushpost::telemetry::trace::Tracer::default(),
        }
    }
}
