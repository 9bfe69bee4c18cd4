//! One HTTP/2 connection: takes streams within the limit, gathers bodies, lets the session judge, and answers
//! when it is time. One task per connection, no lock on its state.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use h2::server::{Connection, SendResponse};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::account::{Next, Streams, next_step};
use super::session::{Live, Session, Shared};
use super::stream::advance;
use super::wire::{Tap, Wire};

/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// HTTP/2's default. It is repeated when a new stream limit is announced; see [`super::wire`].
pub(super) const INITIAL_WINDOW: u32 = 65_535;

/// Serves a connection until either side ends it.
pub(super) async fn serve<T, S>(io: T, shared: &Shared, session: S, window: u32, stop: CancellationToken)
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Session,
{
    let mut live = shared.live.subscribe();
    let now = *live.borrow_and_update();
    let limit = session.streams(now.streams);
    let wire = Wire::new(limit);
    let handshake = builder(window).handshake::<_, Bytes>(Tap::new(io, wire.clone()));
    let Ok(Ok(h2)) = tokio::time::timeout(HANDSHAKE, handshake).await else { return };
    let streams = Streams::new(wire, session, shared.settings.overflow, now);
    run(h2, streams, live, window, stop).await;
}

/// The limit that `h2` itself enforces is out of the way; ours is in [`Streams`].
fn builder(window: u32) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(1 << 20)
        .max_header_list_size(8000)
        .initial_window_size(window)
        .max_local_error_reset_streams(None)
        .max_pending_accept_reset_streams(1 << 20)
        .data_frame_budget(1 << 26);
    builder
}

async fn run<T, S>(
    mut h2: Connection<Tap<T>, Bytes>,
    mut streams: Streams<S>,
    mut live: watch::Receiver<Live>,
    window: u32,
    stop: CancellationToken,
) where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Session,
{
    let mut waiting = FuturesUnordered::new();
    let mut stopped = pin!(stop.cancelled());
    loop {
        if std::mem::take(&mut streams.retiring) {
            h2.graceful_shutdown();
        }
        let timer = streams.timer();
        let next = tokio::select! {
            biased;
            request = next_request(&mut h2, &mut streams.announcement_due, window) => match request {
                Some(Ok((request, respond))) => {
                    streams.make_room(&mut waiting);
                    streams.take(request, respond)
                }
                Some(Err(_)) | None => Next::Close,
            },
            step = next_step(&mut waiting, &mut streams.ready) => streams.drain(step, &mut waiting, advance),
            () = &mut stopped => Next::Close,
            changed = live.changed() => match changed {
                Ok(()) => streams.follow(*live.borrow_and_update()),
                Err(_) => Next::Close,
            },
            () = tokio::time::sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => streams.timed_out(),
        };
        match next {
            Next::Continue => {}
            Next::Wait(wait) => waiting.push(advance(wait)),
            Next::Close => return flush(&mut h2).await,
            Next::Stall => break,
        }
    }
    flush(&mut h2).await;
    // Stalled: the socket stays open and unread until one side closes it.
    let closes = streams.live.closes;
    tokio::select! {
        () = &mut stopped => {}
        _ = live.wait_for(|live| live.closes != closes) => {}
    }
}

/// What was answered before the end leaves: the ledger says so already.
async fn flush<T: AsyncRead + AsyncWrite + Unpin>(h2: &mut Connection<Tap<T>, Bytes>) {
    poll_fn(|cx| {
        let _pending = h2.poll_closed(cx);
        Poll::Ready(())
    })
    .await;
}

type Incoming = Option<Result<(http::Request<h2::RecvStream>, SendResponse<Bytes>), h2::Error>>;

/// The next stream; meanwhile a changed limit is announced as soon as the last SETTINGS were acknowledged.
fn next_request<'a, T>(
    h2: &'a mut Connection<Tap<T>, Bytes>,
    due: &'a mut bool,
    window: u32,
) -> impl Future<Output = Incoming> + 'a
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(move |cx| {
        let polled = pin!(h2.accept()).poll(cx);
        if polled.is_pending() && *due && h2.set_initial_window_size(window).is_ok() {
            *due = false;
            return pin!(h2.accept()).poll(cx);
        }
        polled
    })
}
