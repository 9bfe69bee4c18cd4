//! Peers that send without end: each costs bounded memory, one request or the connection, and never the process.

use super::super::{BODY_CAP, Sent, TransportErrorKind};
use super::*;

const CONTINUATION: u8 = 9;
/// Far more than we ever take in, and than the sockets between us hold.
const FLOOD: usize = 256 << 20;

impl Raw {
    /// Writes pieces until one is not taken for a while, the connection ends, or `until` is reached.
    async fn flood(&mut self, piece: &[u8]) -> usize {
        let mut taken = 0;
        while taken < FLOOD {
            match timeout(Duration::from_millis(300), self.tls.write_all(piece)).await {
                Ok(Ok(())) => taken += piece.len(),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        taken
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_without_end_costs_its_beginning() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    // Only then does the window count that we announced.
    raw.write(SETTINGS, 1, 0, &[]).await;
    raw.write(HEADERS, 0x4, 1, &[0x88]).await;
    let piece = frame(DATA, 0, 1, &[b'x'; 16_384]);
    for _ in 0..16 {
        raw.tls.write_all(&piece).await.unwrap();
    }
    raw.tls.flush().await.unwrap();
    let answer = soon(requests.join_all()).await.remove(0).unwrap();
    assert_eq!((answer.body.len(), answer.complete), (BODY_CAP, false));
    assert_eq!(raw.next(RST_STREAM).await.stream, 1);
    // What comes all the same is thrown away, and the connection serves others.
    for _ in 0..1000 {
        raw.tls.write_all(&piece).await.unwrap();
    }
    let (answer, ()) = tokio::join!(send(&pool, "/", b""), async {
        raw.requests(1).await;
        raw.respond(3).await;
    });
    answer.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_without_end_cost_the_connection() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    raw.write(HEADERS, 0, 1, &[0x88]).await;
    // A literal field without indexing: name `a`, a value of 100 bytes; over and over.
    let field = [&[0, 1, b'a', 100][..], &[b'x'; 100]].concat();
    let piece = frame(CONTINUATION, 0, 1, &field.repeat(100));
    assert!(raw.flood(&piece).await < FLOOD);
    let error = one_error(requests).await;
    assert_eq!(error.sent, Sent::MaybeSent);
    assert!(matches!(error.kind, TransportErrorKind::Protocol(_)), "{error}");
    until("it is given up", || pool.stats() == Default::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_are_too_large_cost_their_request() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, requests) = in_flight(&server, &pool, 2).await;
    raw.write(HEADERS, 0, 1, &[0x88]).await;
    let field = [&[0, 1, b'a', 100][..], &[b'x'; 100]].concat();
    for last in [0, 0, 0, 0, 0, 4] {
        raw.write(CONTINUATION, last, 1, &field.repeat(100)).await;
    }
    raw.respond(3).await;
    let (ok, errors) = outcomes(requests).await;
    assert_eq!((ok, errors.len()), (1, 1));
    assert_eq!(errors[0].sent, Sent::MaybeSent, "{}", errors[0]);
    assert_eq!(pool.stats().connections, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provisional_answers_without_end_are_no_answer() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, Settings { request_timeout: Duration::from_millis(500), ..settings() });
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    // `:status: 100`, a literal with the name of entry 8.
    let piece = frame(HEADERS, 0x4, 1, &[0x08, 3, b'1', b'0', b'0']).repeat(1000);
    let flood = async {
        while timeout(Duration::from_millis(300), raw.tls.write_all(&piece)).await.is_ok_and(|it| it.is_ok())
        {
        }
    };
    let error = tokio::select! {
        error = one_error(requests) => error,
        () = async { flood.await; std::future::pending().await } => unreachable!(),
    };
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, TransportErrorKind::Timeout));
}

/// Frames that each ask for an answer, sent by one who reads none: we stop reading, and find him dead.
async fn asked_without_end(piece: Vec<u8>) {
    let server = RawServer::bind().await;
    let ping = PingSettings {
        after_silence: Duration::from_secs(1),
        deadline: Duration::from_secs(1),
        while_idle: None,
    };
    let pool = pool(server.port, Settings { ping: Some(ping), ..settings() });
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    let (taken, error) = tokio::join!(raw.flood(&piece), one_error(requests));
    assert!(taken < FLOOD, "{taken} bytes were taken");
    assert_eq!(error.sent, Sent::MaybeSent, "{error}");
    until("it is given up", || pool.stats() == Default::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_without_end_are_not_answered_without_end() {
    asked_without_end(frame(PING, 0, 0, b"flooding").repeat(1000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_without_end_are_not_acknowledged_without_end() {
    asked_without_end(frame(SETTINGS, 0, 0, &[]).repeat(1000)).await;
}

#[tokio::test]
async fn huge_settings_change_nothing_for_us() {
    const HEADER_TABLE_SIZE: u16 = 1;
    const MAX_FRAME_SIZE: u16 = 5;
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    let most = i32::MAX.cast_unsigned();
    let entries = [
        (HEADER_TABLE_SIZE, u32::MAX),
        (MAX_CONCURRENT_STREAMS, u32::MAX),
        (INITIAL_WINDOW_SIZE, most),
        (MAX_FRAME_SIZE, (1 << 24) - 1),
    ];
    // As many entries as a frame holds, unknown ones too.
    let unknown = (0..2_700 - 4).map(|n| (0x1000 + n, u32::MAX));
    raw.settings(&entries.into_iter().chain(unknown).collect::<Vec<_>>()).await;
    raw.respond(1).await;
    assert_eq!(outcomes(requests).await.0, 1);
    let (answer, ()) = tokio::join!(send(&pool, "/", b""), async {
        raw.requests(1).await;
        raw.respond(3).await;
    });
    answer.unwrap();
}
