//! Describing a [`TestService`] before it starts.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use pushpost::provider::{Provider, Providers};
use pushpost::runtime::Role;
use pushpost_simulator::Settings;

use tokio::runtime::Handle;

use super::TestService;
use crate::installation::Installation;
use crate::log_watch;

/// Short delays, so that a retry follows soon.
const DEFAULTS: [(&str, &str); 5] = [
    ("SERVER__LISTEN", "127.0.0.1:0"),
    ("DELIVERY__RETRY_INITIAL", "20ms"),
    ("DELIVERY__RETRY_THROTTLED", "40ms"),
    ("DELIVERY__RETRY_MAX", "40ms"),
    ("DELIVERY__NODE_TIMEOUT", "15s"),
];

/// What a [`TestService`] begins with: no node, unless one is asked for.
#[derive(Default)]
pub struct TestServiceBuilder {
    providers: Settings,
    overrides: Vec<(String, String)>,
    has_no_fcm: bool,
    apps: Vec<String>,
    further: Vec<&'static dyn Provider>,
    roles: Vec<Role>,
}

impl TestServiceBuilder {
    /// How the providers behave.
    pub fn simulator(self, providers: Settings) -> Self {
        Self { providers, ..self }
    }

    /// Configures all nodes: `DELIVERY__RETRY_MAX`.
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.overrides.push((key.to_owned(), value.to_owned()));
        self
    }

    pub fn without_fcm(self) -> Self {
        Self { has_no_fcm: true, ..self }
    }

    /// One more app, which has no credentials.
    pub fn app(mut self, name: &str) -> Self {
        self.apps.push(name.to_owned());
        self
    }

    /// One more provider, which is not built in.
    pub fn provider(mut self, provider: &'static dyn Provider) -> Self {
        self.further.push(provider);
        self
    }

    /// Starts one more node.
    pub fn node(mut self, role: Role) -> Self {
        self.roles.push(role);
        self
    }

    pub async fn build(self) -> TestService {
        log_watch::start();
        let installation = Installation::create(self.providers).await;
        let mut service = TestService {
            nodes: Vec::new(),
            runtimes: vec![Handle::current().id()],
            has_rules: AtomicBool::new(false),
            expected_logs: Mutex::default(),
            backend: installation.key("send,read,devices").await,
            phone: installation.key("register").await,
            admin: installation.key("admin").await,
            providers: Providers::with(&self.further),
            overrides: DEFAULTS.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            installation,
        };
        if self.has_no_fcm {
            service.without_fcm();
        }
        self.apps.iter().for_each(|name| service.with_another_app(name));
        self.overrides.iter().for_each(|(key, value)| service.configure(key, value));
        for role in self.roles {
            service.node(role).await;
        }
        service
    }
}
