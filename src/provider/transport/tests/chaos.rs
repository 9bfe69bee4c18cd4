//! Checks that `NotSent` is true, against a server that ends its connections in every possible way.

use std::collections::HashSet;
use std::sync::Mutex;

use super::super::Sent;
use super::*;

/// The paths of all requests that the server received.
type Log = Arc<Mutex<HashSet<String>>>;

/// Serves some requests, then ends the connection: gracefully, with an error, or without a GOAWAY. Refuses one request
/// in ten.
async fn fickle_connection(tcp: TcpStream, number: usize, log: Log) {
    let Ok(tls) = TlsAcceptor::from(pki().server.clone()).accept(tcp).await else { return };
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(20);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(tls).await else { return };
    let mut requests = JoinSet::new();
    let mut taken = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        taken += 1;
        if taken % 10 == 9 {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            continue;
        }
        assert!(log.lock().unwrap().insert(request.uri().path().to_owned()), "sent twice");
        requests.spawn(async move {
            tokio::task::yield_now().await;
            echo(request, respond).await;
        });
        if taken == 20 + number * 7 % 60 {
            match number % 3 {
                0 => connection.graceful_shutdown(),
                1 => connection.abrupt_shutdown(h2::Reason::INTERNAL_ERROR),
                _ => return,
            }
        }
    }
    // Polling goes on, because it writes the answers.
    while requests.join_next().await.is_some() {}
    let _ = std::future::poll_fn(|cx| connection.poll_closed(cx)).await;
}

async fn fickle_server(log: Log) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut each = JoinSet::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            each.spawn(fickle_connection(tcp, counter.fetch_add(1, Ordering::SeqCst), log.clone()));
        }
    });
    Server { port, connections, _tasks: tasks }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_reported_as_not_sent_never_reached_the_server() {
    let log = Log::default();
    let server = fickle_server(log.clone()).await;
    let pool = pool(server.port, Settings { connections: 3, ..settings() });
    let mut requests = JoinSet::new();
    for n in 0..2000 {
        let pool = pool.clone();
        requests.spawn(async move {
            let mut not_sent = Vec::new();
            for attempt in 0.. {
                let path = format!("/{n}/{attempt}");
                let outcome = match pool.reserve(Instant::now() + PATIENCE).await {
                    Ok(stream) => stream.send(head(&path), Bytes::from_static(b"body")).await,
                    Err(error) => Err(error),
                };
                match outcome {
                    Ok(answer) => {
                        assert_eq!(answer.status.as_u16(), 200);
                        return (not_sent, Some(path));
                    }
                    Err(error) if error.sent == Sent::NotSent => not_sent.push(path),
                    Err(_) => return (not_sent, None),
                }
            }
            unreachable!("attempts have no end")
        });
    }
    let (mut resent, mut answered) = (0, 0);
    let mut outcomes = Vec::new();
    while let Some(done) = timeout(3 * PATIENCE, requests.join_next()).await.expect("in time") {
        outcomes.push(done.unwrap());
    }
    let log = log.lock().unwrap();
    for (not_sent, sent) in outcomes {
        resent += not_sent.len();
        for path in not_sent {
            assert!(!log.contains(&path), "{path} was reported as not sent");
        }
        if let Some(path) = sent {
            answered += 1;
            assert!(log.contains(&path));
        }
    }
    assert!(resent > 100, "only {resent} requests were resent, too few for this test");
    assert!(answered > 1000, "only {answered} were answered");
    assert_eq!((pool.stats().open_streams, pool.stats().waiting), (0, 0));
    assert!(server.connections.load(Ordering::SeqCst) > 10);
}
