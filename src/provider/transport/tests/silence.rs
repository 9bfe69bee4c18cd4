//! Silent connections: which requests fail, and when the connection is given up.

use super::super::{Sent, TransportErrorKind};
use super::*;

#[tokio::test]
async fn a_silent_peer_costs_time_outs_and_then_the_connection() {
    let server = RawServer::bind().await;
    let quick = Settings { request_timeout: Duration::from_secs(2), evict_after_timeouts: 2, ..settings() };
    let pool = pool(server.port, quick);
    let (mut raw, requests) = warm(&server, &pool).await;
    let error = one_error(requests).await;
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, TransportErrorKind::Timeout));
    assert_eq!(raw.next(RST_STREAM).await.payload, 8u32.to_be_bytes(), "CANCEL");
    assert_eq!(pool.stats().connections, 1, "one time-out is not enough");

    let error = soon(send(&pool, "/", b"")).await.unwrap_err();
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, TransportErrorKind::Timeout));
    until("it is given up", || pool.stats() == Default::default()).await;
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    raw.respond(1).await;
    assert_eq!(outcomes(requests).await.0, 1);
}

#[tokio::test]
async fn a_callers_deadline_ends_the_request_but_not_the_connection() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, Settings { evict_after_timeouts: 1, ..settings() });
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    for _ in 0..3 {
        let stream = pool.reserve(Instant::now()).await.unwrap();
        let hurried = stream.send_by(Instant::now() + Duration::from_millis(20), head("/"), Bytes::new());
        let error = soon(hurried).await.unwrap_err();
        assert_eq!((error.sent, error.kind), (Sent::MaybeSent, TransportErrorKind::Timeout));
    }
    raw.respond(1).await;
    assert_eq!(outcomes(requests).await.0, 1);
    assert_eq!(pool.stats().connections, 1);
}

#[tokio::test]
async fn answers_between_time_outs_keep_the_connection() {
    let server = RawServer::bind().await;
    let quick = Settings { request_timeout: Duration::from_secs(2), evict_after_timeouts: 2, ..settings() };
    let pool = pool(server.port, quick);
    let (mut raw, requests) = warm(&server, &pool).await;
    assert_eq!(one_error(requests).await.kind, TransportErrorKind::Timeout);
    for round in 0..3 {
        let (answered, timed_out) = (5 + round * 4, 7 + round * 4);
        let (first, respond) = tokio::join!(send(&pool, "/", b""), async {
            while raw.next(HEADERS).await.stream != answered {}
            raw.respond(answered).await;
        });
        let () = respond;
        first.unwrap();
        assert_eq!(soon(send(&pool, "/", b"")).await.unwrap_err().kind, TransportErrorKind::Timeout);
        while raw.next(HEADERS).await.stream != timed_out {}
    }
    assert_eq!(pool.stats().connections, 1);
}

#[tokio::test]
async fn a_ping_without_answer_ends_the_connection() {
    let server = RawServer::bind().await;
    let ping = PingSettings {
        after_silence: Duration::from_millis(30),
        deadline: Duration::from_secs(3),
        while_idle: None,
    };
    let pool = pool(server.port, Settings { ping: Some(ping), ..settings() });
    let (mut raw, requests) = in_flight(&server, &pool, 2).await;
    let first = raw.next(PING).await;
    raw.write(PING, 1, 0, &first.payload).await;
    // After an answered PING the connection goes on and sends another. After an unanswered one it ends, long before
    // the request time-out.
    raw.next(PING).await;
    assert_eq!(pool.stats().connections, 1);
    let (_, errors) = outcomes(requests).await;
    for error in errors {
        assert_eq!((error.sent, error.kind), (Sent::MaybeSent, TransportErrorKind::PingTimeout));
    }
    until("it is dropped", || pool.stats() == Default::default()).await;
}

