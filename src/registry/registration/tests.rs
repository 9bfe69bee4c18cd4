//! Tests of the rules of a registration, without a database.

use std::collections::BTreeMap;

use super::replacement::Takeover;
use super::*;
use crate::domain::test_platform::{EAST, STRUCTURED, WEST};
use crate::domain::{AppId, AppLane, LaneId, PushpostReason, QuarantineReason};
use crate::provider::{apns, fcm};

fn app() -> App {
    let platforms = crate::provider::built_in_platforms();
    let lanes = platforms.lanes().zip(1..);
    App {
        id: AppId(1),
        name: "shop".to_owned(),
        lanes: lanes
            .map(|(key, id)| (key, AppLane { id: LaneId(id), configured: true }))
            .collect::<BTreeMap<_, _>>(),
        defaults: [(apns::PLATFORM, apns::defaults(apns::PRODUCTION, "com.example.shop"))].into(),
        topics_max: 100_000,
        user_tokens: None,
        cleanups: Vec::new(),
    }
}

fn second(n: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000 + n, 0).expect("in range")
}

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a user id")
}

fn apns(details: DeviceDetails) -> Registration {
    Registration {
        platform: apns::PLATFORM,
        token: DeviceToken::parse(apns::PLATFORM, "aa01").expect("hexadecimal"),
        details,
        replaces: None,
        registered_at: None,
        user_token: None,
    }
}

fn known() -> Device {
    apns(DeviceDetails::default()).new_device(&app(), Some(second(0)), Registrar::Backend)
}

fn quarantined(evidence_at: Option<i64>) -> Device {
    let reason = QuarantineReason("Unregistered".to_owned());
    let quarantine = Quarantine { at: second(20), reason, evidence_at: evidence_at.map(second) };
    Device { quarantine: Some(quarantine), ..known() }
}

#[test]
fn a_first_registration_takes_the_apps_environment_and_kind_alert() {
    let device = known();
    assert_eq!(device.environment, Some(apns::PRODUCTION));
    assert_eq!((device.kind, device.source), (Kind::Alert, Source::Registered));
    assert_eq!(device.registered_at, Some(second(0)));
    let fcm = Registration { platform: fcm::PLATFORM, ..apns(DeviceDetails::default()) };
    assert_eq!(fcm.new_device(&app(), Some(second(0)), Registrar::Backend).environment, None);
}

#[test]
fn a_field_is_kept_cleared_or_set() {
    let mut device = Device { user: Some(user("u1")), locale: Locale::parse("de"), ..known() };
    let details =
        DeviceDetails { locale: FieldChange::Clear, timezone: FieldChange::Keep, ..DeviceDetails::default() };
    apns(details).update_device(&mut device, &app(), Some(second(1)), Registrar::Backend);
    assert_eq!((&device.user, &device.locale), (&Some(user("u1")), &None));
    let details = DeviceDetails { user: FieldChange::Set(user("u2")), ..DeviceDetails::default() };
    apns(details).update_device(&mut device, &app(), Some(second(2)), Registrar::Backend);
    assert_eq!(device.user, Some(user("u2")));
}

#[test]
fn an_app_can_change_an_environment_that_apns_has_not_proven() {
    let sandbox =
        apns(DeviceDetails { environment: FieldChange::Set(apns::SANDBOX), ..DeviceDetails::default() });
    let mut device = known();
    sandbox.update_device(&mut device, &app(), Some(second(1)), Registrar::App);
    assert_eq!(device.environment, Some(apns::SANDBOX));

    let mut proven = Device { environment_proven: true, ..known() };
    sandbox.update_device(&mut proven, &app(), Some(second(1)), Registrar::App);
    assert_eq!((proven.environment, proven.environment_proven), (Some(apns::PRODUCTION), true));
    sandbox.update_device(&mut proven, &app(), Some(second(1)), Registrar::Backend);
    assert_eq!((proven.environment, proven.environment_proven), (Some(apns::SANDBOX), false));

    let mut same = Device { environment_proven: true, ..known() };
    let production =
        DeviceDetails { environment: FieldChange::Set(apns::PRODUCTION), ..DeviceDetails::default() };
    apns(production).update_device(&mut same, &app(), Some(second(1)), Registrar::Backend);
    assert!(same.environment_proven, "a statement that agrees with the proof changes nothing");
}

#[test]
fn the_time_of_registration_never_moves_backwards() {
    let mut device = known();
    apns(DeviceDetails::default()).update_device(&mut device, &app(), Some(second(-5)), Registrar::Backend);
    assert_eq!(device.registered_at, Some(second(0)));
    apns(DeviceDetails::default()).update_device(&mut device, &app(), Some(second(5)), Registrar::Backend);
    assert_eq!(device.registered_at, Some(second(5)));
}

