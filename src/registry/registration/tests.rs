//! The rules of a registration, one by one.

use std::collections::BTreeMap;

use super::replacement::Takeover;
use super::*;
use crate::domain::{AppId, AppLane, LaneId, LaneKey, PushpostReason, QuarantineReason};

fn app() -> App {
    let lanes = LaneKey::ALL.into_iter().zip(1..);
    App {
        id: AppId(1),
        name: "shop".to_owned(),
        lanes: lanes
            .map(|(key, id)| (key, AppLane { id: LaneId(id), configured: true }))
            .collect::<BTreeMap<_, _>>(),
        apns_environment: Environment::Production,
        apns_topics: Vec::new(),
        fcm_channel: None,
        topics_max: 100_000,
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
        platform: Platform::Apns,
        token: DeviceToken::parse(Platform::Apns, "aa01").expect("hexadecimal"),
        details,
        replaces: None,
        registered_at: None,
    }
}

fn known() -> Device {
    apns(DeviceDetails::default()).first(&app(), Some(second(0)), Registrar::Backend)
}

fn quarantined(evidence_at: Option<i64>) -> Device {
    let reason = QuarantineReason("Unregistered".to_owned());
    let quarantine = Quarantine { at: second(20), reason, evidence_at: evidence_at.map(second) };
    Device { quarantine: Some(quarantine), ..known() }
}

#[test]
fn a_first_registration_takes_the_apps_environment_and_kind_alert() {
    let device = known();
    assert_eq!(device.environment, Some(Environment::Production));
    assert_eq!((device.kind, device.source), (Kind::Alert, Source::Registered));
    assert_eq!(device.registered_at, Some(second(0)));
    let fcm = Registration { platform: Platform::Fcm, ..apns(DeviceDetails::default()) };
    assert_eq!(fcm.first(&app(), Some(second(0)), Registrar::Backend).environment, None);
}

#[test]
fn a_field_left_out_stays_null_clears_it_and_a_value_sets_it() {
    let mut device = Device { user: Some(user("u1")), locale: Locale::parse("de"), ..known() };
    let details =
        DeviceDetails { locale: FieldChange::Clear, timezone: FieldChange::Keep, ..DeviceDetails::default() };
    apns(details).again(&mut device, &app(), Some(second(1)), Registrar::Backend);
    assert_eq!((&device.user, &device.locale), (&Some(user("u1")), &None));
    let details = DeviceDetails { user: FieldChange::Set(user("u2")), ..DeviceDetails::default() };
    apns(details).again(&mut device, &app(), Some(second(2)), Registrar::Backend);
    assert_eq!(device.user, Some(user("u2")));
}

#[test]
fn an_app_can_correct_an_environment_until_apns_has_proven_it() {
    let sandbox = apns(DeviceDetails {
        environment: FieldChange::Set(Environment::Sandbox),
        ..DeviceDetails::default()
    });
    let mut device = known();
    sandbox.again(&mut device, &app(), Some(second(1)), Registrar::App);
    assert_eq!(device.environment, Some(Environment::Sandbox));

    let mut proven = Device { environment_proven: true, ..known() };
    sandbox.again(&mut proven, &app(), Some(second(1)), Registrar::App);
    assert_eq!((proven.environment, proven.environment_proven), (Some(Environment::Production), true));
    sandbox.again(&mut proven, &app(), Some(second(1)), Registrar::Backend);
    assert_eq!((proven.environment, proven.environment_proven), (Some(Environment::Sandbox), false));

    let mut same = Device { environment_proven: true, ..known() };
    let production =
        DeviceDetails { environment: FieldChange::Set(Environment::Production), ..DeviceDetails::default() };
    apns(production).again(&mut same, &app(), Some(second(1)), Registrar::Backend);
    assert!(same.environment_proven, "saying what is proven changes nothing");
}

#[test]
fn the_time_of_registration_never_moves_backwards() {
    let mut device = known();
    apns(DeviceDetails::default()).again(&mut device, &app(), Some(second(-5)), Registrar::Backend);
    assert_eq!(device.registered_at, Some(second(0)));
    apns(DeviceDetails::default()).again(&mut device, &app(), Some(second(5)), Registrar::Backend);
    assert_eq!(device.registered_at, Some(second(5)));
}

#[test]
fn only_a_registration_after_the_evidence_brings_a_device_back() {
    for (evidence_at, registered_at, comes_back) in [
        (Some(10), 9, false),
        (Some(10), 10, false),
        (Some(10), 11, true),
        (None, 20, false),
        (None, 21, true),
    ] {
        let mut device = quarantined(evidence_at);
        apns(DeviceDetails::default()).again(
            &mut device,
            &app(),
            Some(second(registered_at)),
            Registrar::Backend,
        );
        assert_eq!(device.quarantine.is_none(), comes_back, "{evidence_at:?} {registered_at}");
    }
}

#[test]
fn an_earlier_registration_later_replayed_does_not_count_for_the_later_one() {
    let mut device = Device { registered_at: Some(second(30)), ..quarantined(Some(25)) };
    apns(DeviceDetails::default()).again(&mut device, &app(), Some(second(24)), Registrar::Backend);
    assert!(device.quarantine.is_some());
}

#[test]
fn a_device_known_from_sends_becomes_registered() {
    let mut device = Device { source: Source::Send, registered_at: None, ..known() };
    apns(DeviceDetails::default()).again(&mut device, &app(), Some(second(1)), Registrar::App);
    assert_eq!((device.source, device.registered_at), (Source::Registered, Some(second(1))));
}

