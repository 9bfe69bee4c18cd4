//! One request and its answer, on a place that was reserved for it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::BODY_CAP;
use super::connection::Connection;
use super::error::{TransportError, TransportErrorKind};
use super::pool_state::StreamSlot;

/// A reserved place on a connection; dropping it unused gives the place back.
pub struct Stream<S> {
    slot: StreamSlot<S>,
}

/// A connection, to be judged by what it answered. Holding it keeps no place taken.
pub struct ConnectionRef<S> {
    connection: Arc<Connection<S>>,
}

/// A peer's answer.
pub struct Response<S> {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers, without trailers.
    pub headers: HeaderMap,
    /// The body, or the first [`BODY_CAP`] bytes of it.
    pub body: Bytes,
    /// False if `body` is not all: it was too long, or (only with a 2xx status, which is an answer without
    /// its body) the stream broke off.
    pub complete: bool,
    /// The connection that answered.
    pub connection: ConnectionRef<S>,
}

/// What has arrived of an answer.
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

    /// The caller's state on the connection.
    pub fn state(&self) -> &S {
        &self.slot.connection().state
    }

    /// See [`ConnectionRef::mark_proven`].
    pub fn mark_proven(&self) {
        self.slot.connection().mark_proven();
    }

    /// See [`ConnectionRef::retire`]; this stream can't be sent afterwards either.
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
    /// [`TransportError`], which says whether the peer may have processed the request.
    pub async fn send(self, head: http::Request<()>, body: Bytes) -> Result<Response<S>, TransportError> {
        let deadline = Instant::now() + self.slot.connection().pool.settings.request_timeout;
        self.send_by(deadline, head, body).await
    }

    /// As [`Stream::send`], with the answer due by `deadline` if that is before the request time-out.
    ///
    /// # Errors
    /// As [`Stream::send`].
    pub async fn send_by(
        self,
        deadline: Instant,
        head: http::Request<()>,
        body: Bytes,
    ) -> Result<Response<S>, TransportError> {
        // Declared first, so dropped last: the place is free only once the stream is.
        let slot = self.slot;
        let connection = slot.connection();
        let started = Instant::now();
        let (reads, writes) = (connection.traffic.reads(), connection.traffic.writes());
        connection.touch(started, reads);
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
            // Whoever began to answer has processed it, whatever else he says.
            (None, Ok(Err(error))) if begun => {
                Err(TransportError::maybe_sent(connection.explain(&error, writes).await.kind))
            }
            (None, Ok(Err(error))) => Err(connection.explain(&error, writes).await),
            (None, _) => {
                // Whoever had little time left proves nothing about the connection.
                if started.elapsed() >= longest / 2 {
                    connection.note_timeout(connection.traffic.reads() == reads);
                }
                Err(TransportError::maybe_sent(TransportErrorKind::Timeout))
            }
        }
    }
}

impl<S> ConnectionRef<S> {
    /// The caller's state on the connection.
    pub fn state(&self) -> &S {
        &self.connection.state
    }

    /// The peer accepted a request: `prove_first` limits this connection no longer.
    pub fn mark_proven(&self) {
        self.connection.mark_proven();
    }

    /// Opens no new streams on this connection: what is on its way ends as it may, reserved streams that
    /// were not sent fail as `NotSent`, the pool opens another connection.
    pub fn retire(&self) {
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

/// Gives the whole request to `h2`. It keeps to the peer's windows itself and lets a body wait for them;
/// bodies are in memory already, so waiting for capacity here would gain nothing.
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
        // It fails only on a stream that has ended already, and how it ended is the response's to tell.
        let _ = stream.send_data(body, true);
    }
    Ok(response)
}

/// Receives into `arrived` what arrives. An answer of which only the head came counts as arrived; whether
/// that is enough is the caller's to decide.
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
        // It fails only for more than was received.
        let _ = stream.flow_control().release_capacity(chunk.len());
        let room = BODY_CAP - into.body.len() - more.len();
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
