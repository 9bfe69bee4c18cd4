//! Sends one request on a reserved stream and receives its answer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::BODY_BYTES_MAX;
use super::connection::Connection;
use super::error::{TransportError, TransportErrorKind};
use super::pool_state::StreamSlot;
use crate::telemetry::metrics::ConnectionEnd;

/// A reserved stream of a connection. Dropping it unused frees the stream.
pub struct Stream<S> {
    slot: StreamSlot<S>,
}

/// The connection that answered, so that the caller can retire it or mark it as proven. Holding it reserves no stream.
pub struct ConnectionRef<S> {
    connection: Arc<Connection<S>>,
}

/// An answer of the peer to a request.
pub struct Response<S> {
    /// The HTTP status of the answer.
    pub status: StatusCode,
    /// The headers of the answer, without trailers.
    pub headers: HeaderMap,
    /// The body, or the first [`BODY_BYTES_MAX`] bytes of it.
    pub body: Bytes,
    /// False if `body` is truncated: it was too long, or the stream ended early. The latter is accepted only with a
    /// 2xx status, which is an answer without its body.
    pub complete: bool,
    /// The connection that answered.
    pub connection: ConnectionRef<S>,
}

/// The part of an answer that has arrived.
struct Arrived {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    complete: bool,
}

impl<S> Stream<S> {
    pub(super) fn new(slot: StreamSlot<S>) -> Self {
        Self { slot }
    }

    /// The pool user's own state for the connection.
    pub fn state(&self) -> &S {
        &self.slot.connection().of_user
    }

    /// The number of the connection within this process.
    pub fn connection_number(&self) -> u64 {
        self.slot.connection().number
    }

    /// Ends the limit of `prove_first`, as [`ConnectionRef::mark_proven`] does.
    pub fn mark_proven(&self) {
        self.slot.connection().mark_proven();
    }

    /// Retires the connection, as [`ConnectionRef::retire`] does. Then this stream can't be sent either.
    pub fn retire(&self) {
        self.slot.connection().pool.retire(self.slot.connection());
    }

    /// The connection that this stream is on.
    pub fn connection(&self) -> ConnectionRef<S> {
        ConnectionRef { connection: self.slot.connection().clone() }
    }

    /// Sends a request (with an absolute URI) and waits for the whole answer, within the request time-out.
    /// Dropping the future resets the stream.
    ///
    /// # Errors
    /// Returns a [`TransportError`], which says whether the peer may have processed the request.
    pub async fn send(self, head: http::Request<()>, body: Bytes) -> Result<Response<S>, TransportError> {
        let deadline = Instant::now() + self.slot.connection().pool.settings.request_timeout;
        self.send_by(deadline, head, body).await
    }

    /// As [`Stream::send`], with the answer due by `deadline` if that is before the request time-out.
    ///
    /// # Errors
    /// The same as [`Stream::send`].
    pub async fn send_by(
        self,
        deadline: Instant,
        head: http::Request<()>,
        body: Bytes,
    ) -> Result<Response<S>, TransportError> {
        // `slot` is declared first and dropped last, so that it is freed only after the stream has ended.
        let slot = self.slot;
        let connection = slot.connection();
        let started = Instant::now();
        let (reads, writes) = (connection.traffic.reads(), connection.traffic.writes());
        connection.history.note_request(started, reads);
        let response = queue(connection, head, body)?;
        let mut arrived = None;
        let longest = connection.pool.settings.request_timeout;
        let deadline = deadline.min(started + longest);
        let outcome = timeout_at(deadline, receive(connection, response, &mut arrived)).await;
        let begun = arrived.is_some();
        let accepted = arrived.filter(|arrived| matches!(outcome, Ok(Ok(()))) || arrived.status.is_success());
        match (accepted, outcome) {
            (Some(Arrived { status, headers, body, complete }), _) => {
                let connection = ConnectionRef { connection: connection.clone() };
                Ok(Response { status, headers, body, complete, connection })
            }
            // A peer that began to answer has processed the request, even if it reports the stream as refused later.
            (None, Ok(Err(error))) if begun => {
                Err(TransportError::maybe_sent(connection.explain(&error, writes).await.kind))
            }
            (None, Ok(Err(error))) => Err(connection.explain(&error, writes).await),
            (None, _) => {
                // A request with a short deadline proves nothing about the connection.
                if started.elapsed() >= longest / 2 {
                    connection.note_timeout(connection.traffic.reads() == reads);
                }
                Err(TransportError::maybe_sent(TransportErrorKind::Timeout))
            }
        }
    }
}

impl<S> ConnectionRef<S> {
    /// The pool user's own state for the connection.
    pub fn state(&self) -> &S {
        &self.connection.of_user
    }

    /// Records that the peer accepted a request. `prove_first` no longer limits this connection.
    pub fn mark_proven(&self) {
        self.connection.mark_proven();
    }

    /// Opens no new streams on this connection. Requests in flight may finish, and reserved streams that were not sent
    /// fail as `NotSent`. The pool opens another connection if one is needed.
    pub fn retire(&self) {
        self.connection.note_retirement(ConnectionEnd::Error);
        self.connection.pool.retire(&self.connection);
    }
}

impl<S> Clone for ConnectionRef<S> {
    fn clone(&self) -> Self {
        Self { connection: self.connection.clone() }
    }
}

impl<S> std::fmt::Debug for Response<S> {
    /// Status and size only: bodies may quote tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .field("complete", &self.complete)
            .finish_non_exhaustive()
    }
}

impl<S> std::fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// Queues the whole request in `h2`, which keeps to the peer's windows itself. Bodies are in memory already, so
/// waiting for capacity here would gain nothing.
fn queue<S>(
    connection: &Connection<S>,
    head: http::Request<()>,
    body: Bytes,
) -> Result<ResponseFuture, TransportError> {
    let mut sender = connection.sender()?;
    let bodiless = body.is_empty();
    let (response, mut stream) =
        sender.send_request(head, bodiless).map_err(|error| TransportError::before_send(&error))?;
    if !bodiless {
        // This fails only on a stream that has ended already. The response reports how it ended.
        let _ = stream.send_data(body, true);
    }
    Ok(response)
}

/// Receives the answer into `arrived`. After the head, `arrived` is set even if the body fails; the caller decides
/// whether that is enough.
async fn receive<S>(
    connection: &Connection<S>,
    response: ResponseFuture,
    arrived: &mut Option<Arrived>,
) -> Result<(), h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    connection.note_answer(!head.status.is_server_error());
    let ended = stream.is_end_stream();
    let into = arrived.insert(Arrived {
        status: head.status,
        headers: head.headers,
        body: Bytes::new(),
        complete: ended,
    });
    if ended { Ok(()) } else { receive_body(&mut stream, into).await }
}

async fn receive_body(stream: &mut RecvStream, into: &mut Arrived) -> Result<(), h2::Error> {
    let mut more = BytesMut::new();
    while let Some(chunk) = stream.data().await {
        let mut chunk = chunk?;
        // This fails only if more is released than was received.
        let _ = stream.flow_control().release_capacity(chunk.len());
        let room = BODY_BYTES_MAX - into.body.len() - more.len();
        let too_long = chunk.len() > room;
        chunk.truncate(room);
        if into.body.is_empty() {
            into.body = chunk;
        } else {
            more.extend_from_slice(&chunk);
        }
        if too_long {
            append(into, &more);
            return Ok(());
        }
    }
    append(into, &more);
    into.complete = true;
    Ok(())
}

fn append(into: &mut Arrived, more: &[u8]) {
    if !more.is_empty() {
        into.body = [&into.body[..], more].concat().into();
    }
}
