//! Connecting, ageing, retiring and closing of connections.

use super::super::{Sent, TransportErrorKind};
use super::*;

async fn echo_server() -> Server {
    serve(h2::server::Builder::new(), |_, request, respond| echo(request, respond)).await
}

/// A port without a listener. While the socket is held, no other process can listen on the port.
fn dead_port() -> (u16, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap().port(), socket)
}

async fn reserve_error(pool: &TestPool) -> TransportError {
    soon(pool.reserve(Instant::now() + PATIENCE)).await.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn a_refused_connect_fails_all_waiters_at_once() {
    let (port, _held) = dead_port();
    let pool = pool(port, settings());
    let mut waiters = JoinSet::new();
    for _ in 0..1000 {
        let pool = pool.clone();
        waiters.spawn(async move { pool.reserve(Instant::now() + PATIENCE).await.map(|_| ()).unwrap_err() });
    }
    for error in soon(waiters.join_all()).await {
        assert_eq!(error.sent, Sent::NotSent);
        assert!(matches!(error.kind, TransportErrorKind::Connect(_)), "{error}");
    }
}

#[tokio::test]
async fn failing_connects_are_made_one_at_a_time_with_back_off() {
    // The server accepts TCP and closes. Many callers retry at once, but few connects may result.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pool = pool(listener.local_addr().unwrap().port(), settings());
    let mut callers = JoinSet::new();
    for _ in 0..200 {
        let pool = pool.clone();
        callers.spawn(async move {
            let until = Instant::now() + Duration::from_secs(3);
            while Instant::now() < until {
                let error = pool.reserve(until).await.map(|_| ()).unwrap_err();
                assert_eq!(error.sent, Sent::NotSent);
                assert!(matches!(error.kind, TransportErrorKind::Tls(_)), "{error}");
            }
        });
    }
    let mut connects = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => { drop(accepted); connects += 1; }
            done = callers.join_next() => match done {
                Some(done) => done.unwrap(),
                None => break,
            },
        }
    }
    // The first pause is 25–50 ms and each is twice the one before. So 3 s hold seven connects at most, and one may be
    // open.
    assert!((1..=8).contains(&connects), "{connects} connects");
}

#[tokio::test]
async fn a_deadline_during_the_pause_reports_the_failure() {
    let (port, _held) = dead_port();
    let pool = pool(port, settings());
    for _ in 0..3 {
        reserve_error(&pool).await;
    }
    let error = pool.reserve(Instant::now()).await.map(|_| ()).unwrap_err();
    assert!(matches!((error.sent, &error.kind), (Sent::NotSent, TransportErrorKind::Connect(_))), "{error}");
}

#[tokio::test]
async fn an_unknown_name_a_foreign_certificate_and_a_silent_peer_have_different_errors() {
    let server = echo_server().await;
    let at_host = |host: &str| Destination { host: host.to_owned(), ..origin(server.port) };
    let hurried = Settings { connect_timeout: Duration::from_secs(5), ..settings() };
    let pool = Arc::new(Pool::<State>::new(at_host("no-such-host.invalid"), hurried));
    assert!(matches!(reserve_error(&pool).await.kind, TransportErrorKind::Dns(_)));
    let pool = Arc::new(Pool::<State>::new(at_host("127.0.0.1"), settings()));
    assert!(
        matches!(reserve_error(&pool).await.kind, TransportErrorKind::Tls(_)),
        "the certificate is localhost's"
    );

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let impatient = Settings { connect_timeout: Duration::from_secs(2), ..settings() };
    let pool = super::pool(silent.local_addr().unwrap().port(), impatient);
    let error = reserve_error(&pool).await;
    assert!(matches!((error.sent, &error.kind), (Sent::NotSent, TransportErrorKind::Tls(_))), "{error}");
}

#[tokio::test]
async fn a_peer_without_http2_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut config = (*pki().server).clone();
    config.alpn_protocols.clear();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await;
        std::future::pending::<()>().await;
        drop(tls);
    });
    let error = reserve_error(&pool(port, settings())).await;
    assert!(matches!(&error.kind, TransportErrorKind::Tls(why) if why.contains("ALPN")), "{error}");
}

