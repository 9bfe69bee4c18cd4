//! Which requests are actions of operators, for the audit lines of the log (docs/logs.md#audit). The layer around every route logs
//! them, so that no handler can forget it.

use axum::response::Response;
use http::Method;
use http::header::LOCATION;

use super::auth::CallerNote;
use super::error::ProblemCode;
use crate::telemetry::AuditedAction;

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
];
/// Characters of an object that are logged: a lane with its app, or an id.
const OBJECT_MAX: usize = 100;

/// An operator's action that is under way.
#[derive(Debug)]
pub(super) struct PendingAction {
    name: &'static str,
    object: String,
}

impl PendingAction {
    /// The action that a request asks for; none: the request is not an operator's, or changes nothing.
    pub(super) fn of(method: &Method, route: &str, path: &str) -> Option<Self> {
        let found = ACTIONS.iter().find(|(of, at, _)| *of == method.as_str() && *at == route);
        found.map(|(_, _, name)| Self { name, object: object(route, path) })
    }

    /// Logs the action with its result, if a key was recognised.
    pub(super) fn log(mut self, caller: &CallerNote, problem: Option<ProblemCode>, response: &Response) {
        let Some((app, key)) = caller.get() else { return };
        if let Some(made) = response.headers().get(LOCATION).and_then(|location| location.to_str().ok()) {
            self.object = made.rsplit('/').next().map(plain).unwrap_or_default();
        }
        let action = AuditedAction {
            key: &key.to_string(),
            app: Some(&app.name),
            action: self.name,
            object: &self.object,
            result: problem.map_or("done", ProblemCode::as_str),
        };
        action.log();
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
    use crate::api::openapi::tests::operations;

    #[test]
    fn every_operation_that_changes_something_for_operators_is_an_action() {
        let mut checked = 0;
        for (name, operation) in operations() {
            let (method, path) = name.split_once(' ').expect("a method and a path");
            if operation["tags"][0] == "admin" && method != "get" {
                let method = method.to_ascii_uppercase().parse().expect("a method");
                assert!(PendingAction::of(&method, path, path).is_some(), "{name}");
                checked += 1;
            }
        }
        assert!(checked >= 6, "{checked}");
    }

    #[test]
    fn the_object_is_what_the_path_names_and_nothing_else() {
        let post = &Method::POST;
        let of =
            |route, path| PendingAction::of(post, route, path).map(|action| (action.name, action.object));
        let pause = |object: &str| Some(("lane.pause", object.to_owned()));
        assert_eq!(of("/v1/admin/lanes/{lane}/pause", "/v1/admin/lanes/fcm/pause"), pause("fcm"));
        assert_eq!(of("/v1/admin/lanes/{lane}/pause", "/v1/admin/lanes/shop%2Ffcm/pause"), pause("shop/fcm"));
        let two = "/v1/admin/lanes/{app}/{lane}/pause";
        assert_eq!(of(two, "/v1/admin/lanes/shop/fcm/pause"), pause("shop/fcm"));
        assert_eq!(of(two, "/v1/admin/lanes/shop/a%20secret/pause"), pause("shop/a"));
        assert_eq!(of("/v1/notifications", "/v1/notifications"), None);
    }
}