#[tokio::test]
async fn a_window_of_zero_ends_at_the_deadline() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, Settings { request_timeout: Duration::from_secs(2), ..settings() });
    let mut requests = JoinSet::new();
    let (first, second) = (pool.clone(), pool.clone());
    requests.spawn(async move { send(&first, "/", b"").await });
    let mut raw = server.accept(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    raw.requests(1).await;
    raw.respond(1).await;
    assert_eq!(outcomes(requests).await.0, 1);

    let mut requests = JoinSet::new();
    requests.spawn(async move { send(&second, "/", b"stalled").await });
    let error = one_error(requests).await;
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, TransportErrorKind::Timeout));
    assert_eq!(raw.next(RST_STREAM).await.stream, 3);
    // A window that opens later lets the body through.
    let third = pool.clone();
    let mut requests = JoinSet::new();
    requests.spawn(async move { send(&third, "/", b"patient").await });
    assert_eq!(raw.next(HEADERS).await.stream, 5);
    raw.write(WINDOW_UPDATE, 0, 5, &3u32.to_be_bytes()).await;
    assert_eq!(raw.next(DATA).await.payload, b"pat");
    raw.write(WINDOW_UPDATE, 0, 5, &30u32.to_be_bytes()).await;
    assert_eq!(raw.next(DATA).await.payload, b"ient");
    raw.respond(5).await;
    assert_eq!(outcomes(requests).await.0, 1);
}

/// Settings with a PING after `after` ms of silence. `deadline` is the wait for its answer.
fn pings(after: u64, deadline: Duration) -> Settings {
    let after_silence = Duration::from_millis(after);
    let ping = PingSettings { after_silence, deadline, while_idle: None };
    Settings { ping: Some(ping), ..settings() }
}

/// A connection that has answered, and then a request on it.
async fn warm(
    server: &RawServer,
    pool: &TestPool,
) -> (Raw, JoinSet<Result<Response<State>, TransportError>>) {
    let (mut raw, requests) = in_flight(server, pool, 1).await;
    raw.respond(1).await;
    assert_eq!(outcomes(requests).await.0, 1);
    let request = start(pool);
    assert_eq!(raw.requests(1).await, [3]);
    (raw, request)
}

fn start(pool: &TestPool) -> JoinSet<Result<Response<State>, TransportError>> {
    let pool = pool.clone();
    let mut request = JoinSet::new();
    request.spawn(async move { send(&pool, "/", b"").await });
    request
}

#[tokio::test]
async fn a_connection_whose_ping_is_unanswered_gets_no_stream_and_is_replaced() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, pings(2000, PATIENCE));
    let (mut first, requests) = warm(&server, &pool).await;
    first.next(PING).await;
    let another = start(&pool);
    let mut second = server.accept(&[]).await;
    assert_eq!(second.requests(1).await, [1]);
    second.respond(1).await;
    assert_eq!(outcomes(another).await.0, 1);
    assert_eq!((pool.stats().connections, pool.stats().draining), (1, 1));
    // The first connection was only slow, so its request may finish.
    first.respond(3).await;
    assert_eq!(outcomes(requests).await.0, 1);
    until("it is closed", || pool.stats().draining == 0).await;
}

#[tokio::test]
async fn a_pong_makes_the_connection_usable_again() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, pings(2000, PATIENCE));
    let (mut raw, requests) = warm(&server, &pool).await;
    let ping = raw.next(PING).await;
    let another = start(&pool);
    until("it waits", || pool.stats().waiting == 1).await;
    raw.write(PING, 1, 0, &ping.payload).await;
    assert_eq!(raw.requests(1).await, [5]);
    raw.respond(5).await;
    raw.respond(3).await;
    assert_eq!(outcomes(another).await.0 + outcomes(requests).await.0, 2);
    // The connection that was opened meanwhile is closed as surplus.
    let mut second = server.accept_tls().await;
    let _ = soon(second.read_to_end(&mut Vec::new())).await;
    until("only the first is left", || (pool.stats().connections, pool.stats().draining) == (1, 0)).await;
    let (answer, ()) = tokio::join!(send(&pool, "/", b""), async {
        assert_eq!(raw.requests(1).await, [7]);
        raw.respond(7).await;
    });
    answer.unwrap();
}

#[tokio::test]
async fn further_requests_do_not_delay_the_ping() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, pings(2000, PATIENCE));
    let (mut raw, _requests) = in_flight(&server, &pool, 1).await;
    let hurried = async {
        loop {
            if let Ok(stream) = pool.reserve(Instant::now() + Duration::from_millis(20)).await {
                let until = Instant::now() + Duration::from_millis(20);
                let _ = stream.send_by(until, head("/"), Bytes::new()).await;
            }
        }
    };
    let pinged = async {
        tokio::select! {
            _ = raw.next(PING) => {}
            () = hurried => {}
        }
    };
    soon(pinged).await;
}

