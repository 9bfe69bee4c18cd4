//! Which requests are actions of operators, for the audit lines of the log (docs/logs.md#audit). The layer around every route logs
//! them, so that no handler can forget it.

use axum::response::Response;
use http::Method;
use http::header::LOCATION;

use super::auth::CallerNote;
use super::dashboard;
use super::error::ProblemCode;
use crate::events::tell_action;
use crate::store::SessionPool;
use crate::telemetry::{AuditedAction, UNKNOWN_KEY};

/// The operators' calls that change something: method, route and the action's name.
const ACTIONS: &[(&str, &str, &str)] = &[
    ("POST", "/v1/admin/lanes/{lane}/pause", "lane.pause"),
    ("POST", "/v1/admin/lanes/{lane}/resume", "lane.resume"),
    ("POST", "/v1/admin/lanes/{lane}/retry", "lane.retry"),
    ("POST", "/v1/admin/lanes/{app}/{lane}/pause", "lane.pause"),
    ("POST", "/v1/admin/lanes/{app}/{lane}/resume", "lane.resume"),
    ("POST", "/v1/admin/lanes/{app}/{lane}/retry", "lane.retry"),
    ("POST", "/v1/admin/webhooks", "webhook.create"),
    ("PATCH", "/v1/admin/webhooks/{id}", "webhook.change"),
    ("DELETE", "/v1/admin/webhooks/{id}", "webhook.delete"),
    ("POST", "/v1/admin/webhooks/{id}/pause", "webhook.pause"),
    ("POST", "/v1/admin/webhooks/{id}/resume", "webhook.resume"),
    ("POST", "/v1/admin/webhooks/{id}/retry", "webhook.retry"),
    ("POST", "/v1/admin/webhooks/{id}/test", "webhook.test"),
    ("POST", "/v1/admin/webhooks/{id}/replay", "webhook.replay"),
    ("POST", "/v1/admin/webhooks/{id}/rotate", "webhook.rotate"),
    ("POST", "/v1/admin/webhooks/{id}/set-aside/{event}/retry", "webhook.retry_event"),
    ("POST", "/v1/admin/cleanups", "cleanup.start"),
    ("DELETE", "/v1/admin/cleanups/{id}", "cleanup.cancel"),
    ("POST", "/v1/admin/cleanups/{id}/restore", "cleanup.restore"),
    ("POST", dashboard::SESSION, SESSION_START),
    ("DELETE", dashboard::SESSION, "session.end"),
];
/// Logged also if no key was recognised.
const SESSION_START: &str = "session.start";
/// What backends do all the time, and what an operator's action is if a page of the dashboard asks for it.
const ACTIONS_OF_PAGES: &[(&str, &str, &str)] = &[
    ("POST", "/v1/notifications", "notification.send"),
    ("POST", "/v1/notifications/batch", "notification.send"),
    ("POST", "/v1/notifications/cancel", "notification.cancel"),
    ("DELETE", "/v1/notifications/{id}", "notification.cancel"),
    ("PUT", "/v1/devices", "device.register"),
    ("POST", "/v1/devices/import", "device.import"),
    ("POST", "/v1/devices/unregister", "device.unregister"),
    ("PATCH", "/v1/devices/{id}", "device.change"),
    ("DELETE", "/v1/devices/{id}", "device.delete"),
    ("POST", "/v1/devices/{id}/restore", "device.restore"),
    ("POST", "/v1/topics/{topic}/subscribe", "topic.subscribe"),
    ("POST", "/v1/topics/{topic}/unsubscribe", "topic.unsubscribe"),
    ("DELETE", "/v1/topics/{topic}", "topic.delete"),
    ("DELETE", "/v1/users/{user}", "user.erase"),
];
/// Characters of an object that are logged: a lane with its app, or an id.
const OBJECT_MAX: usize = 100;

/// An operator's action that is under way.
#[derive(Debug)]
pub(super) struct PendingAction {
    name: &'static str,
    object: String,
    via: Option<&'static str>,
}

/// An operator's action that has ended.
#[derive(Debug)]
pub(super) struct EndedAction {
    action: PendingAction,
    result: &'static str,
}

