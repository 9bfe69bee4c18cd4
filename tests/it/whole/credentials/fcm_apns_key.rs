//! The Apple key that is stored at Firebase is wrong: it holds back Apple devices and no others.

use pushpost_simulator::{Action, Entry, FcmFault, Ledger, Rule, Settings};
use pushpost_testkit::json::{assert_ended, fcm_targets};

use super::{QUARANTINED, SUSPENDED, assert_untouched, hello, unhurried};
use pushpost_testkit::service::sent;
use pushpost_testkit::wait::WAIT_MAX;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apple_devices_of_an_fcm_lane_wait_for_their_key_while_android_devices_go_on() {
    const EACH: usize = 50;
    for (fault, reason) in [
        (FcmFault::ThirdPartyAuthError, "THIRD_PARTY_AUTH_ERROR"),
        (FcmFault::ApnsAuthError, "APNS_AUTH_ERROR"),
    ] {
        let service = unhurried(Settings::default()).await;
        service.rule(Rule::prefix("apple", Action::fcm(fault)));
        let id = service
            .notifications()
            .send(hello([fcm_targets("android", EACH), fcm_targets("apple", EACH)].concat()))
            .await;
        // Three tries for each on average: that they come again is part of it.
        let again = |ledger: &Ledger| {
            let of_apple =
                |entry: &&Entry| entry.token.as_deref().is_some_and(|token| token.starts_with("apple"));
            sent(ledger).iter().filter(of_apple).count() >= 3 * EACH
        };
        assert!(service.ledger().wait_until(WAIT_MAX, again).await);
        let other = service.notifications().send(hello(fcm_targets("more-android", EACH))).await;
        assert_untouched(&service, &other, EACH).await;

        let status = service.get(&format!("/v1/notifications/{id}")).await.body;
        assert_eq!(status["counts"]["accepted"], EACH, "{status}");
        assert_eq!(status["counts"]["pending"], EACH, "{status}");
        assert_eq!(status["held"], serde_json::json!([]), "the lane itself runs");
        let deliveries = service.notifications().deliveries(&id).await;
        for one in deliveries.iter().filter(|one| one["status"] == "pending") {
            assert_ended(one, "pending", 0, Some(reason));
        }
        assert_eq!(service.database.count(SUSPENDED).await, 0);
        assert_eq!(service.database.count(QUARANTINED).await, 0);

        service.simulator.clear_rules();
        assert_untouched(&service, &id, 2 * EACH).await;
        service.stop().await;
    }
}
