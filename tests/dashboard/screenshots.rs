//! Writes the pictures of `docs/images`: a shop in which a push was late, and lane fcm has just been suspended.
//! `scripts/screenshots` runs it.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pushpost::provider::fcm;
use pushpost_simulator::{Action, FcmFault, Provider, Rule};
use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::service::TestService;
use pushpost_testkit::webhook_receiver::WebhookReceiver;
use serde_json::json;

use crate::accessible::{furnished, log_in, visit};
use crate::{Browser, Hand, shop};

/// Devices that wait for lane fcm.
const DEVICES: usize = 1_208;

/// A push that waits in a paused lane, and a lane that is suspended; answers the page of the push.
async fn disturb(service: &TestService) -> String {
    service.lanes().pause(fcm::LANE).await;
    let late =
        json!({"to": {"tokens": fcm_targets("a", 3)}, "title": "Your order", "label": "order-updates"});
    let late = service.notifications().send(late).await;
    for sql in shop::earlier("12 s") {
        service.database.execute(&sql).await;
    }
    service.lanes().resume(fcm::LANE).await;
    service.notifications().until_done(&late).await;
    service.rule(Rule::provider(Provider::Fcm, Action::fcm(FcmFault::PermissionDenied)));
    let sale = json!({"to": {"tokens": fcm_targets("f", DEVICES)}, "title": "Sale", "label": "spring-sale"});
    service.notifications().send(sale).await;
    service.lanes().until_state(fcm::LANE, "suspended").await;
    service.lanes().until(fcm::LANE, &json!({"depth": DEVICES})).await;
    format!("/dashboard/notifications/{late}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes docs/images; scripts/screenshots runs it"]
async fn pictures_of_the_pages_are_written() {
    let receiver = WebhookReceiver::start().await;
    let (service, _) = furnished(&receiver).await;
    let late = disturb(&service).await;
    let browser = Browser::open(Hand::Mouse, &service.url("")).await;
    log_in(&service, &browser, "admin").await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
    fs::create_dir_all(&folder).unwrap();
    for (name, page, width, scheme) in [
        ("overview-light", "/dashboard/", 1_280, "light"),
        ("overview-dark", "/dashboard/", 1_280, "dark"),
        ("overview-narrow", "/dashboard/", 360, "light"),
        ("why-light", &late, 1_280, "light"),
    ] {
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.command("Emulation.setEmulatedMedia", scheme).await;
        let size = json!({"width": width, "height": 860, "deviceScaleFactor": 1, "mobile": false});
        browser.command("Emulation.setDeviceMetricsOverride", size).await;
        visit(&browser, page).await;
        let picture = browser.command("Page.captureScreenshot", json!({"format": "png"})).await;
        let picture = BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        fs::write(folder.join(format!("dashboard-{name}.png")), picture).unwrap();
    }
    browser.quit().await;
    service.stop_undecided().await;
}