#[tokio::test]
async fn a_peer_that_closes_every_connection_is_reconnected_with_back_off() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let until = Instant::now() + Duration::from_secs(3);
    let caller = async {
        while Instant::now() < until {
            if let Ok(stream) = pool.reserve(until).await {
                let _ = stream.send(head("/"), Bytes::new()).await;
            }
        }
    };
    let mut connects = 0;
    tokio::pin!(caller);
    loop {
        tokio::select! {
            tls = server.accept_tls() => { drop(tls); connects += 1; }
            () = &mut caller => break,
        }
    }
    assert!((1..=8).contains(&connects), "{connects} connects");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_reopened_on_demand() {
    let server = echo_server().await;
    let pool = pool(server.port, Settings { idle_close: Some(Duration::from_millis(50)), ..settings() });
    let held = soon(pool.reserve(Instant::now() + PATIENCE)).await.unwrap();
    soon(send(&pool, "/", b"x")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(pool.stats().connections, 1, "a reserved stream is use");
    drop(held);
    until("it is closed", || pool.stats() == Default::default()).await;
    soon(send(&pool, "/", b"x")).await.unwrap();
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_old_connection_finishes_its_streams_and_is_replaced() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, Settings { max_age: Duration::from_secs(3), ..settings() });
    let old = pool.clone();
    let mut request = JoinSet::new();
    request.spawn(async move { send(&old, "/", b"").await });
    let mut first = server.accept(&[]).await;
    first.requests(1).await;
    until("it is too old", || pool.stats().draining == 1).await;
    let new = pool.clone();
    let mut another = JoinSet::new();
    another.spawn(async move { send(&new, "/", b"").await });
    let mut second = server.accept(&[]).await;
    second.requests(1).await;
    second.respond(1).await;
    first.respond(1).await;
    soon(request.join_next()).await.unwrap().unwrap().unwrap();
    soon(another.join_next()).await.unwrap().unwrap().unwrap();
    // The client closes in order, with a GOAWAY.
    let go_away = first.next(GOAWAY).await;
    assert_eq!(go_away.payload[4..8], [0; 4]);
    assert_eq!(first.read().await, None);
}

#[tokio::test]
async fn a_retired_connection_refuses_a_reserved_stream() {
    let server = echo_server().await;
    let pool = pool(server.port, settings());
    let far = Instant::now() + PATIENCE;
    let reserved = soon(pool.reserve(far)).await.unwrap();
    let other = soon(pool.reserve(far)).await.unwrap();
    other.retire();
    let error = soon(reserved.send(head("/"), Bytes::new())).await.unwrap_err();
    assert_eq!((error.sent, error.kind), (Sent::NotSent, TransportErrorKind::Retired));
    soon(send(&pool, "/", b"")).await.unwrap();
    drop(other);
    until("the old one is gone", || pool.stats().draining == 0).await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn shutdown_lets_requests_end_and_refuses_new_ones() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, Settings { max_streams: 1, ..settings() });
    let running = pool.clone();
    let mut request = JoinSet::new();
    request.spawn(async move { send(&running, "/", b"").await });
    let mut raw = server.accept(&[]).await;
    raw.requests(1).await;
    let waiting = pool.clone();
    let mut waiter = JoinSet::new();
    waiter.spawn(async move { waiting.reserve(Instant::now() + PATIENCE).await.map(|_| ()) });
    until("it waits", || pool.stats().waiting == 1).await;
    let closing = pool.clone();
    let mut shutdown = JoinSet::new();
    shutdown.spawn(async move { closing.shutdown().await });
    let refused = soon(waiter.join_next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!((refused.sent, refused.kind), (Sent::NotSent, TransportErrorKind::PoolClosed));
    assert!(shutdown.try_join_next().is_none(), "a request is open");
    raw.respond(1).await;
    soon(request.join_next()).await.unwrap().unwrap().unwrap();
    raw.next(GOAWAY).await;
    raw.close().await;
    soon(shutdown.join_next()).await.unwrap().unwrap();
    assert_eq!(reserve_error(&pool).await.kind, TransportErrorKind::PoolClosed);
    assert_eq!(pool.stats(), Default::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_pool_fails_its_requests_and_frees_everything() {
    let server = RawServer::bind().await;
    let pool = Pool::<State>::new(origin(server.port), settings());
    let shared = pool.weak();
    let far = Instant::now() + PATIENCE;
    let (stream, unused, mut raw) = {
        let (stream, raw) = tokio::join!(pool.reserve(far), server.accept(&[]));
        (stream.unwrap(), pool.reserve(far).await.unwrap(), raw)
    };
    let mut request = JoinSet::new();
    request.spawn(stream.send(head("/"), Bytes::new()));
    raw.requests(1).await;
    drop(pool);
    let error = soon(request.join_next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, TransportErrorKind::PoolClosed));
    let error = soon(unused.send(head("/"), Bytes::new())).await.unwrap_err();
    assert_eq!((error.sent, error.kind), (Sent::NotSent, TransportErrorKind::PoolClosed));
    until("nothing is left", || shared.strong_count() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_request_frees_its_place_and_resets_its_stream() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, Settings { max_streams: 1, ..settings() });
    let dropped = pool.clone();
    let mut request = JoinSet::new();
    request.spawn(async move { send(&dropped, "/", b"").await });
    let mut raw = server.accept(&[]).await;
    raw.requests(1).await;
    request.shutdown().await;
    assert_eq!(raw.next(RST_STREAM).await.stream, 1);
    assert_eq!(pool.stats().open_streams, 0);
    let (answer, ()) = tokio::join!(send(&pool, "/", b""), async {
        raw.requests(1).await;
        raw.respond(3).await;
    });
    answer.unwrap();
}