#[tokio::test]
async fn silence_counts_from_the_first_request_and_not_from_the_idle_time_before_it() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, pings(3000, PATIENCE));
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    raw.respond(1).await;
    assert_eq!(outcomes(requests).await.0, 1);
    tokio::time::sleep(Duration::from_millis(3500)).await;
    // The idle connection was not pinged, and no PING goes with the request.
    let request = start(&pool);
    let kinds = async {
        loop {
            let frame = raw.read().await.unwrap();
            assert_ne!((frame.kind, frame.flags), (PING, 0));
            if frame.kind == HEADERS {
                break;
            }
        }
    };
    kinds.await;
    assert!(!raw.reads_within(Duration::from_millis(100)).await, "a PING at once");
    raw.respond(3).await;
    assert_eq!(outcomes(request).await.0, 1);
}

#[tokio::test]
async fn an_idle_connection_is_pinged_if_configured() {
    let server = RawServer::bind().await;
    let while_idle = Some(Duration::from_secs(2));
    let ping =
        PingSettings { after_silence: Duration::from_secs(2), deadline: Duration::from_secs(2), while_idle };
    let pool = pool(server.port, Settings { ping: Some(ping), ..settings() });
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    raw.respond(1).await;
    assert_eq!(outcomes(requests).await.0, 1);
    let answered = raw.next(PING).await;
    raw.write(PING, 1, 0, &answered.payload).await;
    raw.next(PING).await;
    until("it is dropped", || pool.stats() == Default::default()).await;
}

#[tokio::test]
async fn a_connection_that_allows_no_streams_for_long_is_retired() {
    let server = RawServer::bind().await;
    let impatient = Settings { request_timeout: Duration::from_secs(2), ..settings() };
    let pool = pool(server.port, impatient);
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    raw.settings(&[(MAX_CONCURRENT_STREAMS, 0)]).await;
    raw.respond(1).await;
    assert_eq!(outcomes(requests).await.0, 1);
    let another = start(&pool);
    until("it waits", || pool.stats().waiting == 1).await;
    let mut second = server.accept(&[]).await;
    assert_eq!(second.requests(1).await, [1]);
    second.respond(1).await;
    assert_eq!(outcomes(another).await.0, 1);
}

#[tokio::test]
async fn a_connection_that_never_answered_is_retired_after_one_time_out() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, Settings { request_timeout: Duration::from_secs(2), ..settings() });
    let (raw, requests) = in_flight(&server, &pool, 1).await;
    assert_eq!(one_error(requests).await.kind, TransportErrorKind::Timeout);
    until("it is given up", || pool.stats().connections == 0).await;
    drop(raw);
}

#[tokio::test]
async fn a_request_that_the_peer_does_not_read_was_not_sent() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, pings(8000, Duration::from_secs(2)));
    let stuck = pool.clone();
    let mut requests = JoinSet::new();
    let wide = i32::MAX.cast_unsigned();
    requests.spawn(async move {
        let stream = stuck.reserve(Instant::now() + PATIENCE).await?;
        stream.send(head("/large"), vec![b'x'; 64 << 20].into()).await
    });
    let mut raw = server.accept(&[(INITIAL_WINDOW_SIZE, wide)]).await;
    raw.write(WINDOW_UPDATE, 0, 0, &(wide - 65_535).to_be_bytes()).await;
    raw.next(DATA).await;
    // From here on the server reads nothing. Each request fills TLS's buffers a little more, until they are full.
    let (mut before, mut writes) = (0, 1);
    while before != writes {
        before = writes;
        let stream = soon(pool.reserve(Instant::now() + PATIENCE)).await.unwrap();
        let hurried = stream.send_by(Instant::now() + Duration::from_millis(100), head("/"), Bytes::new());
        let error = hurried.await.unwrap_err();
        assert_eq!((error.sent, error.kind), (Sent::MaybeSent, TransportErrorKind::Timeout));
        writes = pool.writes();
    }
    let held = pool.clone();
    requests.spawn(async move { send(&held, "/held", b"").await });
    let (ok, mut errors) = outcomes(requests).await;
    assert_eq!(ok, 0);
    errors.sort_by_key(|error| error.sent == Sent::MaybeSent);
    let ended: Vec<_> = errors.iter().map(|error| (error.sent, &error.kind)).collect();
    assert_eq!(
        ended,
        [
            (Sent::NotSent, &TransportErrorKind::PingTimeout),
            (Sent::MaybeSent, &TransportErrorKind::PingTimeout)
        ]
    );
    drop(raw);
}
