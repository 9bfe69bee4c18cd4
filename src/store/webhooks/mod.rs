//! Webhooks: their rows, leases, messages under way, attempts and set-aside events.

mod attempts;
mod changes;
mod figures;
mod lease;
mod list;
mod outcome;
mod secrets;
mod set_aside;

pub use attempts::{
    AttemptRow, NewAttempt, NewSuccess, attempts, delete_old_attempts, last_failure, note_attempt,
    note_successes,
};
pub use changes::{
    NewWebhook, WebhookEdit, delete, ensure_declared, forget_undeclared, insert, pause, refresh_idle, replay,
    resume, retry, update,
};
pub use figures::{WebhookFigures, figures};
pub use lease::{ClaimScope, LeasedWebhook, claim, free_of, free_of_dead, release};
pub use list::{StoredWebhook, WebhookSource, find, list, list_all};
pub use outcome::{
    Failure, MessageBounds, record_failure, record_gap, record_progress, record_start, record_success,
};
pub use secrets::{StoredSecret, lock_secrets, set_secrets};
pub use set_aside::{
    SetAsideRow, drop_lost, due_set_aside, note_set_aside_failure, remove_set_aside, retry_set_aside,
    set_aside, set_aside_list,
};
