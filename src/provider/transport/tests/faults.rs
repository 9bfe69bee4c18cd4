//! Failures of streams and connections, and whether the peer may have processed the request.

use super::super::{BODY_BYTES_MAX, Sent, TransportErrorKind};
use super::*;

#[tokio::test]
async fn a_refused_stream_was_not_sent_and_the_connection_goes_on() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, requests) = in_flight(&server, &pool, 2).await;
    raw.reset(1, 7).await;
    raw.respond(3).await;
    let (ok, errors) = outcomes(requests).await;
    assert_eq!(ok, 1);
    assert_eq!((errors[0].sent, &errors[0].kind), (Sent::NotSent, &TransportErrorKind::Refused));
    assert_eq!((pool.stats().connections, pool.stats().open_streams), (1, 0));
}

#[tokio::test]
async fn any_other_reset_may_have_been_sent() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    raw.reset(1, 2).await;
    let error = one_error(requests).await;
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, TransportErrorKind::Reset(2)));
}

#[tokio::test]
async fn go_away_keeps_streams_up_to_its_last_id_and_fails_the_rest() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, mut requests) = in_flight(&server, &pool, 5).await;
    raw.go_away(5, 7, b"Maximum active streams violated for this endpoint.").await;
    let told = "Maximum active streams violated for this endpoint.".to_owned();
    for _ in 0..2 {
        let error = soon(requests.join_next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.sent, Sent::NotSent);
        assert_eq!(error.kind, TransportErrorKind::GoAway { code: 7, debug: told.clone() });
    }
    // New streams use another connection while the old ones are still open.
    let elsewhere = pool.clone();
    let mut moved = JoinSet::new();
    moved.spawn(async move { send(&elsewhere, "/", b"").await });
    let mut second = server.accept(&[]).await;
    assert_eq!(second.requests(1).await, [1]);
    second.respond(1).await;
    assert_eq!(outcomes(moved).await.0, 1);
    assert_eq!((pool.stats().connections, pool.stats().draining), (1, 1));

    for stream in [5, 1, 3] {
        raw.respond(stream).await;
    }
    assert_eq!(outcomes(requests).await.0, 3);
    until("the first is closed", || pool.stats().draining == 0).await;
}

#[tokio::test]
async fn a_graceful_go_away_fails_no_request() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, requests) = in_flight(&server, &pool, 3).await;
    raw.go_away(i32::MAX.cast_unsigned(), 0, b"").await;
    until("it drains", || pool.stats().draining == 1).await;
    for stream in [1, 3] {
        raw.respond(stream).await;
    }
    raw.go_away(5, 0, b"session_timed_out").await;
    raw.respond(5).await;
    raw.close().await;
    assert_eq!(outcomes(requests).await.0, 3);
    until("it is closed", || pool.stats().draining == 0).await;
}

#[tokio::test]
async fn go_away_then_close_leaves_processed_streams_in_doubt_with_its_reason() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, requests) = in_flight(&server, &pool, 2).await;
    raw.go_away(1, 0, br#"{"reason":"Shutdown"}"#).await;
    raw.close().await;
    let (ok, mut errors) = outcomes(requests).await;
    assert_eq!(ok, 0);
    errors.sort_by_key(|error| error.sent == Sent::MaybeSent);
    let told = TransportErrorKind::GoAway { code: 0, debug: r#"{"reason":"Shutdown"}"#.to_owned() };
    assert_eq!((errors[0].sent, &errors[0].kind), (Sent::NotSent, &told));
    assert_eq!((errors[1].sent, &errors[1].kind), (Sent::MaybeSent, &told));
}

#[tokio::test]
async fn a_request_on_a_broken_connection_may_have_been_sent() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (raw, requests) = in_flight(&server, &pool, 1).await;
    drop(raw);
    let error = one_error(requests).await;
    assert_eq!(error.sent, Sent::MaybeSent);
    assert!(matches!(error.kind, TransportErrorKind::Closed(_)), "{error}");
}

