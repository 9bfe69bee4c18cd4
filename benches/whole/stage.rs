//! What one measurement plays on: a database of its own, the simulator, the service.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use pushpost::domain::{AppId, DeviceId, InstallationKey, Scopes};
use pushpost::registry::keys;
use pushpost::store;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};

use crate::cluster::Cluster;
use crate::options::Sizes;
use crate::progress::Progress;
use crate::service::Service;
use crate::simulator::{Manner, Simulator};
use crate::template::Template;
use crate::usage::{Meter, peak_memory};
use crate::watchdog::Watchdog;

/// The app that the simulator's configuration names.
const APP: &str = "shop";
const SCOPES: &str = "send,read,devices,admin";
/// A project with a quota that no bench reaches.
const QUOTA: &str = "4294967295";

/// What all measurements share.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) progress: Progress,
    pub(crate) sizes: Sizes,
    pub(crate) folder: PathBuf,
}

/// Everything that runs for one measurement. Dropped, its processes go; its database goes with the next start.
pub(crate) struct Stage<'a> {
    bench: &'a Bench,
    database: String,
    app: AppId,
    installation: InstallationKey,
    pub(crate) simulator: Simulator,
    pub(crate) service: Service,
}

impl<'a> Stage<'a> {
    /// Copies the template and starts what is needed. `settings` are variables of the service's configuration.
    pub(crate) async fn set_up(
        bench: &'a Bench,
        template: Template,
        manner: Manner,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        Self::set_up_with(bench, template, manner, settings, "").await
    }

    /// The same with further tables of the configuration, for which there are no variables.
    pub(crate) async fn set_up_with(
        bench: &'a Bench,
        template: Template,
        manner: Manner,
        settings: &[(&str, &str)],
        tables: &str,
    ) -> anyhow::Result<Self> {
        let template = template.ensure(&bench.cluster, &bench.progress).await?;
        bench.progress.begin("setting up");
        let database = bench.cluster.scratch(&template).await?;
        let pool = bench.cluster.pool(&database);
        let mut conn = pool.acquire().await?;
        let app = store::apps::ensure(&mut conn, &[APP.to_owned()]).await?.remove(0).id;
        let installation = store::apps::installation_key(&mut conn).await?;
        let scopes = Scopes::parse(SCOPES).context("the scopes")?;
        let key = keys::create(&mut conn, APP, scopes, Some("bench"), None).await?.secret;
        drop(conn);
        pool.close().await;
        let folder = bench.folder.join(&database);
        std::fs::create_dir_all(&folder)?;
        let simulator = Simulator::start(&folder, manner, &bench.watchdog).await?;
        let variables = variables(&bench.cluster.url(&database), settings);
        let config: &Path = &simulator.places().config;
        let text = std::fs::read_to_string(config).context("the simulator's configuration")?;
        // Beside the first one, because it names files by their paths from there.
        let whole = config.with_file_name("whole.toml");
        std::fs::write(&whole, format!("{text}\n{tables}"))?;
        let service = Service::start(&folder, &whole, &variables, key, &bench.watchdog).await?;
        Ok(Self { bench, database, app, installation, simulator, service })
    }

    /// One more node on the same database. It is not measured.
    pub(crate) async fn another_node(&self, settings: &[(&str, &str)]) -> anyhow::Result<Service> {
        let folder = self.folder().join("another-node");
        std::fs::create_dir_all(&folder)?;
        let variables = variables(&self.bench.cluster.url(&self.database), settings);
        let config: &Path = &self.simulator.places().config;
        let key = self.service.key().to_owned();
        Service::start(&folder, config, &variables, key, &self.bench.watchdog).await
    }

    /// The processes that are measured.
    pub(crate) fn meter(&self) -> Meter {
        Meter {
            service: self.service.pid(),
            postmaster: self.bench.cluster.postmaster(),
            simulator: self.simulator.pid(),
        }
    }

    /// Most memory that the service ever had.
    pub(crate) fn peak_memory(&self) -> anyhow::Result<u64> {
        peak_memory(self.service.pid())
    }

    /// The public id of a device of the template; numbers begin with 1.
    pub(crate) fn device(&self, number: u64) -> String {
        self.installation.device_id(self.app, DeviceId(number.cast_signed()))
    }

    /// A session of ours in the database.
    pub(crate) async fn connect(&self) -> anyhow::Result<PgConnection> {
        self.bench.cluster.connect(&self.database).await
    }

    /// Runs statements of ours, each in a transaction of its own.
    pub(crate) async fn execute(&self, statements: &[&'static str]) -> anyhow::Result<()> {
        let mut conn = self.connect().await?;
        for statement in statements {
            conn.execute(*statement).await?;
        }
        Ok(conn.close().await?)
    }

    /// What its processes write.
    fn folder(&self) -> PathBuf {
        self.bench.folder.join(&self.database)
    }

    /// Ends it all, in order.
    pub(crate) async fn strike(self) -> anyhow::Result<()> {
        for warning in self.service.warnings() {
            self.bench.progress.tell(&format!("the service warned: {warning}"));
        }
        self.service.end().await?;
        self.simulator.end().await?;
        std::fs::remove_dir_all(self.bench.folder.join(&self.database))?;
        self.bench.cluster.drop_database(&self.database).await
    }
}

fn variables(url: &str, settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let ours = [
        ("PUSHPOST_LOG_FORMAT", "json"),
        ("PUSHPOST__SERVER__LISTEN", "127.0.0.1:0"),
        ("PUSHPOST__DATABASE__URL", url),
        ("PUSHPOST__APPS__SHOP__FCM__MESSAGES_PER_MINUTE", QUOTA),
    ];
    let all = ours.iter().chain(settings);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
