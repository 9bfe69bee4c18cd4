//! Differences between two configurations: keys that need a restart, and what a running node takes over. Used by the
//! reload.

use super::{AppSettings, Config};

/// Lists the named fields that differ, and the section itself if any other field differs.
macro_rules! section {
    ($changes:ident, $name:literal, $old:expr, $new:expr, applied [$($applied:ident),*], $($field:ident $(. $inner:ident)? $(as $called:literal)?),+) => {{
        let (old, new) = ($old, $new);
        let mut rest = old.clone();
        $(rest.$applied = new.$applied.clone();)*
        $(
            if old.$field $(.$inner)? != new.$field $(.$inner)? {
                let called: &[&str] = &[$($called,)? $(stringify!($inner),)? stringify!($field)];
                $changes.push(format!("{}.{}", $name, called[0]));
            }
            rest.$field $(.$inner)? = new.$field $(.$inner)? .clone();
        )+
        if rest != *new {
            $changes.push($name.to_owned());
        }
    }};
}

impl Config {
    /// The keys in which `new` differs and that need a restart.
    ///
    /// Keys that a running node takes over are left out: credentials, topics, channels, endpoints and quotas of existing
    /// lanes, new apps and platforms, the keys of user tokens, the schedules of
    /// clean-up runs, webhooks, and `server.reload_interval`.
    pub fn changes_for_restart(&self, new: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        section!(
            changes,
            "server",
            &self.server,
            &new.server,
            applied[reload_interval],
            listen,
            internal_listen,
            trusted_proxies,
            cors_origins,
            keep_alive
        );
        section!(changes, "network", &self.network, &new.network, applied [], proxy, no_proxy);
        section!(changes, "database", &self.database, &new.database, applied [],
            url, data_dir, postgres_bin_dir, max_connections, start_timeout, migrate);
        section!(changes, "delivery", &self.delivery, &new.delivery, applied [],
            default_ttl, max_in_flight, retry.initial as "retry_initial", retry.throttled as "retry_throttled",
            retry.max as "retry_max", node_timeout, drain_timeout);
        section!(changes, "limits", &self.limits, &new.limits, applied [],
            body_bytes, targets, batch_items, topics, max_pending, requests_per_second, register_per_minute);
        section!(changes, "retention", &self.retention, &new.retention, applied [],
            notifications, content, quarantine, events);
        section!(changes, "telemetry", &self.telemetry, &new.telemetry, applied [],
            endpoint as "otlp_endpoint", headers as "otlp_headers", sample_ratio, service_name, trace_url);
        section!(changes, "webhooks", &self.webhooks, &new.webhooks, applied [],
            allow_networks, max_in_flight, retry.retry_after as "retry_after", retry.disable_after as "disable_after");
        for (name, old) in &self.apps {
            let name_of_table = format!("apps.{name}");
            match new.apps.get(name) {
                Some(new) => list_app_changes(&mut changes, &name_of_table, old, new),
                None => changes.push(format!("{name_of_table} (removed)")),
            }
        }
        changes
    }

    /// This configuration with the apps and platforms added that only `new` has, and with the user tokens, the
    /// schedules of clean-up runs and the webhooks of `new`.
    pub fn with_added_apps(&self, new: &Self) -> Self {
        let mut with_added = self.clone();
        for (name, added) in &new.apps {
            let app = with_added.apps.entry(name.clone()).or_insert_with(|| added.clone());
            app.user_tokens.clone_from(&added.user_tokens);
            app.cleanups.clone_from(&added.cleanups);
            app.webhooks.clone_from(&added.webhooks);
            for (platform, settings) in &added.providers {
                app.providers.entry(*platform).or_insert_with(|| settings.clone());
            }
        }
        with_added
    }
}

fn list_app_changes(changes: &mut Vec<String>, name: &str, old: &AppSettings, new: &AppSettings) {
    for (platform, old) in &old.providers {
        match new.providers.get(platform) {
            Some(new) => {
                let keys = old.changes_for_restart(new).into_iter();
                changes.extend(keys.map(|key| format!("{name}.{platform}.{key}")));
            }
            None => changes.push(format!("{name}.{platform} (removed)")),
        }
    }
}