#[test]
fn only_a_registration_after_the_evidence_ends_a_quarantine() {
    for (evidence_at, registered_at, comes_back) in [
        (Some(10), 9, false),
        (Some(10), 10, false),
        (Some(10), 11, true),
        (None, 20, false),
        (None, 21, true),
    ] {
        let mut device = quarantined(evidence_at);
        apns(DeviceDetails::default()).update_device(
            &mut device,
            &app(),
            Some(second(registered_at)),
            Registrar::Backend,
        );
        assert_eq!(device.quarantine.is_none(), comes_back, "{evidence_at:?} {registered_at}");
    }
}

#[test]
fn a_repeated_earlier_registration_does_not_end_a_quarantine() {
    let mut device = Device { registered_at: Some(second(30)), ..quarantined(Some(25)) };
    apns(DeviceDetails::default()).update_device(&mut device, &app(), Some(second(24)), Registrar::Backend);
    assert!(device.quarantine.is_some());
}

#[test]
fn a_device_known_from_sends_becomes_registered() {
    let mut device = Device { source: Source::Send, registered_at: None, ..known() };
    apns(DeviceDetails::default()).update_device(&mut device, &app(), Some(second(1)), Registrar::App);
    assert_eq!((device.source, device.registered_at), (Source::Registered, Some(second(1))));
}

#[test]
fn an_import_has_only_the_stated_time() {
    let (now, plain) = (second(100), apns(DeviceDetails::default()));
    assert_eq!(plain.effective_time(now, Registrar::Backend), Ok(Some(now)));
    assert_eq!(plain.effective_time(now, Registrar::Import), Ok(None));
    let stated = |n| Registration { registered_at: Some(second(n)), ..apns(DeviceDetails::default()) };
    for caller in [Registrar::Backend, Registrar::Import] {
        assert_eq!(stated(7).effective_time(now, caller), Ok(Some(second(7))));
        assert_eq!(stated(105).effective_time(now, caller), Ok(Some(now)), "another clock");
        assert_eq!(stated(106).effective_time(now, caller), Err(RegisteredInFuture));
    }
    let imported = plain.new_device(&app(), None, Registrar::Import);
    assert_eq!((imported.source, imported.registered_at), (Source::Import, None));
    for (before, after) in [
        (Source::Send, Source::Import),
        (Source::Import, Source::Import),
        (Source::Registered, Source::Registered),
    ] {
        let mut device = Device { source: before, ..quarantined(Some(10)) };
        plain.update_device(&mut device, &app(), None, Registrar::Import);
        assert_eq!((device.source, device.registered_at), (after, Some(second(0))));
        assert!(device.quarantine.is_some());
        plain.update_device(&mut device, &app(), Some(second(11)), Registrar::Import);
        assert_eq!((device.registered_at, device.quarantine), (Some(second(11)), None));
    }
}

/// A new device that has taken over from a device of `u1` in the sandbox with a locale.
fn successor(registration: &Registration, takeover: Takeover) -> Device {
    let old = Device {
        id: DeviceId(7),
        environment: Some(apns::SANDBOX),
        user: Some(user("u1")),
        locale: Locale::parse("de"),
        timezone: TimeZone::parse("Europe/Berlin"),
        app_version: AppVersion::parse("1"),
        ..known()
    };
    let mut device = registration.new_device(&app(), Some(second(1)), Registrar::Backend);
    registration.take_over(&mut device, &old, takeover, true, second(2));
    device
}

#[test]
fn a_new_device_takes_over_what_was_not_stated() {
    let french = apns(DeviceDetails {
        locale: FieldChange::Set(Locale::parse("fr").expect("a tag")),
        ..DeviceDetails::default()
    });
    let whole = successor(&french, Takeover::Whole);
    assert_eq!((whole.user, whole.locale), (Some(user("u1")), Locale::parse("fr")));
    assert_eq!(
        (whole.timezone, whole.app_version),
        (TimeZone::parse("Europe/Berlin"), AppVersion::parse("1"))
    );
    assert_eq!((whole.environment, whole.environment_proven), (Some(apns::SANDBOX), false));

    let open = successor(&apns(DeviceDetails::default()), Takeover::OpenPart);
    assert_eq!((open.user, open.locale, open.environment), (None, Locale::parse("de"), Some(apns::SANDBOX)));

    let logged_out = apns(DeviceDetails {
        user: FieldChange::Clear,
        environment: FieldChange::Set(apns::PRODUCTION),
        ..DeviceDetails::default()
    });
    let anonymous = successor(&logged_out, Takeover::Whole);
    assert_eq!((anonymous.user, anonymous.environment), (None, Some(apns::PRODUCTION)));
}

