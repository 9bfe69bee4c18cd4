//! A way to Postgres that can be cut at the worst moment, or swallow everything.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pushpost::domain::NotificationId;
use sqlx::postgres::{PgConnectOptions, PgPool};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::world::World;
use crate::database::TestDatabase;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The connection is cut instead of passing on an answer of the server once this is true.
struct Trap {
    pool: PgPool,
    sql: &'static str,
    id: NotificationId,
}

#[derive(Default)]
struct Shared {
    trap: Mutex<Option<Trap>>,
    connections: AtomicUsize,
    /// Connections with a lower number pass nothing on and don't end either.
    silent_below: AtomicUsize,
    /// Every connection ends, and new ones at once.
    away: watch::Sender<bool>,
}

pub(crate) struct Proxy {
    url: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn to(world: &World) -> Self {
        Self::of(&world.database).await
    }

    pub(crate) async fn of(database: &TestDatabase) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server: PgConnectOptions = database.url().parse().unwrap();
        let (scheme, rest) = database.url().split_once("://").unwrap();
        let (authority, path) = rest.split_once('/').unwrap();
        let user = authority.rsplit_once('@').map_or(String::new(), |(user, _)| format!("{user}@"));
        let path = path.split('?').next().unwrap();
        let url = format!("{scheme}://{user}{address}/{path}?sslmode=disable");
        let shared = Arc::<Shared>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, server, Arc::clone(&shared)));
        Self { url, shared, _tasks: tasks }
    }

    /// The URL of the way through it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Postgres is out of reach until it is in reach again.
    pub(crate) fn set_away(&self, away: bool) {
        self.shared.away.send_replace(away);
    }

    /// How to reach Postgres through it.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.url.parse().unwrap()
    }

    /// Cuts a connection once, as soon as `sql` (one boolean, `$1` the notification) is true and before the server's
    /// next answer is passed on: what the client asked for is done, and it does not know.
    pub(super) fn cut_once(&self, world: &World, sql: &'static str, id: NotificationId) {
        *self.shared.trap.lock().unwrap() = Some(Trap { pool: world.database.pool.clone(), sql, id });
    }

    /// Has the cut happened?
    pub(super) fn has_cut(&self) -> bool {
        self.shared.trap.lock().unwrap().is_none()
    }

    /// The connections that are open now neither answer nor end any more; new ones work.
    pub(super) fn silence(&self) {
        let now = self.shared.connections.load(Ordering::SeqCst);
        self.shared.silent_below.store(now, Ordering::SeqCst);
    }
}

async fn listen(listener: TcpListener, server: PgConnectOptions, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if *shared.away.borrow() {
            continue;
        }
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let server: Box<dyn Stream> = match server.get_socket() {
            Some(folder) => {
                let path = folder.join(format!(".s.PGSQL.{}", server.get_port()));
                Box::new(UnixStream::connect(path).await.unwrap())
            }
            None => Box::new(TcpStream::connect((server.get_host(), server.get_port())).await.unwrap()),
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let (from_client, to_client) = split(client);
            let (from_server, to_server) = split(server);
            let mut away = shared.away.subscribe();
            tokio::select! {
                () = ask(from_client, to_server) => {}
                () = answer(from_server, to_client, &shared, number) => {}
                _ = away.wait_for(|away| *away) => {}
            }
        });
    }
}

async fn ask(mut client: ReadHalf<TcpStream>, mut server: WriteHalf<Box<dyn Stream>>) {
    let _cut = tokio::io::copy(&mut client, &mut server).await;
}

/// Returns when the connection is to be cut.
async fn answer(
    mut server: ReadHalf<Box<dyn Stream>>,
    mut client: WriteHalf<TcpStream>,
    shared: &Shared,
    number: usize,
) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok(length @ 1..) = server.read(&mut buffer).await else { return };
        if number < shared.silent_below.load(Ordering::SeqCst) {
            std::future::pending().await
        }
        if sprung(shared).await {
            return;
        }
        if client.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn sprung(shared: &Shared) -> bool {
    let trap = shared.trap.lock().unwrap().take();
    let Some(trap) = trap else { return false };
    let done: bool = sqlx::query_scalar(trap.sql).bind(trap.id.0).fetch_one(&trap.pool).await.unwrap();
    if !done {
        *shared.trap.lock().unwrap() = Some(trap);
    }
    done
}
