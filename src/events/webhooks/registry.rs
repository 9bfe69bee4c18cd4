//! The webhooks that this node may serve: those of its configuration, and the hosts that webhooks of the API may name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::WebhookClient;
use super::due_times::DueTimes;
use super::settings::WebhookSettings;
use super::test_permits::TestPermits;
use crate::domain::{AddressGuard, AppId, WebhookRetryPolicy};
use crate::provider::transport::{TlsError, tls};
use crate::store::webhooks::ClaimScope;

/// What the configuration says of the webhooks of an app.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DeclaredWebhooks {
    /// The webhooks. Their names differ.
    pub webhooks: Vec<WebhookSettings>,
    /// Hosts, in lower case, that a webhook made by the API may name.
    pub hosts: Vec<String>,
}

/// The webhooks of a node's configuration. A reload replaces them.
#[derive(Debug)]
pub struct WebhookRegistry {
    declared: Mutex<Arc<HashMap<AppId, DeclaredWebhooks>>>,
    guard: Arc<AddressGuard>,
    policy: WebhookRetryPolicy,
    /// The client of each webhook, with the settings that it was made for.
    clients: Mutex<HashMap<(AppId, String), (WebhookSettings, WebhookClient)>>,
    /// What `https` trusts without a `ca_file`, once it has been read.
    tls: Mutex<Option<Arc<rustls::ClientConfig>>>,
    tests: TestPermits,
    wake: Notify,
    due_times: DueTimes,
}

impl Default for WebhookRegistry {
    /// Without webhooks, for public addresses.
    fn default() -> Self {
        Self::new(AddressGuard::default(), WebhookRetryPolicy::default())
    }
}

impl WebhookRegistry {
    /// Without webhooks, until [`Self::replace`] brings some.
    pub fn new(guard: AddressGuard, policy: WebhookRetryPolicy) -> Self {
        Self {
            declared: Mutex::default(),
            guard: Arc::new(guard),
            policy,
            clients: Mutex::default(),
            tls: Mutex::default(),
            tests: TestPermits::default(),
            wake: Notify::new(),
            due_times: DueTimes::default(),
        }
    }

    /// Replaces what the configuration says. What is under way ends as it began.
    pub fn replace(&self, declared: HashMap<AppId, DeclaredWebhooks>) {
        *lock(&self.declared) = Arc::new(declared);
        self.wake();
    }

    /// What the configuration says of all apps.
    pub fn declared(&self) -> Arc<HashMap<AppId, DeclaredWebhooks>> {
        Arc::clone(&lock(&self.declared))
    }

    /// What the configuration says of a webhook.
    pub fn find(&self, app: AppId, name: &str) -> Option<WebhookSettings> {
        let declared = self.declared();
        let webhooks = &declared.get(&app)?.webhooks;
        webhooks.iter().find(|webhook| webhook.name.as_str() == name).cloned()
    }

    /// May a webhook that the API made name this host?
    pub fn allows_host(&self, app: AppId, host: &str) -> bool {
        self.declared().get(&app).is_some_and(|declared| declared.hosts.iter().any(|allowed| allowed == host))
    }

    /// When failed messages are repeated.
    pub fn policy(&self) -> &WebhookRetryPolicy {
        &self.policy
    }

    /// Judges addresses before they are connected to.
    pub fn guard(&self) -> &AddressGuard {
        &self.guard
    }

    /// The tests that operators have under way.
    pub fn tests(&self) -> &TestPermits {
        &self.tests
    }

    /// What this node may lease.
    pub fn scope(&self) -> ClaimScope {
        let declared = self.declared();
        let names = declared
            .iter()
            .flat_map(|(app, of)| of.webhooks.iter().map(|webhook| (*app, webhook.name.as_str().to_owned())));
        let apps = declared.iter().filter(|(_, of)| !of.hosts.is_empty()).map(|(app, _)| *app);
        ClaimScope { declared: names.collect(), apps: apps.collect() }
    }

    /// The client of a webhook. It is kept as long as the settings stay.
    ///
    /// # Errors
    /// The `ca_file` can't be used.
    pub fn client(&self, app: AppId, settings: &WebhookSettings) -> Result<WebhookClient, TlsError> {
        let key = (app, settings.name.as_str().to_owned());
        let mut clients = lock(&self.clients);
        if let Some((made_for, client)) = clients.get(&key)
            && made_for == settings
        {
            return Ok(client.clone());
        }
        let tls = match &settings.ca_file {
            Some(ca_file) => tls(Some(&ca_file.path))?,
            None => self.system_tls()?,
        };
        let client = WebhookClient::new(settings.url.clone(), Arc::clone(&self.guard), &tls);
        clients.insert(key, (settings.clone(), client.clone()));
        Ok(client)
    }

    fn system_tls(&self) -> Result<Arc<rustls::ClientConfig>, TlsError> {
        let mut known = lock(&self.tls);
        match &*known {
            Some(known) => Ok(Arc::clone(known)),
            None => Ok(Arc::clone(known.insert(tls(None)?))),
        }
    }

    /// Something may be due now.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// A message of this node failed, and is due again after this long.
    pub(super) fn wake_after(&self, wait: Duration) {
        self.due_times.add(Instant::now() + wait);
        // The runner waits for the times that were known before.
        self.wake();
    }

    /// Waits until a message that failed here is due again. Ends never if there is none.
    pub(super) async fn due(&self) {
        self.due_times.next().await;
    }

    /// Waits for [`Self::wake`].
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
