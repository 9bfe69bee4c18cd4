//! The task of a connection: moves its frames and decides when the connection ends.
//!
//! It ends a connection that does not answer a PING, is idle, is old, got a GOAWAY or was given up. See
//! docs/providers.md#connection-failures for the reasons.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Settings;
use super::connection::Connection;
use super::connection_state::ConnectionState;
use super::dial::Http2;
use super::error::{TransportErrorKind, of_connection};
use crate::telemetry::metrics::ConnectionEnd;

/// A draining connection lives at most this much longer than the longest request.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// Longest time for sending GOAWAY and TLS's close_notify.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Shortest time between two checks of the deadlines.
const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(5);

pub(super) struct Driver<S: Default + Send + Sync + 'static> {
    http2: Http2,
    connection: Arc<Connection<S>>,
    ping: Option<PingPong>,
    /// When the unanswered PING was sent.
    pinged: Option<Instant>,
    /// [`super::wire::Traffic::reads`] at the last check, and when it last changed.
    reads: u64,
    last_read: Instant,
    /// Since when the peer has allowed no streams.
    shut_since: Option<Instant>,
    /// When the connection reaches its maximum age.
    retire_at: Instant,
    /// When a draining connection is dropped at the latest.
    end_at: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl<S: Default + Send + Sync + 'static> Driver<S> {
    pub(super) fn new(mut http2: Http2, connection: Arc<Connection<S>>) -> Self {
        let now = Instant::now();
        let settings = &connection.pool.settings;
        let ping = settings.ping.as_ref().and_then(|_| http2.ping_pong());
        let retire_at = now + settings.max_age.mul_f64(rand::random_range(0.9..=1.0));
        Self {
            http2,
            ping,
            pinged: None,
            reads: 0,
            last_read: now,
            shut_since: None,
            retire_at,
            end_at: None,
            timer: Box::pin(sleep_until(now)),
            connection,
        }
    }

    /// Runs the connection until it ends.
    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        let pool = self.connection.pool.clone();
        drop(self);
        // Waiters relied on this connection, and possibly no later event would open another one for them.
        pool.maintain();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wake_requested = self.connection.register_driver(cx.waker());
        if self.connection.state() >= ConnectionState::Killed {
            return Poll::Ready(());
        }
        if let Poll::Ready(result) = Pin::new(&mut self.http2).poll(cx) {
            // A GOAWAY may have arrived together with the end. It is the more precise cause, so it is read first.
            self.connection.accepts_streams(cx);
            match result {
                Err(error) => self.connection.set_end_cause(of_connection(&error)),
                Ok(()) if self.connection.is_draining() => {
                    self.connection.set_end_cause(TransportErrorKind::Retired)
                }
                Ok(()) => {}
            }
            return Poll::Ready(());
        }
        let changed = self.note_reads(cx);
        self.take_pong(cx);
        if wake_requested || changed {
            self.connection.pool.maintain();
            if self.check_deadlines().is_ready() {
                return Poll::Ready(());
            }
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.check_deadlines().is_ready() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Handles changes that reads may have brought. Says whether waiters or the timer are affected.
    fn note_reads(&mut self, cx: &mut Context<'_>) -> bool {
        let reads = self.connection.traffic.reads();
        if reads == self.reads {
            return false;
        }
        self.reads = reads;
        self.last_read = Instant::now();
        let streams = self.http2.max_concurrent_send_streams();
        let shut = streams == 0 && self.shut_since.is_none();
        self.shut_since = (streams == 0).then(|| self.shut_since.unwrap_or(self.last_read));
        let more = self.connection.set_peer_streams(streams) | self.connection.clear_suspect() | shut;
        if !self.connection.is_draining() && !self.connection.accepts_streams(cx) {
            self.connection.pool.retire(&self.connection);
            return true;
        }
        more
    }

    fn take_pong(&mut self, cx: &mut Context<'_>) {
        if self.pinged.is_some()
            && let Some(ping) = &mut self.ping
            && ping.poll_pong(cx).is_ready()
        {
            self.pinged = None;
        }
    }

    /// Handles all deadlines that have passed, and sets the timer for the next check. Ready when the connection must
    /// be dropped.
    fn check_deadlines(&mut self) -> Poll<()> {
        let now = Instant::now();
        let pool = self.connection.pool.clone();
        if !self.connection.is_draining() {
            // A limit of 0 streams is legal, but waiters need another connection if it lasts.
            let shut = self.shut_since.is_some_and(|since| now >= since + pool.settings.request_timeout);
            if shut || now >= self.retire_at {
                let why = if shut { ConnectionEnd::Error } else { ConnectionEnd::Age };
                self.connection.note_retirement(why);
                pool.retire(&self.connection);
            } else if let Some(idle) = pool.settings.idle_close {
                pool.retire_if_idle(&self.connection, now, idle);
            }
        }
        if self.connection.is_draining() && self.drain(now, &pool.settings).is_ready() {
            return Poll::Ready(());
        }
        if self.check_silence(now, &pool.settings).is_ready() {
            self.connection.set_end_cause(TransportErrorKind::PingTimeout);
            return Poll::Ready(());
        }
        let next = self.next_check(now, &pool.settings).max(now + CHECK_INTERVAL_MIN);
        self.timer.as_mut().reset(next);
        Poll::Pending
    }

    fn drain(&mut self, now: Instant, settings: &Settings) -> Poll<()> {
        let end_at = *self.end_at.get_or_insert(now + settings.request_timeout + DRAIN_GRACE);
        if self.connection.open() == 0 && self.connection.drop_sender() {
            self.end_at = Some(end_at.min(now + CLOSE_GRACE));
        }
        if now >= end_at {
            self.connection.set_end_cause(TransportErrorKind::Retired);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Sends a PING on a silent connection. Ready when a PING was not answered in time.
    fn check_silence(&mut self, now: Instant, settings: &Settings) -> Poll<()> {
        let ping_at = self.ping_at(settings);
        let (Some(ping), Some(rule)) = (&mut self.ping, &settings.ping) else { return Poll::Pending };
        if let Some(sent) = self.pinged {
            // Any frame counts as an answer, also one that arrives before the PING's answer.
            if now >= sent.max(self.last_read) + rule.deadline {
                return Poll::Ready(());
            }
        } else if ping_at.is_some_and(|at| now >= at) && ping.send_ping(Ping::opaque()).is_ok() {
            self.pinged = Some(now);
            self.connection.mark_suspect();
            self.connection.pool.maintain();
        }
        Poll::Pending
    }

    /// When the next PING is due, if the silence lasts and no streams are opened or closed.
    fn ping_at(&self, settings: &Settings) -> Option<Instant> {
        let rule = settings.ping.as_ref()?;
        if self.connection.open() > 0 {
            // Only the time since the first of these requests counts, because earlier reads say nothing about them.
            Some(self.last_read.max(self.connection.history.waiting_since()) + rule.after_silence)
        } else {
            rule.while_idle.map(|idle| self.last_read + idle)
        }
    }

    fn next_check(&self, now: Instant, settings: &Settings) -> Instant {
        let mut next = self.end_at.unwrap_or(self.retire_at);
        if let Some(rule) = &settings.ping {
            let test = match self.pinged {
                Some(sent) => Some(sent.max(self.last_read) + rule.deadline),
                None => self.ping_at(settings),
            };
            // Opening or closing a stream does not wake the driver, so it checks at least this often.
            next = next.min(now + rule.after_silence).min(test.unwrap_or(next));
        }
        if let Some(since) = self.shut_since.filter(|_| self.end_at.is_none()) {
            next = next.min(since + settings.request_timeout);
        }
        if let Some(idle) = settings.idle_close.filter(|_| self.end_at.is_none()) {
            let since = if self.connection.open() > 0 { now } else { self.connection.history.last_used() };
            next = next.min(since + idle);
        }
        next
    }
}

impl<S: Default + Send + Sync + 'static> Drop for Driver<S> {
    fn drop(&mut self) {
        self.connection.end();
        self.connection.pool.remove(&self.connection);
    }
}
