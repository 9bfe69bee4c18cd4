//! Requests that are too small to be rendered for a check of their size.

use crate::api::notifications::idempotency::HeaderKey;
use crate::api::notifications::request::{Context, read};
use crate::api::tests::app;
use crate::domain::{InstallationKey, Ttl};
use crate::notifications::rules::{FITTING_REQUEST_MAX, fits_every_provider};
use crate::provider::Providers;

/// Places that values of a request can be in, a unit to be repeated there, and how that is written.
const LONG: &[(&str, &str, &str)] = &[
    (r#""title":""#, "a", r#"""#),
    (r#""body":""#, r"\u0001", r#"""#),
    (r#""body":""#, r#"\""#, r#"""#),
    (r#""title":"A","data":{"k":""#, r#"\""#, r#""}"#),
    (r#""title":"A","data":{"k":["a""#, r#","\\""#, "]}"),
    (r#""title":"A","data":{"k":[0"#, ",1e15", "]}"),
    (r#""title":"A","data":{"k":[0"#, ",1e-7", "]}"),
    (r#""title":"A","data":{"k":[{}"#, r#",{"":1e15}"#, "]}"),
    (r#""title":"A","apns":{"payload":{"k":[0"#, ",1e15", "]}}"),
    (r#""title":"A","fcm":{"apns":{"payload":{"k":[0"#, ",1e15", "]}}}"),
    (r#""title":"A","fcm":{"data":{"k":""#, r"\\", r#""}}"#),
    (r#""title":"A","fcm":{"android_v2":{"data":{"k":""#, r#"\""#, r#""}}}"#),
    (r#""title":"A","image":"https://example.com/"#, "a", r#"""#),
    (r#""title":"A","url":"https://example.com/"#, "a", r#"""#),
];

#[test]
fn a_small_request_is_too_large_for_no_provider() {
    let (app, providers) = (app(), Providers::default());
    let most = FITTING_REQUEST_MAX;
    let context = Context {
        app: &app,
        providers: &providers,
        installation: &InstallationKey::new([7; 32]),
        targets_max: 5,
        now: super::at(super::NOW),
        default_ttl: Ttl::MAX,
        header_key: HeaderKey::Absent,
        checks_size: true,
        rejects_bad_tokens: false,
    };
    for (before, unit, after) in LONG {
        let around = format!(r#"{{"to":{{"users":["u"]}},{before}"#);
        let times = (most - around.len() - after.len() - 1) / unit.len();
        let body = format!("{around}{}{after}}}", unit.repeat(times));
        assert!(fits_every_provider(body.len(), &app, &providers), "{body}");
        let content =
            read(body.as_bytes(), context).1.unwrap_or_else(|error| panic!("{body}: {error}")).content;
        for provider in providers.iter() {
            assert_eq!(provider.check_size(&content, &app), [], "{body}");
        }
    }
}

#[test]
fn a_larger_request_is_rendered_for_the_check() {
    assert!(!fits_every_provider(4096 / 4, &app(), &Providers::default()));
}
