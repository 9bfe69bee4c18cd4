//! Databases that are made once and copied for each measurement: migrated, with so many devices, and perhaps a past.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use pushpost::domain::Platform;
use pushpost::provider::{apns, fcm};
use pushpost::store;
use pushpost_testkit::database::{MIGRATIONS, content_hash};
use sqlx::Connection as _;

use crate::cluster::Cluster;
use crate::progress::Progress;

/// Templates; the hash of what they are made by follows.
const PREFIX: &str = "template_";
const DEVICES: &str = include_str!("sql/devices.sql");
const PAST: &str = include_str!("sql/past.sql");
/// As autovacuum would leave it after a while.
const SETTLE: &str = "vacuum (freeze, analyze)";
/// Fifty million deliveries take some minutes.
const LONG: Duration = Duration::from_secs(3600);
/// Retention would drop what is older than a month; a past is made anew before.
const PAST_DAYS_MAX: i64 = 14;

/// What is in a template.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Template {
    /// The devices' service.
    pub(crate) platform: Platform,
    /// Registered devices: those that `all` reaches.
    pub(crate) devices: u64,
    /// What happened before.
    pub(crate) past: Option<Past>,
}

/// What happened before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Past {
    /// Devices in all, the registered ones among them at equal distances: the others came through sends.
    pub(crate) devices: u64,
    /// Deliveries on record.
    pub(crate) deliveries: u64,
}

impl Template {
    /// Devices, and no past.
    pub(crate) fn of(platform: Platform, devices: u64) -> Self {
        Self { platform, devices, past: None }
    }

    fn label(&self) -> String {
        let past = self.past.map(|past| format!("_{}_{}", past.devices, past.deliveries));
        format!("{}_{}{}", self.platform, self.devices, past.unwrap_or_default())
    }

    /// The name of its database, which is made if it isn't there.
    pub(crate) async fn ensure(&self, cluster: &Cluster, progress: &Progress) -> anyhow::Result<String> {
        let name = format!("{PREFIX}{}_{:016x}", self.label(), made_by());
        if cluster.has(&name).await? && self.is_fresh(cluster, &name).await? {
            return Ok(name);
        }
        progress.begin(&format!("making the template {}, once", self.label()));
        for stale in cluster.names(&format!("{PREFIX}{}_", self.label())).await? {
            cluster.drop_database(&stale).await?;
        }
        let half = format!("half_{}", self.label());
        cluster.drop_database(&half).await?;
        cluster.create(&half, "template1").await?;
        self.fill(cluster, &half).await?;
        cluster.run("postgres", &format!("alter database {half} rename to {name}"), LONG).await?;
        Ok(name)
    }

    /// A past gets too old.
    async fn is_fresh(&self, cluster: &Cluster, name: &str) -> anyhow::Result<bool> {
        if self.past.is_none() {
            return Ok(true);
        }
        let mut conn = cluster.connect(name).await?;
        let young = "select coalesce(bool_and(created_at > now() - make_interval(days => $1)), false) from installation";
        let days = i32::try_from(PAST_DAYS_MAX)?;
        let young = sqlx::query_scalar(young).bind(days).fetch_one(&mut conn).await?;
        conn.close().await?;
        Ok(young)
    }

    async fn fill(&self, cluster: &Cluster, database: &str) -> anyhow::Result<()> {
        let mut conn = cluster.connect(database).await?;
        MIGRATIONS.run(&mut conn).await.context("migrating a template")?;
        conn.close().await?;
        let pool = cluster.pool(database);
        let app = store::apps::ensure(&mut pool.acquire().await?, &["shop".to_owned()]).await?.remove(0);
        pool.close().await;
        let lane = match self.platform == apns::PLATFORM {
            true => apns::lane(apns::PRODUCTION),
            false => fcm::LANE,
        };
        let past = self.past.unwrap_or(Past { devices: self.devices, deliveries: 0 });
        let parameters = [
            ("app", i64::from(app.id.0)),
            ("lane", i64::from(app.lanes[&lane].0)),
            ("platform", i64::from(self.platform.code())),
            ("devices", i64::try_from(past.devices)?),
            ("distance", i64::try_from(past.devices.checked_div(self.devices).unwrap_or(1))?),
            ("deliveries", i64::try_from(past.deliveries)?),
        ];
        let scripts = [Some(DEVICES), self.past.map(|_| PAST)];
        for script in scripts.into_iter().flatten() {
            cluster.run(database, &with(script, &parameters), LONG).await?;
        }
        self.check(cluster, database).await?;
        cluster.run(database, SETTLE, LONG).await
    }
}

impl Template {
    /// What the rows speak of is there.
    async fn check(&self, cluster: &Cluster, database: &str) -> anyhow::Result<()> {
        let counted = "select (select count(*) from devices where source <> 1),
                              (select coalesce(sum(cardinality(devices)), 0)::bigint from receipts)";
        let mut conn = cluster.connect(database).await?;
        let (devices, deliveries): (i64, i64) = sqlx::query_as(counted).fetch_one(&mut conn).await?;
        conn.close().await?;
        let past = self.past.map_or(0, |past| past.deliveries);
        let right = devices.cast_unsigned() == self.devices && deliveries.cast_unsigned() == past;
        ensure!(right, "{} has {devices} registered devices and {deliveries} deliveries", self.label());
        Ok(())
    }
}

/// The script with its `:parameters:`, which are numbers, and large ones.
fn with(script: &str, parameters: &[(&str, i64)]) -> String {
    parameters.iter().fold(script.to_owned(), |script, (name, value)| {
        script.replace(&format!(":{name}:"), &format!("({value}::bigint)"))
    })
}

/// Changes with everything that a template is made by.
fn made_by() -> u64 {
    let migrations = MIGRATIONS.iter().flat_map(|migration| migration.checksum.iter().copied());
    let all = migrations.chain(DEVICES.bytes()).chain(PAST.bytes()).chain(SETTLE.bytes());
    content_hash(all)
}
