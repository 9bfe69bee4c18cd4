//! One connection through the proxy.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf as ClientReads, WriteHalf as ClientWrites};
use tokio::sync::watch;

use super::Shared;
use super::wire::{Message, Statements};

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What makes a session read-only from outside, as a failover does.
const READ_ONLY: &str = "set default_transaction_read_only = on";

pub(super) struct Link {
    silent: watch::Sender<bool>,
    statements: Mutex<Statements>,
    server: tokio::sync::Mutex<Server>,
}

/// The way to the server, and what the server still has to answer.
struct Server {
    stream: WriteHalf<Box<dyn Stream>>,
    /// `ReadyForQuery` messages that the client still waits for; the first is that of the start-up.
    awaited: usize,
    /// Messages were passed on that no `Sync` has ended yet.
    open: bool,
    /// In no transaction.
    idle: bool,
    injection: Injection,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Injection {
    None,
    /// At the next idle moment.
    Wanted,
    /// Answers up to the next `ReadyForQuery` are the proxy's own.
    Running,
}

/// How a connection comes to its end.
enum End {
    /// Both sides learn of it.
    Told,
    /// The client only.
    ServerNotTold,
}

impl Link {
    /// A connection, and what its server says.
    pub(super) fn new(server: Box<dyn Stream>) -> (Arc<Self>, ReadHalf<Box<dyn Stream>>) {
        let (reads, stream) = split(server);
        let server = Server { stream, awaited: 0, open: false, idle: false, injection: Injection::None };
        let link = Self {
            silent: watch::Sender::new(false),
            statements: Mutex::default(),
            server: tokio::sync::Mutex::new(server),
        };
        (Arc::new(link), reads)
    }

    /// Passes messages on until the connection ends.
    pub(super) async fn carry(
        &self,
        mut client: TcpStream,
        server: ReadHalf<Box<dyn Stream>>,
        shared: &Shared,
    ) {
        client.set_nodelay(true).unwrap();
        let mut server = BufReader::with_capacity(65_536, server);
        let (from_client, to_client) = client.split();
        let end = tokio::select! {
            end = self.ask(BufReader::new(from_client), shared) => end,
            end = self.answer(&mut server, to_client, shared) => end,
            () = self.silenced() => std::future::pending().await,
        };
        drop(client);
        if let End::ServerNotTold = end {
            std::future::pending().await
        }
    }

    pub(super) fn silence(&self) {
        self.silent.send_replace(true);
    }

    async fn silenced(&self) {
        let mut silent = self.silent.subscribe();
        silent.wait_for(|silent| *silent).await.unwrap();
    }

    pub(super) fn has_carried(&self, sql: &str) -> bool {
        self.statements.lock().unwrap().has_carried(sql)
    }

    /// At once where the session is idle, else at its next idle moment.
    pub(super) async fn make_read_only(&self) {
        let mut server = self.server.lock().await;
        server.injection = Injection::Wanted;
        server.inject_if_idle().await;
    }

    async fn ask(&self, mut client: BufReader<ClientReads<'_>>, shared: &Shared) -> End {
        let mut first = true;
        loop {
            let Some(message) = Message::read(&mut client, !first).await else { return End::Told };
            first = false;
            let statement = self.statements.lock().unwrap().note(&message);
            let mut server = self.server.lock().await;
            if server.stream.write_all(&message.bytes).await.is_err() {
                return End::Told;
            }
            match message.asks_for_ready() {
                true => (server.awaited, server.open) = (server.awaited + 1, false),
                // Passwords belong to the start-up.
                false => server.open = message.kind != Some(b'p'),
            }
            drop(server);
            if statement.is_some_and(|statement| shared.cuts_at(&statement)) {
                // What belongs to the statement, its Execute and Sync, is passed on too.
                self.pass_on_rest(&mut client).await;
                return End::ServerNotTold;
            }
        }
    }

    /// Passes on what ends the open statement.
    async fn pass_on_rest(&self, client: &mut BufReader<ClientReads<'_>>) {
        let mut server = self.server.lock().await;
        while server.open {
            let Some(message) = Message::read(client, true).await else { return };
            let _gone = server.stream.write_all(&message.bytes).await;
            server.open = !message.asks_for_ready();
        }
    }

    async fn answer(
        &self,
        server: &mut BufReader<ReadHalf<Box<dyn Stream>>>,
        mut client: ClientWrites<'_>,
        shared: &Shared,
    ) -> End {
        loop {
            let mut answers = Vec::new();
            loop {
                let Some(message) = Message::read(server, true).await else { return End::Told };
                if !self.is_own(&message).await {
                    answers.extend_from_slice(&message.bytes);
                }
                // As few writes as the server made.
                if server.buffer().is_empty() {
                    break;
                }
            }
            if answers.is_empty() {
                continue;
            }
            if shared.springs().await || client.write_all(&answers).await.is_err() {
                return End::Told;
            }
        }
    }

    /// Keeps account of what the server has answered. Is the message an answer to the proxy's own statement?
    async fn is_own(&self, message: &Message) -> bool {
        let mut server = self.server.lock().await;
        let own = server.injection == Injection::Running;
        if let Some(idle) = message.is_ready_and_idle() {
            match own {
                true => server.injection = Injection::None,
                false => (server.awaited, server.idle) = (server.awaited.saturating_sub(1), idle),
            }
            server.inject_if_idle().await;
        }
        own
    }
}

impl Server {
    async fn inject_if_idle(&mut self) {
        if self.injection == Injection::Wanted && self.awaited == 0 && !self.open && self.idle {
            self.injection = Injection::Running;
            self.stream.write_all(&Message::query(READ_ONLY)).await.unwrap();
        }
    }
}
