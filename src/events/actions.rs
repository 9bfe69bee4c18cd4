//! Tells the event log of operators' actions, as the audit lines of the log tell them.

use crate::domain::ActionFact;
use crate::store::{self, Session, SessionPool};
use crate::telemetry::AuditedAction;

/// Tells the log of the action's app; of every app, if the action is of none. An action is over when it is told, whatever came of
/// it, so its own transaction has ended before. A failure is logged.
pub async fn tell_action(pool: &SessionPool, action: &AuditedAction<'_>) {
    let told = async {
        let mut conn = pool.acquire().await?;
        append(&mut conn, action).await
    };
    if let Err(error) = told.await {
        let detail = "the audit line of this log has the action";
        tracing::warn!(%error, action = action.action, detail, "an operator's action is not in the event log");
    }
}

async fn append(conn: &mut Session, action: &AuditedAction<'_>) -> Result<(), store::Error> {
    let AuditedAction { key, app, action, object, result, via: _, address: _ } = action;
    let [key, action, object, result] = [key, action, object, result].map(|text| (*text).to_owned());
    let fact = ActionFact { key, action, object, result };
    store::events::append_action(conn, *app, &fact).await
}
