//! The Apple key that is stored at Firebase is wrong: it holds back Apple devices and nobody else.

use pushpost_simulator::{Action, Entry, FcmFault, Ledger, Rule, Settings};

use super::super::stage::{PATIENCE, assert_ended, fcm_targets, sent};
use super::{QUARANTINED, SUSPENDED, assert_untouched, hello, unhurried};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apple_devices_of_an_fcm_lane_wait_for_their_key_while_android_devices_go_on() {
    const EACH: usize = 50;
    for (fault, reason) in [
        (FcmFault::ThirdPartyAuthError, "THIRD_PARTY_AUTH_ERROR"),
        (FcmFault::ApnsAuthError, "APNS_AUTH_ERROR"),
    ] {
        let stage = unhurried(Settings::default()).await;
        stage.rule(Rule::prefix("apple", Action::fcm(fault)));
        let id =
            stage.notify(hello([fcm_targets("android", EACH), fcm_targets("apple", EACH)].concat())).await;
        // Three tries for each on average: that they come again is part of it.
        let again = |ledger: &Ledger| {
            let of_apple =
                |entry: &&Entry| entry.token.as_deref().is_some_and(|token| token.starts_with("apple"));
            sent(ledger).iter().filter(of_apple).count() >= 3 * EACH
        };
        assert!(stage.ledger().wait_until(PATIENCE, again).await);
        let other = stage.notify(hello(fcm_targets("more-android", EACH))).await;
        assert_untouched(&stage, &other, EACH).await;

        let status = stage.get(&format!("/v1/notifications/{id}")).await.body;
        assert_eq!(status["counts"]["accepted"], EACH, "{status}");
        assert_eq!(status["counts"]["pending"], EACH, "{status}");
        assert_eq!(status["held"], serde_json::json!([]), "the lane itself runs");
        let deliveries = stage.deliveries(&id).await;
        for one in deliveries.iter().filter(|one| one["status"] == "pending") {
            assert_ended(one, "pending", 0, Some(reason));
        }
        assert_eq!(stage.count(SUSPENDED).await, 0);
        assert_eq!(stage.count(QUARANTINED).await, 0);

        stage.simulator.clear_rules();
        assert_untouched(&stage, &id, 2 * EACH).await;
        stage.stop().await;
    }
}
