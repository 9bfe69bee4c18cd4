//! The token endpoint for clients that speak HTTP/1.1 only. FCM's send call is HTTP/2 here: a client that
//! sends pushes over HTTP/1.1 has misconfigured ALPN, and the answer says so.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::clock;
use super::entry::{End, Ended};
use super::oauth;
use super::reply::Reply;
use super::session::{Effect, Plan, Received, Shared};

const BODY_LIMIT: usize = 64 * 1024;

/// The connection is to be dropped instead of answered.
#[derive(Debug, thiserror::Error)]
#[error("the script drops this connection")]
pub(super) struct Dropped;

/// Serves a connection until either side ends it.
pub(super) async fn serve<T>(io: T, shared: Arc<Shared>, connection: u64, stop: CancellationToken)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut live = shared.live.subscribe();
    let closes = live.borrow_and_update().closes;
    let service = service_fn(move |request| answer(shared.clone(), connection, request));
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
    tokio::select! {
        _ = served => {}
        () = stop.cancelled() => {}
        _ = live.wait_for(|live| live.closes != closes) => {}
    }
}

async fn answer(
    shared: Arc<Shared>,
    connection: u64,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Dropped> {
    let (parts, body) = request.into_parts();
    if !oauth::is_endpoint(parts.uri.path()) {
        return Ok(response(Reply::html(StatusCode::NOT_FOUND, "")));
    }
    let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|_| Dropped)?.to_bytes();
    let verdict = oauth::check(&shared, &parts, &body);
    let received = Received { parts, body, stream: 0, at_us: clock::now_us() };
    carry_out(oauth::plan(&shared, connection, received, verdict)).await
}

/// Does what was decided about a request over HTTP/1.1.
pub(super) async fn carry_out(plan: Plan) -> Result<Response<Full<Bytes>>, Dropped> {
    let Plan { ticket, delay, effect } = plan;
    tokio::time::sleep(delay).await;
    match effect {
        Effect::Reply { reply, accepted } | Effect::GoAway { reply, accepted, .. } => {
            ticket.end(End::answered(&reply, accepted));
            Ok(response(reply))
        }
        Effect::Reset { accepted, .. } | Effect::Close { accepted } => {
            ticket.end(End::without_answer(Ended::Closed, accepted));
            Err(Dropped)
        }
        Effect::NoAnswer { accepted } | Effect::Stall { accepted } => {
            ticket.end(End::without_answer(Ended::NoAnswer, accepted));
            std::future::pending::<Result<_, Dropped>>().await
        }
    }
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let (head, body) = reply.into_parts();
    head.map(|()| Full::new(body))
}