#[tokio::test]
async fn a_request_on_a_connection_closed_while_idle_was_not_sent() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    raw.respond(1).await;
    assert_eq!(outcomes(requests).await.0, 1);
    // The stream is reserved before the connection ends and sent after it, so the request never left.
    let stream = soon(pool.reserve(Instant::now() + PATIENCE)).await.unwrap();
    raw.close().await;
    until("the end is seen", || pool.stats() == Default::default() || pool.stats().connections == 0).await;
    let error = soon(stream.send(head("/"), Bytes::new())).await.unwrap_err();
    assert_eq!(error.sent, Sent::NotSent, "{error}");

    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    raw.respond(1).await;
    assert_eq!(outcomes(requests).await.0, 1);
}

#[tokio::test]
async fn a_request_queued_on_a_dead_connection_was_not_sent() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    raw.respond(1).await;
    assert_eq!(outcomes(requests).await.0, 1);
    let stream = pool.reserve(Instant::now()).await.unwrap();
    let (tcp, _) = raw.tls.into_inner();
    let tcp = tcp.into_std().unwrap();
    tcp.shutdown(std::net::Shutdown::Both).unwrap();
    // The runtime learns of the end, but runs this test before the driver. The driver then sees the end and the
    // request.
    tokio::task::yield_now().await;
    let error = soon(stream.send(head("/"), Bytes::new())).await.unwrap_err();
    assert_eq!(error.sent, Sent::NotSent, "{error}");
}

#[tokio::test]
async fn a_long_body_is_cut_and_a_short_one_put_together() {
    let server = serve(h2::server::Builder::new(), |_, request, mut respond| async move {
        let size = if request.uri().path() == "/long" { 1 << 20 } else { 40_000 };
        let mut stream = respond.send_response(HttpResponse::new(()), false).unwrap();
        let _ = stream.send_data(vec![b'x'; size].into(), true);
        // Waits until everything is sent or the stream is reset.
        let _ = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
    })
    .await;
    let pool = pool(server.port, settings());
    let long = soon(send(&pool, "/long", b"")).await.unwrap();
    assert_eq!((long.body.len(), long.complete), (BODY_BYTES_MAX, false));
    let short = soon(send(&pool, "/short", b"")).await.unwrap();
    assert_eq!((short.body, short.complete), (vec![b'x'; 40_000].into(), true));
    assert_eq!(pool.stats().open_streams, 0);
}

#[tokio::test]
async fn a_truncated_answer_counts_only_if_its_status_is_a_success() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, mut requests) = in_flight(&server, &pool, 2).await;
    raw.write(HEADERS, 0x4, 1, &[0x88]).await;
    raw.reset(1, 2).await;
    let answer = soon(requests.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!((answer.status.as_u16(), answer.complete), (200, false));
    // 0x8d is `:status: 404`. Its reason would be in the body, which never arrives.
    raw.write(HEADERS, 0x4, 3, &[0x8d]).await;
    raw.reset(3, 7).await;
    let error = one_error(requests).await;
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, TransportErrorKind::Refused));
}

#[tokio::test]
async fn a_peer_that_violates_the_protocol_may_have_processed_the_request() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    // DATA before HEADERS.
    raw.write(DATA, 0, 1, b"?").await;
    let error = one_error(requests).await;
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, TransportErrorKind::Protocol(1)));
}

#[tokio::test]
async fn an_unsendable_request_fails_as_invalid() {
    let server = serve(h2::server::Builder::new(), |_, request, respond| echo(request, respond)).await;
    let pool = pool(server.port, settings());
    let stream = soon(pool.reserve(Instant::now() + PATIENCE)).await.unwrap();
    let mut head = head("/");
    head.headers_mut().insert("connection", "close".parse().unwrap());
    let error = soon(stream.send(head, Bytes::new())).await.unwrap_err();
    assert!(matches!((error.sent, error.kind), (Sent::NotSent, TransportErrorKind::Invalid(_))));
    assert_eq!(pool.stats().open_streams, 0);
}
