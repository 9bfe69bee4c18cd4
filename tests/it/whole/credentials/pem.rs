//! Keys as platforms store them: line ends may be escaped, and a key that can't be used is named.

use pushpost::runtime::Role;
use pushpost_simulator::Settings;
use pushpost_testkit::json::{apns_targets, fcm_targets};

use super::{assert_untouched, hello, unhurried};
use pushpost_testkit::service::TestService;

/// The file that the configuration names under this key.
fn file_of(service: &TestService, key: &str) -> String {
    let text = service.read("pushpost.toml");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
    line.expect("it is configured").trim_matches('"').to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_with_escaped_line_ends_are_used() {
    let mut service = TestService::builder().build().await;
    let p8 = service.read(&file_of(&service, "key_file"));
    service.configure("APPS__SHOP__APNS__KEY", &p8.replace('\n', r"\n"));
    let (account, ca) = (file_of(&service, "service_account_file"), file_of(&service, "ca_file"));
    service.write(&account, &service.read(&account).replace(r"\n", r"\\n"));
    service.write(&ca, &service.read(&ca).replace('\n', r"\n"));
    service.node(Role::All).await;
    let id = service.notifications().send(hello([apns_targets("a", 1), fcm_targets("f", 1)].concat())).await;
    assert_untouched(&service, &id, 2).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_can_not_be_used_is_named_with_its_place_and_the_reason() {
    let service = unhurried(Settings::default()).await;
    let (p8, account) = (file_of(&service, "key_file"), file_of(&service, "service_account_file"));
    let (good_p8, good_account) = (service.read(&p8), service.read(&account));
    let secret = good_p8.lines().nth(1).unwrap();
    for (broken, why) in [
        (good_p8.lines().next().unwrap().to_owned(), "it is cut off"),
        (good_p8.replace(secret, "AAAA"), "its content is not a P-256 key"),
        (good_p8.replace(secret, &secret.replace(&secret[..4], "A*A*")), "is no base64"),
    ] {
        service.write(&p8, &broken);
        let said = service.reload().await.unwrap_err();
        for part in ["lane shop/apns-", "apps.shop.apns.key_file", &p8, why] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert_eq!(said.matches(why).count(), said.matches("lane shop/apns-").count(), "told once: {said}");
        assert!(!said.contains(&secret[8..]), "{said}");
    }
    service.write(&p8, &good_p8);
    service.write(&account, &good_account.replace(r"-----END", r"-----DNE"));
    let said = service.reload().await.unwrap_err();
    for part in
        ["lane shop/fcm", "apps.shop.fcm.service_account_file", &account, "private_key", "it is cut off"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    service.write(&account, &good_account);
    service.reload().await.unwrap();
    service.expect_log("the configuration was not taken over");
    service.stop().await;
}
