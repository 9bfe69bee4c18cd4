//! The limits of streams and connections, and the order of waiters.

use std::sync::Mutex;

use tokio::sync::{Semaphore, mpsc};

use super::super::{Sent, TransportErrorKind};
use super::*;

/// The state of a server that counts its open requests and answers one per permit.
struct Gate {
    open: AtomicUsize,
    most: AtomicUsize,
    permits: Semaphore,
}

fn gate() -> Arc<Gate> {
    Arc::new(Gate { open: AtomicUsize::new(0), most: AtomicUsize::new(0), permits: Semaphore::new(0) })
}

async fn gated_server(gate: &Arc<Gate>, streams: u32) -> Server {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(streams);
    let gate = gate.clone();
    serve(builder, move |_, request, respond| {
        let gate = gate.clone();
        async move {
            let open = gate.open.fetch_add(1, Ordering::SeqCst) + 1;
            gate.most.fetch_max(open, Ordering::SeqCst);
            gate.permits.acquire().await.unwrap().forget();
            gate.open.fetch_sub(1, Ordering::SeqCst);
            echo(request, respond).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_requests_are_answered_exactly_once_over_four_connections() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let server = serve(h2::server::Builder::new(), move |_, request, respond| {
        log.lock().unwrap().push(request.uri().path().to_owned());
        echo(request, respond)
    })
    .await;
    let pool = pool(server.port, Settings { connections: 4, ..settings() });
    let mut requests = JoinSet::new();
    for n in 0..5000 {
        let pool = pool.clone();
        requests.spawn(async move {
            let stream = pool.reserve(Instant::now() + PATIENCE).await.unwrap();
            let answer = stream.send(head(&format!("/{n}")), Bytes::from(format!("body {n}"))).await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.complete), (200, true));
            assert_eq!(answer.body, format!("body {n}"));
        });
    }
    while let Some(done) = soon(requests.join_next()).await {
        done.unwrap();
    }
    let mut paths = std::mem::take(&mut *seen.lock().unwrap());
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), 5000);
    assert_eq!(pool.stats().open_streams, 0);
    assert!((2..=4).contains(&server.connections.load(Ordering::SeqCst)));
}

#[tokio::test]
async fn the_configured_stream_limit_holds_below_the_peers() {
    let gate = gate();
    let server = gated_server(&gate, 100).await;
    let pool = pool(server.port, Settings { max_streams: 7, ..settings() });
    let mut requests = JoinSet::new();
    for _ in 0..30 {
        let pool = pool.clone();
        requests.spawn(async move { send(&pool, "/", b"x").await.unwrap() });
    }
    until("seven open", || gate.open.load(Ordering::SeqCst) == 7).await;
    until("the rest waits", || pool.stats().waiting == 23).await;
    gate.permits.add_permits(30);
    soon(requests.join_all()).await;
    assert_eq!(gate.most.load(Ordering::SeqCst), 7);
}

#[tokio::test]
async fn the_peers_limit_holds_and_its_changes_are_followed() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let mut requests = JoinSet::new();
    let start = |requests: &mut JoinSet<_>| {
        let pool = pool.clone();
        requests.spawn(async move { send(&pool, "/", b"").await });
    };
    start(&mut requests);
    let mut raw = server.accept(&[(MAX_CONCURRENT_STREAMS, 3)]).await;
    assert_eq!(raw.requests(1).await, [1]);
    raw.respond(1).await;
    soon(requests.join_next()).await.unwrap().unwrap().unwrap();

    for _ in 0..6 {
        start(&mut requests);
    }
    assert_eq!(raw.requests(3).await, [3, 5, 7]);
    until("three wait", || pool.stats().waiting == 3).await;

    // The limit is lowered below the open streams. Answers admit no new stream until the rest is within the limit.
    raw.settings(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    raw.next(SETTINGS).await;
    raw.respond(3).await;
    raw.respond(5).await;
    for _ in 0..2 {
        soon(requests.join_next()).await.unwrap().unwrap().unwrap();
    }
    assert_eq!((pool.stats().waiting, pool.stats().open_streams), (3, 1));
    raw.respond(7).await;
    assert_eq!(raw.requests(1).await, [9]);
    assert_eq!(pool.stats().waiting, 2);

    // The limit is raised again. The waiters are served without another answer.
    raw.settings(&[(MAX_CONCURRENT_STREAMS, 10)]).await;
    assert_eq!(raw.requests(2).await, [11, 13]);
    for stream in [9, 11, 13] {
        raw.respond(stream).await;
    }
    for done in soon(requests.join_all()).await {
        done.unwrap();
    }
}

