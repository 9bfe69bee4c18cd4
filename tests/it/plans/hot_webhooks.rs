//! Every statement that a delivery to webhooks runs, called as the service calls it, and what operators and the leader ask of
//! webhooks.

use std::time::Duration;

use chrono::DateTime;
use pushpost::domain::{
    AppId, EventPlace, LogPosition, MessageFocus, NodeId, NotificationId, WebhookProgress,
};
use pushpost::store::webhooks::{
    self, ClaimScope, Failure, LeasedWebhook, MessageBounds, NewAttempt, NewSuccess, WebhookEdit,
};
use pushpost::store::{Session, SessionPool, events, notifications};

const APP: AppId = AppId(1);

/// What the deliveries of a node and its operators ask.
pub(super) async fn of_webhooks(observe: &SessionPool, id: NotificationId) {
    let mut conn = observe.acquire().await.unwrap();
    let mut transaction = conn.begin().await.unwrap();
    let name = "plans".to_owned();
    let head = EventPlace::behind(events::head(&mut transaction).await.unwrap());
    assert!(
        webhooks::ensure_declared(&mut transaction, &[(APP, name.clone())], head).await.unwrap().is_empty()
    );
    let scope = ClaimScope { declared: vec![(APP, name.clone())], apps: vec![AppId(2)] };
    webhooks::claim(&mut transaction, NodeId(1), &scope, 16).await.unwrap();
    let listed = webhooks::list(&mut transaction, APP).await.unwrap();
    let stored = listed.into_iter().find(|stored| stored.name == name).unwrap();
    let held = LeasedWebhook {
        id: stored.id,
        app: APP,
        name,
        source: stored.source,
        node: NodeId(1),
        version: 1,
        cursor: head,
        replays: 0,
        message: None,
        gap: None,
        progress: WebhookProgress { focus: MessageFocus::Batch, ..WebhookProgress::default() },
        now: DateTime::UNIX_EPOCH,
    };
    deliver(&mut transaction, &held).await;
    notifications::traces_of(&mut transaction, APP, &[id]).await.unwrap();
    operate(&mut transaction, &held).await;
    transaction.rollback().await.unwrap();
}

async fn deliver(conn: &mut Session, held: &LeasedWebhook) {
    let attempt = NewAttempt {
        message: "msg_1",
        events: 1,
        attempt: 1,
        status: Some(500),
        error: Some("status 500"),
        elapsed_ms: 1,
        response: "",
        node_name: "plans",
    };
    let place = EventPlace::new(LogPosition { position: 1, day: held.cursor.day() }, 0);
    let bounds = MessageBounds { cursor: held.cursor, message: Some(place) };
    webhooks::record_start(conn, held, bounds).await.unwrap();
    let success = NewSuccess {
        at: None,
        message: "msg_1".to_owned(),
        events: 1,
        attempt: 1,
        status: Some(200),
        elapsed_ms: 1,
        response: String::new(),
    };
    let successes = [success];
    let noted = (successes.as_slice(), "plans");
    webhooks::record_progress(conn, held, held.cursor, place).await.unwrap();
    webhooks::record_success(conn, held, bounds, false, noted).await.unwrap();
    webhooks::note_successes(conn, held.id, noted.0, noted.1).await.unwrap();
    let failure = Failure { wait: Duration::from_secs(1), ..Failure::of(held.progress) };
    webhooks::record_failure(conn, held, &failure, Some("status 500")).await.unwrap();
    webhooks::note_attempt(conn, held.id, &attempt).await.unwrap();
    webhooks::set_aside(conn, held.id, &[place], (Some(500), Some("status 500"))).await.unwrap();
    webhooks::last_failure(conn, held.id).await.unwrap();
    webhooks::due_set_aside(conn, held.id).await.unwrap();
    webhooks::note_set_aside_failure(conn, held.id, place, Some(500), "status 500").await.unwrap();
    webhooks::retry_set_aside(conn, held.id, place).await.unwrap();
    webhooks::remove_set_aside(conn, held.id, place).await.unwrap();
    webhooks::record_gap(conn, held, place, (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH)).await.unwrap();
    webhooks::release(conn, held, held.cursor).await.unwrap();
    webhooks::free_of(conn, &[NodeId(1), NodeId(2)]).await.unwrap();
    webhooks::free_of_dead(conn).await.unwrap();
}

async fn operate(conn: &mut Session, held: &LeasedWebhook) {
    webhooks::find(conn, APP, held.id).await.unwrap();
    webhooks::figures(conn).await.unwrap();
    for succeeded in [None, Some(true), Some(false)] {
        webhooks::attempts(conn, held.id, succeeded, i64::MAX, 101).await.unwrap();
    }
    webhooks::set_aside_list(conn, held.id, (0, 0), 101).await.unwrap();
    webhooks::delete_old_attempts(conn, 86_400.0).await.unwrap();
    webhooks::refresh_idle(conn).await.unwrap();
    webhooks::update(conn, held.id, &WebhookEdit::default()).await.unwrap();
    webhooks::pause(conn, held.id).await.unwrap();
    webhooks::resume(conn, held.id).await.unwrap();
    webhooks::retry(conn, held.id).await.unwrap();
    webhooks::replay(conn, held.id, held.cursor).await.unwrap();
    events::since(conn, APP, DateTime::UNIX_EPOCH).await.unwrap();
}