/// A registration of a token that has the environment in it.
fn structured(token: &str, replaces: Option<&str>) -> Registration {
    let parse = |text| DeviceToken::parse(STRUCTURED, text).expect("a token");
    let (token, replaces) = (parse(token), replaces.map(parse));
    Registration { platform: STRUCTURED, token, replaces, ..apns(DeviceDetails::default()) }
}

/// Carries out one registration beside a known device of `u1`; returns both devices, or one if they are the same.
fn registered_beside(known: &Registration, registration: &Registration) -> Vec<Device> {
    let device = known.new_device(&app(), Some(second(0)), Registrar::Backend);
    let device = Device { id: DeviceId(7), user: Some(user("u1")), ..device };
    let (app, keys) = (app(), [known, registration].map(RegistrationKeys::of));
    let mut batch = RegistrationBatch::new(&app, Registrar::Backend, second(1));
    batch.add_stored(device, Vec::new());
    batch.register(registration, keys[1]).expect("not in the future");
    let mut keys = keys.to_vec();
    keys.dedup_by_key(|keys| keys.all().next());
    keys.into_iter().filter_map(|keys| batch.find(keys).map(|(device, _)| device.clone())).collect()
}

#[test]
fn an_environment_in_the_token_is_never_taken_over() {
    let old = structured("east.example/1 k", None);
    let new = structured("west.example/2 k", Some("east.example/1 k"));
    let devices = registered_beside(&old, &new);
    let environments: Vec<_> = devices.iter().map(|device| device.environment).collect();
    assert_eq!(environments, [Some(EAST), Some(WEST)]);
    assert!(devices[0].quarantine.is_some() && devices[1].quarantine.is_none());
    assert_eq!(devices[1].user, Some(user("u1")));
}

#[test]
fn a_token_with_another_second_part_is_the_same_device_and_replaces_nothing() {
    let old = structured("east.example/1 k1", None);
    let again = structured("east.example/1 k2", Some("east.example/1 k1"));
    let devices = registered_beside(&old, &again);
    assert_eq!(devices.len(), 1);
    assert_eq!((devices[0].token.expose(), &devices[0].quarantine), ("east.example/1 k2", &None));
}

#[test]
fn a_claim_takes_over_the_environment_and_waits_for_the_same_user() {
    let mut device = successor(&apns(DeviceDetails::default()), Takeover::Pending);
    assert_eq!((&device.user, &device.locale, device.environment), (&None, &None, Some(apns::SANDBOX)));
    assert_eq!(claimed_device(&device, second(3)), None, "without a user there is nothing to compare");
    device.user = Some(user("u1"));
    assert_eq!(claimed_device(&device, second(3)), Some(DeviceId(7)));
    assert_eq!(claimed_device(&device, second(2) + TimeDelta::days(30)), None, "the claim has expired");

    let mut of_other_user = Device { user: Some(user("u2")), ..known() };
    settle_claim(&mut device, &mut of_other_user, second(3));
    assert_eq!((device.replaces.is_some(), of_other_user.quarantine), (true, None));
    let mut dead = Device { user: Some(user("u1")), ..quarantined(None) };
    settle_claim(&mut device.clone(), &mut dead, second(3));
    assert_eq!(dead.quarantine, quarantined(None).quarantine, "the provider's reason stays");
    let mut old = Device { user: Some(user("u1")), ..known() };
    settle_claim(&mut device, &mut old, second(3));
    assert_eq!(
        (device.replaces, old.quarantine.expect("quarantined").reason.0.as_str()),
        (None, PushpostReason::Replaced.as_str())
    );
}

#[test]
fn fcm_devices_have_neither_environment_nor_kind() {
    let details = DeviceDetails {
        environment: FieldChange::Set(apns::PRODUCTION),
        kind: FieldChange::Set(Kind::Voip),
        ..DeviceDetails::default()
    };
    assert_eq!(
        details.unsupported(fcm::PLATFORM),
        [UnsupportedDetail::Environment(fcm::PLATFORM), UnsupportedDetail::Kind(fcm::PLATFORM)]
    );
    assert_eq!(details.unsupported(apns::PLATFORM), []);
    let plain = DeviceDetails {
        environment: FieldChange::Clear,
        kind: FieldChange::Set(Kind::Alert),
        ..DeviceDetails::default()
    };
    assert_eq!(plain.unsupported(fcm::PLATFORM), []);
}