#[tokio::test]
async fn one_stream_and_one_connection_until_proven() {
    let gate = gate();
    let server = gated_server(&gate, 100).await;
    let pool = pool(server.port, Settings { prove_first: true, connections: 3, ..settings() });
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let pool = pool.clone();
        requests.spawn(async move { send(&pool, "/", b"x").await.unwrap() });
    }
    until("one open", || gate.open.load(Ordering::SeqCst) == 1).await;
    gate.permits.add_permits(1);
    let answer = soon(requests.join_next()).await.unwrap().unwrap();
    until("the next one open", || gate.open.load(Ordering::SeqCst) == 1).await;
    assert_eq!(
        pool.stats(),
        super::super::PoolStats { connections: 1, draining: 0, open_streams: 1, waiting: 18 }
    );
    answer.connection.mark_proven();
    until("all open", || gate.open.load(Ordering::SeqCst) == 19).await;
    gate.permits.add_permits(100);
    soon(requests.join_all()).await;
}

#[tokio::test]
async fn the_pool_grows_under_load_only_and_spreads_the_load() {
    let gate = gate();
    let server = gated_server(&gate, 100).await;
    let pool = pool(server.port, Settings { connections: 3, max_streams: 10, ..settings() });
    let (done, mut finished) = mpsc::channel(100);
    let mut requests = JoinSet::new();
    let mut start = |count: usize| {
        for _ in 0..count {
            let (pool, done) = (pool.clone(), done.clone());
            requests.spawn(async move {
                send(&pool, "/", b"x").await.unwrap();
                done.send(()).await.unwrap();
            });
        }
    };
    start(5);
    until("five open", || gate.open.load(Ordering::SeqCst) == 5).await;
    assert_eq!(pool.stats().connections, 1);
    start(1);
    until("a second connection", || pool.stats().connections == 2).await;
    start(24);
    until("all open on three", || gate.open.load(Ordering::SeqCst) == 30).await;
    assert_eq!(pool.stats().connections, 3);
    start(5);
    until("five wait", || pool.stats().waiting == 5).await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
    gate.permits.add_permits(35);
    for _ in 0..35 {
        soon(finished.recv()).await.unwrap();
    }
    assert_eq!(gate.most.load(Ordering::SeqCst), 30);
}

#[tokio::test]
async fn waiters_are_served_in_order_and_a_cancelled_waiter_loses_no_stream() {
    let server = serve(h2::server::Builder::new(), |_, request, respond| echo(request, respond)).await;
    let pool = pool(server.port, Settings { max_streams: 1, ..settings() });
    let far = Instant::now() + PATIENCE;
    let held = soon(pool.reserve(far)).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = JoinSet::new();
    let mut leavers = Vec::new();
    let waited = pool.clone();
    for n in 0..20 {
        let (pool, order) = (pool.clone(), order.clone());
        let handle = waiters.spawn(async move {
            let stream = pool.reserve(far).await.unwrap();
            order.lock().unwrap().push(n);
            drop(stream);
        });
        if n % 3 == 0 {
            leavers.push(handle);
        }
        until("it waits", || waited.stats().waiting == n + 1).await;
    }
    for leaver in leavers {
        leaver.abort();
    }
    drop(held);
    while let Some(done) = soon(waiters.join_next()).await {
        assert!(done.is_ok() || done.unwrap_err().is_cancelled());
    }
    let expected: Vec<usize> = (0..20).filter(|n| n % 3 != 0).collect();
    assert_eq!(*order.lock().unwrap(), expected);
    let late = pool.reserve(Instant::now()).await.unwrap();
    let error = pool.reserve(Instant::now() + Duration::from_millis(20)).await.unwrap_err();
    assert_eq!((error.sent, error.kind), (Sent::NotSent, TransportErrorKind::Timeout));
    drop(late);
    assert_eq!(pool.stats().open_streams, 0);
}

