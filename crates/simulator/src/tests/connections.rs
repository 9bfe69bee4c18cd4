//! Stream limits, GOAWAY in its forms, resets, silence, and the end of connections.

use std::time::Duration;

use h2::Reason;
use rustls::pki_types::ServerName;

use super::client::{
    Client, PATIENCE, TOKEN, access_token, connector, message, provider_token, push, read, simulator,
};
use crate::{
    Action, ApnsSettings, Ended, FcmSettings, H2Code, LastStream, Overflow, Rule, Settings, Simulator,
};

fn other(digit: char) -> String {
    digit.to_string().repeat(64)
}

#[tokio::test]
async fn announces_one_stream_until_the_first_valid_token() {
    let simulator = simulator().await;
    let mut client = Client::apns(&simulator).await;
    assert!(client.sees_limit(1).await);
    client.send(push("bad.bad.bad", TOKEN)).await.unwrap();
    assert_eq!(client.send.current_max_send_streams(), 1);
    client.send(push(&provider_token(&simulator, 0), TOKEN)).await.unwrap();
    assert!(client.sees_limit(1000).await);
    simulator.set_streams(7);
    assert!(client.sees_limit(7).await);
}

#[tokio::test]
async fn a_rejection_may_lower_the_limit_until_the_next_accepted_push() {
    let apns = ApnsSettings { streams_drop_on_rejection: true, ..ApnsSettings::default() };
    let simulator = Simulator::start(Settings { apns, ..Settings::default() }).await.unwrap();
    simulator.add_rule(Rule::token(other('b'), Action::answer(400, "BadDeviceToken")));
    simulator.add_rule(Rule::token(other('c'), Action::Dead { timestamp_ms: None, timestamp_ago_ms: None }));
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 0);
    for (token, limit) in [(other('a'), 1000), (other('b'), 1), (other('a'), 1000), (other('c'), 1000)] {
        client.send(push(&jwt, &token)).await.unwrap();
        assert!(client.sees_limit(limit).await, "{token}");
    }
}

/// A client that ignores SETTINGS: `h2`'s own is told to start with many streams and sends them at once.
async fn two_at_once(simulator: &Simulator) -> [Result<super::client::Answered, h2::Error>; 2] {
    let stream = super::client::tls(simulator, simulator.addresses().apns, b"h2").await;
    let (mut send, connection) =
        h2::client::Builder::new().initial_max_send_streams(2).handshake(stream).await.unwrap();
    let jwt = provider_token(simulator, 0);
    let mut responses = Vec::new();
    for _ in 0..2 {
        let (parts, body) = push(&jwt, TOKEN).into_parts();
        let (response, mut stream) = send.send_request(http::Request::from_parts(parts, ()), false).unwrap();
        stream.send_data(body, true).unwrap();
        responses.push(response);
    }
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    let second = responses.pop().unwrap();
    let first = responses.pop().unwrap();
    let both = async { [read(first).await, read(second).await] };
    tokio::time::timeout(PATIENCE, both).await.unwrap()
}

#[tokio::test]
async fn a_stream_beyond_the_limit_is_refused() {
    let simulator = simulator().await;
    let [first, second] = two_at_once(&simulator).await;
    assert_eq!(first.unwrap().status, 200);
    assert_eq!(second.unwrap_err().reason(), Some(Reason::REFUSED_STREAM));
    assert_eq!(simulator.ledger().received_count(), 1);
}

#[tokio::test]
async fn or_ends_the_connection_as_apns_was_seen_to_do() {
    let simulator =
        Simulator::start(Settings { overflow: Overflow::GoAway, ..Settings::default() }).await.unwrap();
    let [first, second] = two_at_once(&simulator).await;
    assert_eq!(first.unwrap().status, 200);
    let error = second.unwrap_err();
    assert_eq!((error.reason(), error.is_go_away()), (Some(Reason::REFUSED_STREAM), true));
    assert_eq!(simulator.ledger().accepted_count(), 1);
}

