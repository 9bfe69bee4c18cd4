//! The app `shop`, which most tests send through, and its devices. It has credentials for every lane unless a test removes
//! them.

use std::time::Duration;

use pushpost::domain::{App, AppLane, DeviceId, DeviceToken, LaneKey, Platform, TopicName, UserId};
use pushpost::maintenance::Retention;
use pushpost::provider::{apns, fcm};
use pushpost::registry::devices::{RegisteredDevice, register};
use pushpost::registry::registration::{DeviceDetails, FieldChange, Registrar, Registration};
use pushpost::store;
use pushpost::store::SessionPool;

/// The app `shop`, with rows for itself and its lanes. Its APNs devices belong to production by default.
pub async fn shop(pool: &SessionPool) -> App {
    app(pool, "shop").await
}

/// As [`shop`], with another name.
pub async fn app(pool: &SessionPool, name: &str) -> App {
    let mut conn = pool.acquire().await.unwrap();
    let rows = store::apps::ensure(&mut conn, &[name.to_owned()]).await.unwrap().remove(0);
    let lanes = rows.lanes.into_iter();
    App {
        id: rows.id,
        name: rows.name,
        lanes: lanes.map(|(key, id)| (key, AppLane { id, configured: true })).collect(),
        defaults: [(apns::PLATFORM, apns::defaults(apns::PRODUCTION, "com.example.shop"))].into(),
        topics_max: 100_000,
        user_tokens: None,
        cleanups: Vec::new(),
    }
}

/// The app without credentials for a lane.
pub fn without_credentials(mut app: App, key: LaneKey) -> App {
    app.lanes.get_mut(&key).unwrap().configured = false;
    app
}

/// An APNs token of 64 hexadecimal digits, which repeats two.
pub fn apns_token(two: &str) -> DeviceToken {
    DeviceToken::parse(apns::PLATFORM, &two.repeat(32)).unwrap()
}

pub fn fcm_token(text: &str) -> DeviceToken {
    DeviceToken::parse(fcm::PLATFORM, text).unwrap()
}

pub fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub fn topics(names: &[&str]) -> Vec<TopicName> {
    names.iter().map(|name| TopicName::parse(name).unwrap()).collect()
}

/// A registration of an APNs token without details.
pub fn apns(two: &str) -> Registration {
    registration(apns::PLATFORM, apns_token(two))
}

/// A registration of an FCM token without details.
pub fn fcm(text: &str) -> Registration {
    registration(fcm::PLATFORM, fcm_token(text))
}

/// The registration with a user.
pub fn of(name: &str, mut registration: Registration) -> Registration {
    registration.details.user = FieldChange::Set(user(name));
    registration
}

/// Registers a device as a backend's key does.
pub async fn put(pool: &SessionPool, app: &App, registration: &Registration) -> RegisteredDevice {
    register(pool, app, registration, Registrar::Backend).await.unwrap()
}

/// As [`put`], for the id alone.
pub async fn put_id(pool: &SessionPool, app: &App, registration: &Registration) -> DeviceId {
    put(pool, app, registration).await.known.device.id
}

fn registration(platform: Platform, token: DeviceToken) -> Registration {
    Registration {
        platform,
        token,
        details: DeviceDetails::default(),
        replaces: None,
        registered_at: None,
        user_token: None,
    }
}

/// Keeps notifications for so many days, and everything else for longer than any test.
pub fn kept(days: u64) -> Retention {
    const DAY: u64 = 86_400;
    let long = Duration::from_secs(1_000 * DAY);
    Retention {
        notifications: Duration::from_secs(days * DAY),
        content: long,
        quarantine: long,
        events: Duration::from_secs(days * DAY),
    }
}