impl PendingAction {
    /// The action that a request asks for; none: the request is not an operator's, or changes nothing.
    /// `of_page`: a page of the dashboard asks.
    pub(super) fn of(method: &Method, route: &str, path: &str, of_page: bool) -> Option<Self> {
        let of_pages = ACTIONS_OF_PAGES.iter().filter(|_| of_page);
        let mut known = ACTIONS.iter().chain(of_pages);
        let (_, _, name) = known.find(|(of, at, _)| *of == method.as_str() && *at == route)?;
        let via = (of_page || route == dashboard::SESSION).then_some("dashboard");
        Some(Self { name, object: object(route, path), via })
    }

    /// The action with its result.
    pub(super) fn end(mut self, problem: Option<ProblemCode>, response: &Response) -> EndedAction {
        if let Some(made) = response.headers().get(LOCATION).and_then(|location| location.to_str().ok()) {
            self.object = made.rsplit('/').next().map(plain).unwrap_or_default();
        }
        EndedAction { action: self, result: problem.map_or("done", ProblemCode::as_str) }
    }
}

impl EndedAction {
    /// Logs the action, if an operator's key was recognised, and tells the event log of the key's app. A try to log in is logged
    /// without such a key too. It is told to no app, because anyone can try; an app's publishable key is known to anyone too.
    pub(super) async fn log(&self, events: Option<&SessionPool>, caller: &CallerNote) {
        let PendingAction { name, object, via } = &self.action;
        let known = caller.get().filter(|_| caller.has_secret_key());
        if known.is_none() && *name != SESSION_START {
            return;
        }
        let key = known.map_or_else(|| UNKNOWN_KEY.to_owned(), |(_, key)| key.to_string());
        let action = AuditedAction {
            key: &key,
            app: known.map(|(app, _)| app.name.as_str()),
            action: name,
            object,
            result: self.result,
            via: *via,
            address: caller.address(),
        };
        action.log();
        if let Some(pool) = events.filter(|_| known.is_some()) {
            tell_action(pool, &action).await;
        }
    }
}

/// The parts of a path where its route has variables.
fn object(route: &str, path: &str) -> String {
    let parts = route.split('/').zip(path.split('/')).filter(|(part, _)| part.starts_with('{'));
    parts.map(|(_, value)| plain(value)).collect::<Vec<_>>().join("/")
}

/// What a name or id consists of: nothing else of a path is logged.
fn plain(text: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    let text = text.replace("%2F", "/").replace("%2f", "/");
    text.split('/')
        .map(|part| part.chars().take_while(is_plain).take(OBJECT_MAX).collect())
        .collect::<Vec<String>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::devices::lookup;
    use crate::api::notifications::preview;
    use crate::api::openapi::tests::operations;

    #[test]
    fn every_operation_that_changes_something_for_operators_is_an_action() {
        let mut checked = 0;
        for (name, operation) in operations() {
            let (method, path) = name.split_once(' ').expect("a method and a path");
            let is_admins = operation["tags"][0] == "admin";
            let only_reads = method == "get" || [lookup::PATH, preview::PATH].contains(&path);
            let method = method.to_ascii_uppercase().parse().expect("a method");
            let is_action = |of_page| PendingAction::of(&method, path, path, of_page).is_some();
            assert_eq!(
                [is_action(false), is_action(true)],
                [is_admins && !only_reads, !only_reads],
                "{name}"
            );
            checked += usize::from(!only_reads);
        }
        assert!(checked >= 20, "{checked}");
    }

    #[test]
    fn the_object_is_what_the_path_names_and_nothing_else() {
        let post = &Method::POST;
        let of = |route, path| {
            PendingAction::of(post, route, path, false).map(|action| (action.name, action.object))
        };
        let pause = |object: &str| Some(("lane.pause", object.to_owned()));
        assert_eq!(of("/v1/admin/lanes/{lane}/pause", "/v1/admin/lanes/fcm/pause"), pause("fcm"));
        assert_eq!(of("/v1/admin/lanes/{lane}/pause", "/v1/admin/lanes/shop%2Ffcm/pause"), pause("shop/fcm"));
        let two = "/v1/admin/lanes/{app}/{lane}/pause";
        assert_eq!(of(two, "/v1/admin/lanes/shop/fcm/pause"), pause("shop/fcm"));
        assert_eq!(of(two, "/v1/admin/lanes/shop/a%20secret/pause"), pause("shop/a"));
        assert_eq!(of("/v1/notifications", "/v1/notifications"), None);
    }
}