#[tokio::test]
async fn resets_the_scripted_stream_only() {
    let simulator = simulator().await;
    simulator
        .add_rule(Rule::token(other('b'), Action::Reset { code: H2Code::RefusedStream, accepted: false }));
    simulator
        .add_rule(Rule::token(other('c'), Action::Reset { code: H2Code::InternalError, accepted: true }));
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 0);
    let refused = client.send(push(&jwt, &other('b'))).await.unwrap_err();
    assert_eq!((refused.reason(), refused.is_go_away()), (Some(Reason::REFUSED_STREAM), false));
    let failed = client.send(push(&jwt, &other('c'))).await.unwrap_err();
    assert_eq!(failed.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(client.send(push(&jwt, TOKEN)).await.unwrap().status, 200);
    let entries = simulator.ledger().entries();
    let seen: Vec<_> = entries.iter().map(|entry| (entry.ended, entry.accepted)).collect();
    assert_eq!(seen, [(Ended::Reset, false), (Ended::Reset, true), (Ended::Answered, true)]);
}

#[tokio::test]
async fn goaway_spares_lower_streams_and_names_its_debug_text() {
    let simulator = simulator().await;
    // Later than the GOAWAY, unless the machine stands still for so long.
    let slow = Rule::token(other('b'), Action::Accept).delayed(Duration::from_secs(5));
    simulator.add_rule(slow);
    let debug = "Maximum active streams violated for this endpoint.".to_owned();
    let go = Action::GoAway { code: H2Code::RefusedStream, last: LastStream::Before, debug: debug.clone() };
    simulator.add_rule(Rule::token(other('c'), go));
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 0);
    client.send(push(&jwt, TOKEN)).await.unwrap();
    let spared = client.open(push(&jwt, &other('b'))).await.unwrap();
    let lost = client.open(push(&jwt, &other('c'))).await.unwrap();
    let error = read(lost).await.unwrap_err();
    assert!(error.is_go_away() && error.is_remote(), "{error:?}");
    assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM));
    assert_eq!(read(spared).await.unwrap().status, 200);
    let ended = client.ended().await.unwrap_err();
    assert!(format!("{ended:?}").contains(&debug), "{ended:?}");
    let last = simulator.ledger().by_token(&other('c'));
    assert_eq!((last[0].ended, last[0].accepted), (Ended::Unprocessed, false));
}

#[tokio::test]
async fn goaway_after_this_stream_still_answers_it() {
    for last in [LastStream::This, LastStream::Graceful] {
        let simulator = simulator().await;
        simulator.add_rule(Rule::token(
            TOKEN,
            Action::GoAway { code: H2Code::NoError, last, debug: String::new() },
        ));
        let mut client = Client::apns(&simulator).await;
        let jwt = provider_token(&simulator, 0);
        assert_eq!(client.send(push(&jwt, TOKEN)).await.unwrap().status, 200, "{last:?}");
        client.ended().await.unwrap();
        assert!(client.open(push(&jwt, TOKEN)).await.is_err());
    }
}

#[tokio::test]
async fn a_node_that_leaves_says_so_and_goes() {
    let simulator = simulator().await;
    let shutdown =
        r#"{"action":{"type":"answer","status":503,"reason":"Shutdown","then_go_away":true},"times":1}"#;
    simulator.add_rule(serde_json::from_str(shutdown).unwrap());
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 0);
    assert_eq!(client.send(push(&jwt, TOKEN)).await.unwrap().reason(), "Shutdown");
    client.ended().await.unwrap();
    let mut another = Client::apns(&simulator).await;
    assert_eq!(another.send(push(&jwt, TOKEN)).await.unwrap().status, 200);
}

#[tokio::test]
async fn drops_the_connection_without_a_word() {
    let simulator = simulator().await;
    simulator.add_rule(Rule::token(TOKEN, Action::Close { accepted: true }));
    let mut client = Client::apns(&simulator).await;
    let error = client.send(push(&provider_token(&simulator, 0), TOKEN)).await.unwrap_err();
    assert!(!error.is_go_away(), "{error:?}");
    assert_eq!(simulator.ledger().accepted_count(), 1);
}

