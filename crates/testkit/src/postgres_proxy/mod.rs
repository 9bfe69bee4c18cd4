//! A way to Postgres that breaks as networks and failovers do: cut, silent, away, or read-only.
//!
//! The proxy reads the messages of the protocol (without TLS), so that a test can choose a connection by its statements.

mod link;
mod wire;

use std::sync::{Arc, Mutex};

use pushpost::domain::NotificationId;
use pushpost::store::SessionPool;
use sqlx::postgres::PgConnectOptions;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::database::TestDatabase;
use link::{Link, Stream};

/// A connection is cut instead of passing on an answer of the server once this is true.
struct Trap {
    pool: SessionPool,
    sql: &'static str,
    id: NotificationId,
}

#[derive(Default)]
struct Shared {
    trap: Mutex<Option<Trap>>,
    /// A connection is cut once a statement with this text is on its way.
    cut_at: Mutex<Option<&'static str>>,
    links: Mutex<Vec<Arc<Link>>>,
    /// Every connection ends, and new ones at once.
    away: watch::Sender<bool>,
}

/// A TCP address that leads to the Postgres of a [`TestDatabase`].
pub struct PostgresProxy {
    url: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl PostgresProxy {
    pub async fn of(database: &TestDatabase) -> Self {
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

    /// The URL of the way through the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How to reach Postgres through the proxy.
    pub fn options(&self) -> PgConnectOptions {
        self.url.parse().unwrap()
    }

    /// Postgres is out of reach until it is in reach again.
    pub fn set_away(&self, away: bool) {
        self.shared.away.send_replace(away);
    }

    /// Cuts a connection once, as soon as `sql` (one boolean, `$1` the notification) is true and before the server's
    /// next answer is passed on: what the client asked for is done, and the client does not know.
    pub fn cut_once(&self, database: &TestDatabase, sql: &'static str, id: NotificationId) {
        *self.shared.trap.lock().unwrap() = Some(Trap { pool: database.pool.clone(), sql, id });
    }

    /// Cuts a connection once, as soon as a statement that contains `sql` has been passed on, while the server still
    /// runs the statement. The client sees an end of the connection. The server's side stays open and hears nothing.
    pub fn cut_at(&self, sql: &'static str) {
        *self.shared.cut_at.lock().unwrap() = Some(sql);
    }

    /// Has the cut of [`Self::cut_once`] or [`Self::cut_at`] happened?
    pub fn has_cut(&self) -> bool {
        self.shared.trap.lock().unwrap().is_none() && self.shared.cut_at.lock().unwrap().is_none()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.links.lock().unwrap().len()
    }

    /// The connections that are open now pass nothing on in either direction, no end of a connection either. New ones
    /// work.
    pub fn silence(&self) {
        self.silence_if(|_| true);
    }

    /// As [`Self::silence`], for the connections that have carried a statement that contains `sql`. Says how many.
    pub fn silence_users_of(&self, sql: &str) -> usize {
        self.silence_if(|link| link.has_carried(sql))
    }

    fn silence_if(&self, chosen: impl Fn(&Link) -> bool) -> usize {
        let links = self.shared.links.lock().unwrap();
        links.iter().filter(|link| chosen(link)).map(|link| link.silence()).count()
    }

    /// The sessions that are open now are read-only from their next idle moment on, as after a failover. New ones are
    /// writable. Says how many.
    pub async fn make_read_only(&self) -> usize {
        let links = self.shared.links.lock().unwrap().clone();
        for link in &links {
            link.make_read_only().await;
        }
        links.len()
    }
}

async fn listen(listener: TcpListener, server: PgConnectOptions, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if *shared.away.borrow() {
            continue;
        }
        let server: Box<dyn Stream> = match server.get_socket() {
            Some(folder) => {
                let path = folder.join(format!(".s.PGSQL.{}", server.get_port()));
                Box::new(UnixStream::connect(path).await.unwrap())
            }
            None => Box::new(TcpStream::connect((server.get_host(), server.get_port())).await.unwrap()),
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let (link, server) = Link::new(server);
            shared.links.lock().unwrap().push(Arc::clone(&link));
            let mut away = shared.away.subscribe();
            tokio::select! {
                () = link.carry(client, server, &shared) => {}
                _ = away.wait_for(|away| *away) => {}
            }
            shared.links.lock().unwrap().retain(|other| !Arc::ptr_eq(other, &link));
        });
    }
}

impl Shared {
    /// Is a connection to be cut instead of passing on the server's next answer?
    async fn springs(&self) -> bool {
        let trap = self.trap.lock().unwrap().take();
        let Some(trap) = trap else { return false };
        let done: bool = sqlx::query_scalar(trap.sql).bind(trap.id.0).fetch_one(&trap.pool).await.unwrap();
        if !done {
            *self.trap.lock().unwrap() = Some(trap);
        }
        done
    }

    /// Is a connection to be cut after this statement? Only once.
    fn cuts_at(&self, statement: &str) -> bool {
        self.cut_at.lock().unwrap().take_if(|sql| statement.contains(*sql)).is_some()
    }
}