#[test]
fn an_import_knows_no_time_but_the_stated_one() {
    let (now, plain) = (second(100), apns(DeviceDetails::default()));
    assert_eq!(plain.time(now, Registrar::Backend), Ok(Some(now)));
    assert_eq!(plain.time(now, Registrar::Import), Ok(None));
    let stated = |n| Registration { registered_at: Some(second(n)), ..apns(DeviceDetails::default()) };
    for caller in [Registrar::Backend, Registrar::Import] {
        assert_eq!(stated(7).time(now, caller), Ok(Some(second(7))));
        assert_eq!(stated(105).time(now, caller), Ok(Some(now)), "another clock");
        assert_eq!(stated(106).time(now, caller), Err(RegisteredInFuture));
    }
    let imported = plain.first(&app(), None, Registrar::Import);
    assert_eq!((imported.source, imported.registered_at), (Source::Import, None));
    for (before, after) in [
        (Source::Send, Source::Import),
        (Source::Import, Source::Import),
        (Source::Registered, Source::Registered),
    ] {
        let mut device = Device { source: before, ..quarantined(Some(10)) };
        plain.again(&mut device, &app(), None, Registrar::Import);
        assert_eq!((device.source, device.registered_at), (after, Some(second(0))));
        assert!(device.quarantine.is_some());
        plain.again(&mut device, &app(), Some(second(11)), Registrar::Import);
        assert_eq!((device.registered_at, device.quarantine), (Some(second(11)), None));
    }
}

/// What a new device takes over from one of `u1`, in the sandbox, with a locale.
fn heir(registration: &Registration, takeover: Takeover) -> Device {
    let old = Device {
        id: DeviceId(7),
        environment: Some(Environment::Sandbox),
        user: Some(user("u1")),
        locale: Locale::parse("de"),
        timezone: TimeZone::parse("Europe/Berlin"),
        app_version: AppVersion::parse("1"),
        ..known()
    };
    let mut heir = registration.first(&app(), Some(second(1)), Registrar::Backend);
    registration.inherit(&mut heir, &old, takeover, true, second(2));
    heir
}

#[test]
fn a_successor_takes_over_what_was_not_said_of_it() {
    let french = apns(DeviceDetails {
        locale: FieldChange::Set(Locale::parse("fr").expect("a tag")),
        ..DeviceDetails::default()
    });
    let whole = heir(&french, Takeover::Whole);
    assert_eq!((whole.user, whole.locale), (Some(user("u1")), Locale::parse("fr")));
    assert_eq!(
        (whole.timezone, whole.app_version),
        (TimeZone::parse("Europe/Berlin"), AppVersion::parse("1"))
    );
    assert_eq!((whole.environment, whole.environment_proven), (Some(Environment::Sandbox), false));

    let open = heir(&apns(DeviceDetails::default()), Takeover::OpenPart);
    assert_eq!(
        (open.user, open.locale, open.environment),
        (None, Locale::parse("de"), Some(Environment::Sandbox))
    );

    let logged_out = apns(DeviceDetails {
        user: FieldChange::Clear,
        environment: FieldChange::Set(Environment::Production),
        ..DeviceDetails::default()
    });
    let anonymous = heir(&logged_out, Takeover::Whole);
    assert_eq!((anonymous.user, anonymous.environment), (None, Some(Environment::Production)));
}

#[test]
fn a_claim_takes_over_the_environment_and_waits_for_the_same_user() {
    let mut device = heir(&apns(DeviceDetails::default()), Takeover::Pending);
    assert_eq!(
        (&device.user, &device.locale, device.environment),
        (&None, &None, Some(Environment::Sandbox))
    );
    assert_eq!(claimed(&device, second(3)), None, "without a user there is nothing to compare");
    device.user = Some(user("u1"));
    assert_eq!(claimed(&device, second(3)), Some(DeviceId(7)));
    assert_eq!(claimed(&device, second(2) + TimeDelta::days(30)), None, "it ends");

    let mut others = Device { user: Some(user("u2")), ..known() };
    settle(&mut device, &mut others, second(3));
    assert_eq!((device.replaces.is_some(), others.quarantine), (true, None));
    let mut dead = Device { user: Some(user("u1")), ..quarantined(None) };
    settle(&mut device.clone(), &mut dead, second(3));
    assert_eq!(dead.quarantine, quarantined(None).quarantine, "the provider's word stays");
    let mut old = Device { user: Some(user("u1")), ..known() };
    settle(&mut device, &mut old, second(3));
    assert_eq!(
        (device.replaces, old.quarantine.expect("set aside").reason.0.as_str()),
        (None, PushpostReason::Replaced.as_str())
    );
}

#[test]
fn fcm_devices_have_neither_environment_nor_kind() {
    let details = DeviceDetails {
        environment: FieldChange::Set(Environment::Production),
        kind: FieldChange::Set(Kind::Voip),
        ..DeviceDetails::default()
    };
    assert_eq!(details.unfit(Platform::Fcm), [UnsupportedDetail::Environment, UnsupportedDetail::Kind]);
    assert_eq!(details.unfit(Platform::Apns), []);
    let plain = DeviceDetails {
        environment: FieldChange::Clear,
        kind: FieldChange::Set(Kind::Alert),
        ..DeviceDetails::default()
    };
    assert_eq!(plain.unfit(Platform::Fcm), []);
}
