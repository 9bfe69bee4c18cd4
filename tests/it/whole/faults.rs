//! Connections that end in mid-send: a request that the provider cannot have processed is resent at once; one that it may
//! have processed is another attempt with the same id. Nothing is lost.

use pushpost_testkit::json::{apns_targets, assert_ended, fcm_targets};
use std::collections::BTreeSet;

use pushpost_simulator::{Action, Answer, Ended, Entry, H2Code, LastStream, Provider, Rule};
use serde_json::{Value, json};

use pushpost_testkit::service::{TestService, sent};

const EACH: usize = 200;
/// The rule's name.
const FAULT: &str = "fault";

async fn send_to_all(service: &TestService) -> Vec<Value> {
    let mut targets = apns_targets("a", EACH);
    targets.extend(fcm_targets("f", EACH));
    let id = service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await;
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.len(), 2 * EACH);
    outcomes
}

fn each_provider(service: &TestService, action: &Action, times: u64) {
    for provider in [Provider::Apns, Provider::Fcm] {
        let rule = Rule { name: Some(FAULT.to_owned()), ..Rule::provider(provider, action.clone()) };
        service.rule(rule.times(times));
    }
}

/// Each provider's requests that met the fault.
fn assert_happened(service: &TestService) {
    let entries = sent(&service.ledger());
    for provider in [Provider::Apns, Provider::Fcm] {
        let met = |entry: &Entry| entry.provider == provider && entry.rule.as_deref() == Some(FAULT);
        assert!(entries.iter().any(met), "the fault has happened at {provider:?}");
    }
}

/// The provider cannot have processed what it refused: everything is accepted at the first attempt, and once.
async fn assert_unseen(action: Action, times: u64) {
    let service = TestService::start().await;
    each_provider(&service, &action, times);
    for outcome in send_to_all(&service).await {
        assert_ended(&outcome, "accepted", 1, None);
    }
    assert_happened(&service);
    assert_same_ids(&service);
    service.stop().await;
}

/// Every device had one `apns-id`, however often it was sent.
fn assert_same_ids(service: &TestService) {
    let entries = sent(&service.ledger());
    let ids: BTreeSet<_> = entries
        .iter()
        .filter(|entry| entry.provider == Provider::Apns)
        .map(|entry| (entry.token.clone(), entry.header("apns-id").map(str::to_owned)))
        .collect();
    assert_eq!(ids.len(), EACH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_streams_are_resent() {
    assert_unseen(Action::Reset { code: H2Code::RefusedStream, accepted: false }, 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_above_the_last_id_of_a_goaway_are_resent() {
    let debug = r#"{"reason":"Shutdown"}"#.to_owned();
    assert_unseen(Action::GoAway { code: H2Code::NoError, last: LastStream::Before, debug }, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_below_the_last_id_of_a_goaway_are_waited_for() {
    let debug = "session_timed_out".to_owned();
    assert_unseen(Action::GoAway { code: H2Code::NoError, last: LastStream::This, debug }, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_goaway_costs_nothing() {
    let action = Action::GoAway { code: H2Code::NoError, last: LastStream::Graceful, debug: String::new() };
    assert_unseen(action, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goaway_with_an_error_in_plain_text_is_survived() {
    let debug = "too many pings".to_owned();
    let action = Action::GoAway { code: H2Code::EnhanceYourCalm, last: LastStream::Before, debug };
    assert_unseen(action, 3).await;
}

/// APNs says that it shuts down, in an answer and in the GOAWAY behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_503_with_a_goaway_counts_no_attempt() {
    let service = TestService::start().await;
    let shutdown =
        Answer { status: 503, reason: Some("Shutdown".to_owned()), then_go_away: true, ..Answer::default() };
    let rule = Rule::provider(Provider::Apns, Action::Answer(Box::new(shutdown)));
    service.rule(Rule { name: Some(FAULT.to_owned()), ..rule }.times(1));
    let id =
        service.notifications().send(json!({"to": {"tokens": apns_targets("a", EACH)}, "title": "Hi"})).await;
    service
        .notifications()
        .outcomes(&id)
        .await
        .iter()
        .for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    let entries = sent(&service.ledger());
    let met = entries.iter().find(|entry| entry.rule.as_deref() == Some(FAULT)).unwrap();
    assert_eq!(met.status, Some(503));
    let again = service.received(met.token.as_deref().unwrap());
    assert_eq!(again.len(), 2);
    assert_ne!(again[0].connection, again[1].connection, "sent again elsewhere, at once");
    assert_same_ids(&service);
    service.stop().await;
}

/// The provider may have processed the request: accepted in the end, twice at most where an attempt had no answer, with the same id.
async fn assert_doubtful(action: Action, times: u64) {
    let service = TestService::start().await;
    each_provider(&service, &action, times);
    let outcomes = send_to_all(&service).await;
    let most = times + 1;
    for outcome in &outcomes {
        assert_eq!(outcome["status"], "accepted", "{outcome}");
        assert!((1..=most).contains(&outcome["attempts"].as_u64().unwrap()), "{outcome}");
    }
    assert_happened(&service);
    assert!(outcomes.iter().any(|outcome| outcome["attempts"] != 1), "an attempt is in doubt");
    assert_same_ids(&service);
    let (ledger, entries) = (service.ledger(), service.ledger().entries());
    // A system that drops a connection drops what its peer had not read yet.
    let cut: BTreeSet<_> =
        entries.iter().filter(|entry| entry.ended == Ended::Closed).map(|entry| entry.connection).collect();
    for duplicate in ledger.duplicates() {
        let first = entries.iter().find(|entry| entry.seq == duplicate.first_seq).unwrap();
        let unanswered = first.status.is_none() || cut.contains(&first.connection);
        assert!(unanswered, "an answered request was sent again: {duplicate:?}");
    }
    service.stop_with_duplicates().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_reset_is_in_doubt() {
    assert_doubtful(Action::Reset { code: H2Code::InternalError, accepted: false }, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_reset_after_acceptance_may_be_a_duplicate_with_the_same_id() {
    assert_doubtful(Action::Reset { code: H2Code::Cancel, accepted: true }, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_leaves_its_streams_in_doubt() {
    assert_doubtful(Action::Close { accepted: true }, 3).await;
}