#[tokio::test]
async fn the_callers_state_belongs_to_the_connection() {
    let server = serve(h2::server::Builder::new(), |_, request, respond| echo(request, respond)).await;
    let pool = pool(server.port, settings());
    for n in 0..3 {
        let answer = soon(send(&pool, "/", b"")).await.unwrap();
        assert_eq!(answer.connection.state().seen.fetch_add(1, Ordering::SeqCst), n);
    }
    pool.retire_all();
    let answer = soon(send(&pool, "/", b"")).await.unwrap();
    assert_eq!(answer.connection.state().seen.load(Ordering::SeqCst), 0);
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

/// Starts `count` requests at once.
fn many(pool: &TestPool, count: usize) -> JoinSet<Response<State>> {
    let requests = (0..count).map(|_| {
        let pool = pool.clone();
        async move { send(&pool, "/", b"x").await.unwrap() }
    });
    requests.collect()
}

#[tokio::test]
async fn a_fresh_connection_gets_more_streams_with_each_round_of_answers() {
    let gate = gate();
    let server = gated_server(&gate, 100).await;
    let pool =
        pool(server.port, Settings { first_streams: 2, connections: 3, max_streams: 24, ..settings() });
    let requests = many(&pool, 24);
    let mut answered = 0;
    for streams in [2, 4, 8] {
        until("its share is open", || gate.open.load(Ordering::SeqCst) == streams).await;
        until("the rest waits", || pool.stats().waiting == 24 - answered - streams).await;
        assert_eq!(pool.stats().connections, 1, "it will soon bear all that waits");
        gate.permits.add_permits(streams);
        answered += streams;
    }
    until("the last ten", || gate.open.load(Ordering::SeqCst) == 10).await;
    assert_eq!(pool.stats().connections, 1);
    gate.permits.add_permits(100);
    soon(requests.join_all()).await;
}

#[tokio::test]
async fn further_connections_open_after_the_first_round_of_answers_if_needed() {
    let gate = gate();
    let server = gated_server(&gate, 100).await;
    let pool =
        pool(server.port, Settings { first_streams: 2, connections: 3, max_streams: 10, ..settings() });
    let requests = many(&pool, 40);
    until("its share is open", || gate.open.load(Ordering::SeqCst) == 2).await;
    until("the rest waits", || pool.stats().waiting == 38).await;
    assert_eq!(pool.stats().connections, 1, "it has answered nothing yet");
    gate.permits.add_permits(2);
    until("four, and two on each of the others", || gate.open.load(Ordering::SeqCst) == 8).await;
    assert_eq!(pool.stats().connections, 3);
    gate.permits.add_permits(100);
    soon(requests.join_all()).await;
}

#[tokio::test]
async fn a_peer_that_answers_5xx_gets_no_more_streams() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, Settings { first_streams: 1, ..settings() });
    let mut requests = JoinSet::new();
    for _ in 0..6 {
        let pool = pool.clone();
        requests.spawn(async move { send(&pool, "/", b"").await.unwrap() });
    }
    let mut raw = server.accept(&[]).await;
    for stream in [1, 3, 5] {
        assert_eq!(raw.requests(1).await, [stream]);
        assert_eq!(pool.stats().open_streams, 1);
        raw.answer(stream, 0x8e).await;
    }
    assert_eq!(raw.requests(1).await, [7]);
    raw.respond(7).await;
    assert_eq!(raw.requests(2).await, [9, 11]);
    for stream in [9, 11] {
        raw.respond(stream).await;
    }
    soon(requests.join_all()).await;
}

#[tokio::test]
async fn a_limit_that_is_about_to_rise_opens_no_second_connection() {
    let server = RawServer::bind().await;
    let slow = Settings { prove_first: true, first_streams: 5, connections: 2, ..settings() };
    let pool = pool(server.port, slow);
    let mut requests = JoinSet::new();
    for _ in 0..4 {
        let pool = pool.clone();
        requests.spawn(async move { send(&pool, "/", b"").await.unwrap() });
    }
    let mut raw = server.accept(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    assert_eq!(raw.requests(1).await, [1]);
    raw.respond(1).await;
    soon(requests.join_next()).await.unwrap().unwrap().connection.mark_proven();
    assert_eq!(raw.requests(1).await, [3]);
    until("two wait", || pool.stats().waiting == 2).await;
    assert!(timeout(Duration::from_millis(50), server.listener.accept()).await.is_err());
    raw.settings(&[(MAX_CONCURRENT_STREAMS, 100)]).await;
    assert_eq!(raw.requests(2).await, [5, 7]);
    for stream in [3, 5, 7] {
        raw.respond(stream).await;
    }
    soon(requests.join_all()).await;
}