#[tokio::test]
async fn a_request_without_answer_holds_its_stream_until_the_client_gives_up() {
    let simulator = simulator().await;
    simulator.add_rule(Rule::token(other('b'), Action::NoAnswer { accepted: false }));
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 0);
    client.send(push(&jwt, TOKEN)).await.unwrap();
    simulator.set_streams(1);
    assert!(client.sees_limit(1).await);
    let hung = client.open(push(&jwt, &other('b'))).await.unwrap();
    // The client's h2 holds back what the peer's limit does not allow.
    let mut held = std::pin::pin!(read(client.open(push(&jwt, TOKEN)).await.unwrap()));
    let early = tokio::time::timeout(Duration::from_millis(50), &mut held).await;
    assert!(early.is_err(), "the only stream is taken");
    drop(hung);
    assert_eq!(tokio::time::timeout(PATIENCE, held).await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn a_stalled_connection_does_not_even_acknowledge_pings() {
    let simulator = simulator().await;
    simulator.add_rule(Rule::token(TOKEN, Action::Stall { accepted: false }));
    let stream = super::client::tls(&simulator, simulator.addresses().apns, b"h2").await;
    let (send, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut ping = connection.ping_pong().unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    let mut client = Client { send, driver };
    tokio::time::timeout(PATIENCE, ping.ping(h2::Ping::opaque())).await.unwrap().unwrap();
    let _hung = client.open(push(&provider_token(&simulator, 0), TOKEN)).await.unwrap();
    assert!(
        simulator
            .ledger()
            .wait_until(PATIENCE, |ledger| ledger.entries().iter().any(|e| e.ended == Ended::NoAnswer))
            .await
    );
    let pong = tokio::time::timeout(Duration::from_millis(100), ping.ping(h2::Ping::opaque())).await;
    assert!(pong.is_err(), "a stalled connection answered a PING");
    simulator.close_connections();
    tokio::time::timeout(PATIENCE, client.driver.join_next()).await.expect("closed on command").unwrap().ok();
}

#[tokio::test]
async fn what_is_answered_right_before_the_end_leaves() {
    for end in [Action::Stall { accepted: false }, Action::Close { accepted: false }] {
        let simulator = simulator().await;
        simulator.add_rule(Rule::token(other('b'), end));
        let mut client = Client::apns(&simulator).await;
        let jwt = provider_token(&simulator, 0);
        client.send(push(&jwt, TOKEN)).await.unwrap();
        // They arrive together, so their answers are due at one moment.
        let answered = client.open(push(&jwt, TOKEN)).await.unwrap();
        let _last = client.open(push(&jwt, &other('b'))).await.unwrap();
        let answered = tokio::time::timeout(PATIENCE, read(answered)).await.expect("it leaves");
        assert_eq!(answered.unwrap().status, 200);
    }
}

#[tokio::test]
async fn fcm_closes_idle_connections() {
    let fcm = FcmSettings { idle_close: Some(Duration::from_secs(2)), ..FcmSettings::default() };
    let simulator = Simulator::start(Settings { fcm, ..Settings::default() }).await.unwrap();
    let token = access_token(&simulator).await;
    let mut client = Client::fcm(&simulator).await;
    client.send(message(&token, &serde_json::json!({ "token": "t" }))).await.unwrap();
    client.ended().await.unwrap();
}

#[tokio::test]
async fn stop_ends_connections_and_listeners() {
    let simulator = simulator().await;
    let (address, connector) = (simulator.addresses().apns, connector(&simulator, b"h2"));
    let mut client = Client::apns(&simulator).await;
    client.send(push(&provider_token(&simulator, 0), TOKEN)).await.unwrap();
    simulator.stop().await;
    client.ended().await.ok();
    // Another process may have got the port since, but has another certificate.
    let again = async {
        let socket = tokio::net::TcpStream::connect(address).await?;
        connector.connect(ServerName::try_from("localhost").unwrap(), socket).await
    };
    assert!(!matches!(tokio::time::timeout(PATIENCE, again).await, Ok(Ok(_))));
}
