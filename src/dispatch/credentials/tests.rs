//! When a candidate is tried, and what follows. These senders are never connected.

use futures_util::FutureExt as _;

use super::*;
use crate::dispatch::health::{LaneEvent, StoredSuspension};
use crate::domain::LaneId;
use crate::provider::apns;
use crate::queue::lane_intake::LaneIntake;
use crate::settings::{Endpoint, Secret};

fn sender(topic: &str) -> Sender {
    static KEY: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let key = KEY.get_or_init(|| {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key").serialize_pem()
    });
    let settings = apns::ApnsSettings {
        key: Secret::inline(key.as_str()),
        key_id: "ABC123DEFG".to_owned(),
        team_id: "DEF123GHIJ".to_owned(),
        topic: topic.to_owned(),
        environment: apns::PRODUCTION,
        endpoint: Some(Endpoint::parse("https://localhost:1").expect("an endpoint")),
        sandbox_endpoint: None,
        ca_file: None,
    };
    apns::ApnsClient::new(&settings, apns::PRODUCTION, 1, None).expect("good settings").into()
}

fn senders() -> LaneCredentials {
    LaneCredentials::new("shop/apns-production".to_owned(), sender("present"), None)
}

/// Offers a candidate that could be reached.
fn reached(senders: &LaneCredentials, topic: &str) -> Arc<NumberedSender> {
    senders.offer(sender(topic), None);
    let (candidate, _) = senders.take_work().reach.expect("something to reach");
    assert!(senders.mark_reached(&candidate));
    candidate
}

fn gate() -> LaneGate {
    let intake = Arc::new(LaneIntake::new(LaneId(1), 10));
    let gate = LaneGate::new(
        LaneId(1),
        apns::lane(apns::PRODUCTION),
        "shop/apns-production".to_owned(),
        senders().fingerprint(),
        intake,
    );
    gate.on(LaneEvent::RemoteState { paused: false, suspension: StoredSuspension::Empty });
    gate
}

fn word() -> Reason {
    Reason::new("InvalidProviderToken")
}

#[tokio::test(start_paused = true)]
async fn one_device_at_a_time_tries_a_candidate_once_it_was_reached() {
    let senders = senders();
    assert!(senders.trial(|| true).is_none(), "there is none");
    senders.offer(sender("new"), None);
    assert!(senders.trial(|| true).is_none(), "not reached yet");
    let candidate = reached(&senders, "new");
    let trial = senders.trial(|| false).expect("a trial");
    assert_eq!(trial.candidate.number(), candidate.number);
    assert!(senders.trial(|| false).is_none(), "one at a time");
    drop(trial);
    assert!(senders.trial(|| false).is_some(), "the next one, since the first said nothing");
}

#[tokio::test(start_paused = true)]
async fn a_refused_candidate_is_tried_only_where_the_current_sender_is_rejected_too() {
    let senders = senders();
    let candidate = reached(&senders, "new");
    senders.refuse(&candidate, &word());
    assert!(senders.trial(|| false).is_none());
    assert!(senders.trial(|| true).is_some());
    assert!(senders.take_work().reach.is_none());
    let other = reached(&senders, "newer");
    assert!(senders.trial(|| false).is_some(), "another one is another matter");
    senders.refuse(&candidate, &word());
    assert!(senders.trial(|| false).is_some(), "a late word about the one before");
    assert_ne!(other.number, candidate.number);
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_could_not_be_tried_waits_longer_each_time() {
    let senders = senders();
    let candidate = reached(&senders, "new");
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        senders.postpone(&candidate, &word());
        assert!(senders.trial(|| true).is_none());
        let (_, at) = senders.take_work().reach.expect("to be reached again");
        assert_eq!(at, Instant::now() + Duration::from_secs(pause));
    }
    senders.offer(sender("new"), None);
    assert_eq!(senders.take_work().reach.expect("the same").1, Instant::now() + Duration::from_secs(60));
    senders.offer(sender("newer"), None);
    assert_eq!(senders.take_work().reach.expect("another").1, Instant::now());
}

#[tokio::test(start_paused = true)]
async fn a_promoted_candidate_is_current_and_the_old_sender_closes_after_its_last_attempt() {
    let (senders, gate) = (senders(), gate());
    let (old, user) = (senders.fingerprint(), senders.current());
    let candidate = reached(&senders, "new");
    assert!(senders.promote(&candidate, &gate));
    let ended = std::iter::from_fn(|| gate.take_unstored()).collect::<Vec<_>>();
    assert!(ended.iter().any(|decision| decision.fingerprint == old && decision.rejected.is_none()));
    assert!(!senders.promote(&candidate, &gate), "once");
    assert_eq!(senders.fingerprint(), candidate.fingerprint());
    assert_eq!(gate.fingerprint(), candidate.fingerprint());
    assert_eq!(senders.current().number(), candidate.number);
    let closing = senders.take_work().close;
    assert_eq!(closing.len(), 1);
    let mut closed = std::pin::pin!(closing[0].close());
    assert!(closed.as_mut().now_or_never().is_none(), "a device is under way");
    drop(user);
    closed.await;
}

#[tokio::test(start_paused = true)]
async fn the_configuration_as_it_was_withdraws_the_candidate() {
    let (senders, gate) = (senders(), gate());
    let candidate = reached(&senders, "new");
    let trial = senders.trial(|| false).expect("a trial");
    senders.offer(sender("present"), None);
    assert!(senders.trial(|| true).is_none());
    assert!(!senders.promote(&trial.candidate.numbered, &gate), "it was withdrawn");
    drop(trial);
    let work = senders.take_work();
    assert!(work.reach.is_none());
    assert_eq!(work.close.iter().map(|old| old.number).collect::<Vec<_>>(), [candidate.number]);
}
