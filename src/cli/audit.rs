//! The audit lines of commands that work on the database (docs/logs.md#audit). What a command asks a service for is logged there.

use crate::events::tell_action;
use crate::runtime::Database;
use crate::telemetry::AuditedAction;

/// Logs an operator's action that has ended. `object` is an id, as it was given: what is no id is left out.
pub(super) fn log<T, E>(action: &str, app: Option<&str>, object: &str, ended: &Result<T, E>) {
    audited_action(action, app, object, ended).log();
}

/// Tells the event log of such an action. It needs the database, so a command that could not open it is in the log alone.
pub(super) async fn tell<T, E>(
    database: &Database,
    action: &str,
    app: Option<&str>,
    object: &str,
    ended: &Result<T, E>,
) {
    tell_action(database.pool(), &audited_action(action, app, object, ended)).await;
}

fn audited_action<'a, T, E>(
    action: &'a str,
    app: Option<&'a str>,
    object: &'a str,
    ended: &Result<T, E>,
) -> AuditedAction<'a> {
    let is_id = object.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    // A secret that was pasted in place of an id is not repeated.
    let is_secret = object.starts_with("pushpost_");
    let object = if is_id && !is_secret { object } else { "" };
    let result = if ended.is_ok() { "done" } else { "failed" };
    AuditedAction { key: "cli", app, action, object, result, via: None, address: None }
}

/// Runs a command, and logs it as [`log`] does.
pub(super) async fn audited<T, E>(
    action: &str,
    app: Option<&str>,
    object: &str,
    command: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let ended = command.await;
    log(action, app, object, &ended);
    ended
}

#[cfg(test)]
mod tests {
    use crate::telemetry::captured;

    #[test]
    fn an_action_has_a_result_and_no_secret() {
        let lines = captured(|| {
            super::log("keys.create", Some("shop"), "key_1f", &Ok::<_, ()>(()));
            super::log("keys.revoke", None, "pushpost_sk_5ec7e7", &Err::<(), _>(()));
        });
        for (line, parts) in lines.iter().zip([
            [
                "INFO pushpost::audit: operator's action ended key=\"cli\" app=\"shop\"",
                "action=\"keys.create\" object=\"key_1f\" result=\"done\"",
            ],
            ["key=\"cli\" action=\"keys.revoke\"", "object=\"\" result=\"failed\""],
        ]) {
            assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        }
        assert_eq!(lines.len(), 2);
    }
}
