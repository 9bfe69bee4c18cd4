//! Receivers of webhooks: good ones, and those that hang or refuse.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use sqlx::postgres::PgConnection;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::wait::until;

/// What the service signs with. The receivers do not verify it.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Whether the log or a good receiver lacks something.
const UNREAD: &str = "select exists (select from event_outbox) or exists (
    select from webhooks where name like 'good%' and cursor_position < (select position from event_head))";
/// Not often, because each look is a statement that counts.
const LOOK: Duration = Duration::from_millis(500);
/// How far receivers may be behind the last outcome.
const CATCH_UP: Duration = Duration::from_secs(120);

/// How many webhooks of an app have a receiver of which kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// They take what they get.
    pub(crate) good: usize,
    /// They take a request and never answer.
    pub(crate) tar_pits: usize,
    /// They answer 500.
    pub(crate) refusing: usize,
}

/// The receivers of all webhooks, on one port.
pub(crate) struct Receivers {
    address: SocketAddr,
    messages: Arc<AtomicU64>,
    /// Ends with the receivers.
    _task: JoinSet<()>,
}

impl Receivers {
    /// Listens on a free port.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, messages) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let router = Router::new()
            .route("/good", post(take))
            .route("/tar-pit", post(std::future::pending::<StatusCode>))
            .route("/refusing", post(async || StatusCode::INTERNAL_SERVER_ERROR))
            .with_state(Arc::clone(&messages));
        let mut task = JoinSet::new();
        task.spawn(async move {
            // The server is aborted at the end. If it ends before, no message arrives.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { address, messages, _task: task })
    }

    /// The tables of the configuration with these webhooks. Writes the secret to `folder`.
    pub(crate) fn tables(&self, folder: &Path, mix: Mix) -> anyhow::Result<String> {
        let secret = std::path::absolute(folder.join("whsec"))?;
        std::fs::write(&secret, SECRET)?;
        let kinds = [("good", mix.good), ("tar-pit", mix.tar_pits), ("refusing", mix.refusing)];
        let webhooks = kinds.iter().flat_map(|&(kind, count)| (0..count).map(move |number| (kind, number)));
        let webhooks: String = webhooks
            .map(|(kind, number)| {
                let url = format!("http://{}/{kind}", self.address);
                format!(
                    "[[apps.shop.webhooks]]\nname = \"{kind}-{number}\"\nurl = {url:?}\nsecret_files = [{secret:?}]\n"
                )
            })
            .collect();
        Ok(format!("[webhooks]\nallow_networks = [\"127.0.0.0/8\"]\n{webhooks}"))
    }

    /// Messages that the good ones have taken.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
}

/// Waits until all events are in the log, and the good receivers have them.
pub(crate) async fn all_read(conn: &mut PgConnection) -> anyhow::Result<()> {
    until(CATCH_UP, LOOK, "the log and the webhooks", async || {
        let left: bool = sqlx::query_scalar(UNREAD).fetch_one(&mut *conn).await?;
        Ok((!left).then_some(()))
    })
    .await
}

async fn take(State(messages): State<Arc<AtomicU64>>, _body: Bytes) -> StatusCode {
    messages.fetch_add(1, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}
