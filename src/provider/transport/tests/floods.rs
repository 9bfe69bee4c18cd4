//! Peers that send endlessly. Each may cost bounded memory, one request or the connection, but never the process.

use super::super::{BODY_BYTES_MAX, Sent, TransportErrorKind};
use super::*;

const CONTINUATION: u8 = 9;
/// Far more bytes than the client accepts and the sockets buffer.
const FLOOD: usize = 256 << 20;

impl Raw {
    /// Writes pieces until one is not accepted for a while, the connection ends, or `FLOOD` bytes are written.
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
async fn an_endless_body_is_cut_and_its_stream_is_reset() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    // The client's announced window counts only after this acknowledgement.
    raw.write(SETTINGS, 1, 0, &[]).await;
    raw.write(HEADERS, 0x4, 1, &[0x88]).await;
    let piece = frame(DATA, 0, 1, &[b'x'; 16_384]);
    for _ in 0..16 {
        raw.tls.write_all(&piece).await.unwrap();
    }
    raw.tls.flush().await.unwrap();
    let answer = soon(requests.join_all()).await.remove(0).unwrap();
    assert_eq!((answer.body.len(), answer.complete), (BODY_BYTES_MAX, false));
    assert_eq!(raw.next(RST_STREAM).await.stream, 1);
    // Further frames are discarded, and the connection serves other requests.
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
async fn endless_headers_end_the_connection() {
    let server = RawServer::bind().await;
    let pool = pool(server.port, settings());
    let (mut raw, requests) = in_flight(&server, &pool, 1).await;
    raw.write(HEADERS, 0, 1, &[0x88]).await;
    // A literal field without indexing, with the name `a` and a value of 100 bytes, repeated.
    let field = [&[0, 1, b'a', 100][..], &[b'x'; 100]].concat();
    let piece = frame(CONTINUATION, 0, 1, &field.repeat(100));
    assert!(raw.flood(&piece).await < FLOOD);
    let error = one_error(requests).await;
    assert_eq!(error.sent, Sent::MaybeSent);
    assert!(matches!(error.kind, TransportErrorKind::Protocol(_)), "{error}");
    until("it is given up", || pool.stats() == Default::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_headers_fail_only_their_request() {
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
async fn endless_provisional_answers_end_in_a_time_out() {
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

/// Sends frames that each require an answer, and reads none. The client must stop reading and drop the connection.
async fn check_flood_ends_the_connection(piece: Vec<u8>) {
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
async fn endless_pings_end_the_connection() {
    check_flood_ends_the_connection(frame(PING, 0, 0, b"flooding").repeat(1000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_settings_end_the_connection() {
    check_flood_ends_the_connection(frame(SETTINGS, 0, 0, &[]).repeat(1000)).await;
}

#[tokio::test]
async fn huge_settings_have_no_effect() {
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
    // A frame full of entries, most of them unknown.
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
