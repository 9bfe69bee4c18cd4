//! A new credential that is wrong: the old one stays in use, and the trial loses nothing.

use pushpost_testkit::json::{apns_targets, fcm_targets};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pushpost_simulator::{Action, FcmFault, Provider, Rule, Settings};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{
    NEW_ACCOUNT, QUARANTINED, SUSPENDED, assert_untouched, configure_key, hello, shown, unhurried,
    until_renewed, write_new_account, write_new_key,
};
use pushpost_testkit::service::{TestService, sent};
use pushpost_testkit::wait::WAIT_MAX;

/// What is wrong with the new credential, how it gets into the configuration, and what the provider says of it.
struct Wrong {
    what: &'static str,
    write: fn(&TestService),
    told: (Provider, u16, &'static str),
}

const WRONG: [Wrong; 6] = [
    Wrong {
        what: "a key that Apple does not know",
        write: |service| {
            service.write("unknown.p8", &service.simulator.issue_provider_key("UNKNOWN890").unwrap());
            service.simulator.revoke_provider_key("UNKNOWN890");
            configure_key(service, "unknown.p8", "UNKNOWN890");
        },
        told: (Provider::Apns, 403, "InvalidProviderToken"),
    },
    Wrong {
        what: "a topic that the key may not send for",
        write: |service| service.edit("topic = \"com.example.shop\"", "topic = \"com.example.wrong\""),
        told: (Provider::Apns, 400, "TopicDisallowed"),
    },
    Wrong {
        what: "a topic of another app, for which the devices have no tokens",
        write: |service| {
            let answer = Action::answer(400, "DeviceTokenNotForTopic");
            service.rule(of_the_new_one(service, Provider::Apns, answer));
            write_new_key(service);
        },
        told: (Provider::Apns, 400, "DeviceTokenNotForTopic"),
    },
    Wrong {
        what: "an account that Google does not know",
        write: |service| {
            write_new_account(service);
            service.simulator.revoke_service_account(NEW_ACCOUNT);
        },
        told: (Provider::Oauth, 400, "invalid_grant"),
    },
    Wrong {
        what: "an account that may not send for its project",
        write: |service| {
            let account = service.simulator.issue_service_account(NEW_ACCOUNT);
            service.write("service-account.json", &account.replace("\"shop-1\"", "\"other-2\""));
        },
        told: (Provider::Fcm, 403, "PERMISSION_DENIED"),
    },
    Wrong {
        what: "an account of another project, for which the devices have no tokens",
        write: |service| {
            service.rule(of_the_new_one(service, Provider::Fcm, Action::fcm(FcmFault::SenderIdMismatch)));
            write_new_account(service);
        },
        told: (Provider::Fcm, 403, "SENDER_ID_MISMATCH"),
    },
];

/// A rule for requests with the new credential: with any that no request has shown so far.
fn of_the_new_one(service: &TestService, provider: Provider, action: Action) -> Rule {
    let so_far: BTreeSet<_> = shown(&service.ledger(), provider).into_iter().collect();
    assert!(!so_far.is_empty(), "the credential in use was shown");
    Rule { other_credentials_than: so_far.into_iter().collect(), ..Rule::provider(provider, action) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_credential_is_tried_with_one_device_and_costs_it_nothing() {
    let service = unhurried(Settings::default()).await;
    let good = ["pushpost.toml", "service-account.json"].map(|name| (name, service.read(name)));
    let mut number = 0;
    let mut send = async |count: usize| {
        number += 1;
        let mut targets = apns_targets(&format!("{number:08x}"), count);
        targets.extend(fcm_targets(&format!("f{number}-"), count));
        let id = service.notifications().send(hello(targets)).await;
        assert_untouched(&service, &id, 2 * count).await;
    };
    send(20).await;
    for wrong in WRONG {
        let (provider, status, reason) = wrong.told;
        (wrong.write)(&service);
        service.ledger().clear();
        service.reload().await.unwrap();
        let until = Instant::now() + WAIT_MAX;
        while service.ledger().count(provider, status, reason) == 0 {
            assert!(Instant::now() < until, "{}: it is tried", wrong.what);
            send(1).await;
        }
        send(20).await;
        let refused = sent(&service.ledger()).into_iter().filter(|entry| !entry.accepted).count();
        assert_eq!(refused, usize::from(provider != Provider::Oauth), "{}: one device tries it", wrong.what);
        assert_eq!(service.ledger().count(provider, status, reason), 1, "{}", wrong.what);
        assert_eq!(service.database.count(SUSPENDED).await, 0, "{}", wrong.what);
        // Back to what is in use: nothing to try.
        good.iter().for_each(|(name, text)| service.write(name, text));
        service.simulator.clear_rules();
        service.reload().await.unwrap();
        send(20).await;
        for provider in [Provider::Apns, Provider::Fcm] {
            let shown: BTreeSet<_> = shown(&service.ledger(), provider).into_iter().collect();
            assert_eq!(shown.len(), 1, "{}: the old credential stays", wrong.what);
        }
    }
    assert_eq!(service.database.count(QUARANTINED).await, 0);
    service.expect_log("configuration has changes that take a restart");
    service.stop_undecided().await;
}

/// Accepts connections and closes them, and counts them.
async fn nobody(tasks: &mut JoinSet<()>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, tried) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&tried);
    tasks.spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            drop(connection);
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (port, tried)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_can_not_be_tried_waits_without_a_device_until_it_can() {
    let service = unhurried(Settings::default()).await;
    let mut tasks = JoinSet::new();
    let (apns_port, apns_tried) = nobody(&mut tasks).await;
    let (oauth_port, oauth_tried) = nobody(&mut tasks).await;
    let first =
        service.notifications().send(hello([apns_targets("a", 20), fcm_targets("a", 20)].concat())).await;
    assert_untouched(&service, &first, 40).await;
    let before =
        [Provider::Apns, Provider::Fcm].map(|one| shown(&service.ledger(), one).into_iter().collect());

    let (toml, endpoint) = (service.read("pushpost.toml"), service.simulator.apns_endpoint());
    service.write("pushpost.toml", &toml.replace(&endpoint, &format!("https://localhost:{apns_port}")));
    let account = service.simulator.issue_service_account(NEW_ACCOUNT);
    let nowhere = format!("https://localhost:{oauth_port}/token");
    service.write("service-account.json", &account.replace(service.simulator.token_uri(), &nowhere));
    service.reload().await.unwrap();
    let until = Instant::now() + WAIT_MAX;
    let mut sent_meanwhile = Vec::new();
    // Twice: it is tried again after a pause.
    while apns_tried.load(Ordering::Relaxed) < 2 || oauth_tried.load(Ordering::Relaxed) < 2 {
        assert!(Instant::now() < until, "the candidates are tried again");
        let number = sent_meanwhile.len();
        let targets = [apns_targets(&format!("b{number:07x}"), 1), fcm_targets(&format!("b{number}-"), 1)];
        let id = service.notifications().send(hello(targets.concat())).await;
        assert_untouched(&service, &id, 2).await;
        sent_meanwhile.push(id);
    }
    assert!(sent(&service.ledger()).iter().all(|entry| entry.accepted), "no device met it");

    // Another candidate takes its place at once, whatever pause it was in.
    service.write("pushpost.toml", &toml);
    write_new_key(&service);
    service.write("service-account.json", &account);
    service.reload().await.unwrap();
    let over = AtomicBool::new(false);
    let later = async {
        let mut number = 0;
        while !over.load(Ordering::Relaxed) {
            let targets =
                [apns_targets(&format!("c{number:07x}"), 1), fcm_targets(&format!("c{number}-"), 1)];
            let id = service.notifications().send(hello(targets.concat())).await;
            assert_untouched(&service, &id, 2).await;
            number += 1;
        }
    };
    let renewed = async {
        until_renewed(&service, Provider::Apns, &before[0]).await;
        until_renewed(&service, Provider::Fcm, &before[1]).await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(later, renewed);
    assert_eq!(service.database.count(SUSPENDED).await, 0);
    service.expect_log("new credential could not be tried");
    service.expect_log("no new FCM access token");
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_trial_in_doubt_is_an_attempt_and_is_not_sent_twice() {
    let service = unhurried(Settings::default()).await;
    let first = service.notifications().send(hello(apns_targets("a", 20))).await;
    assert_untouched(&service, &first, 20).await;
    let before = shown(&service.ledger(), Provider::Apns).into_iter().collect();
    service.rule(of_the_new_one(&service, Provider::Apns, Action::Close { accepted: true }).times(1));
    write_new_key(&service);
    service.reload().await.unwrap();
    let over = AtomicBool::new(false);
    let renewed = async {
        until_renewed(&service, Provider::Apns, &before).await;
        over.store(true, Ordering::Relaxed);
    };
    let post = async {
        let mut attempts = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let id = service
                .notifications()
                .send(hello(apns_targets(&format!("b{:07x}", attempts.len()), 1)))
                .await;
            let outcome = service.notifications().outcome(&id).await;
            assert_eq!(outcome["status"], "accepted", "{outcome}");
            attempts.push(outcome["attempts"].as_u64().unwrap());
        }
        attempts
    };
    let (attempts, ()) = tokio::join!(post, renewed);
    assert_eq!(attempts.iter().filter(|attempts| **attempts == 2).count(), 1, "{attempts:?}");
    assert!(attempts.iter().all(|attempts| *attempts <= 2), "{attempts:?}");
    assert_eq!(service.ledger().duplicates().len(), 1);
    assert_eq!(service.database.count(SUSPENDED).await, 0);
    service.stop_undecided().await;
}
