//! What a session holds: the ids of the keys that were used to log in, sealed with the installation's key. So it holds on every node
//! and needs no table. A key that is revoked takes its part of the session with it.

use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderMap;
use uuid::Uuid;

use super::cookie;
use crate::domain::{AppId, InstallationKey, KeyId};

/// From a login to the end of its part of the session.
const LIFETIME: TimeDelta = TimeDelta::hours(12);
/// Apps of a session at most.
const APPS_MAX: usize = 8;
/// What the text is sealed for. Another form of the content gets another purpose.
const PURPOSE: &[u8] = b"dashboard session 1";
/// Bytes of one login: the app, the key, and the end in seconds since 1970.
const LOGIN_BYTES: usize = 2 + 16 + 8;

/// A key that was used to log in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Login {
    pub(super) app: AppId,
    pub(super) key: KeyId,
    /// By Postgres's clock, in whole seconds.
    pub(super) ends_at: DateTime<Utc>,
}

/// The logins of a browser, in their order, one per app.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct DashboardSession(pub(super) Vec<Login>);

impl DashboardSession {
    /// The session of a request's cookie, without the logins that have ended. `now`: Postgres's time.
    pub(super) fn of(headers: &HeaderMap, key: &InstallationKey, now: DateTime<Utc>) -> Self {
        let mut opened = cookie::values(headers).filter_map(|value| Self::open(key, value));
        let mut session = opened.next().unwrap_or_default();
        session.0.retain(|login| login.ends_at > now);
        session
    }

    /// Adds a login, in place of the app's former one. Beyond [`APPS_MAX`] the one that ends first makes room.
    pub(super) fn add(&mut self, app: AppId, key: KeyId, now: DateTime<Utc>) {
        self.0.retain(|login| login.app != app);
        while self.0.len() >= APPS_MAX {
            let first = self.0.iter().enumerate().min_by_key(|(_, login)| login.ends_at);
            let place = first.map_or(0, |(place, _)| place);
            self.0.remove(place);
        }
        let ends_at = (now + LIFETIME).timestamp();
        let ends_at = DateTime::from_timestamp(ends_at, 0).unwrap_or(now);
        self.0.push(Login { app, key, ends_at });
    }

    /// When its last login ends; none: it has none.
    pub(super) fn ends_at(&self) -> Option<DateTime<Utc>> {
        self.0.iter().map(|login| login.ends_at).max()
    }

    /// The text of the cookie.
    pub(super) fn seal(&self, key: &InstallationKey) -> String {
        let mut plain = Vec::with_capacity(self.0.len() * LOGIN_BYTES);
        for login in &self.0 {
            plain.extend_from_slice(&login.app.0.to_be_bytes());
            plain.extend_from_slice(login.key.0.as_bytes());
            plain.extend_from_slice(&login.ends_at.timestamp().to_be_bytes());
        }
        key.seal(PURPOSE, &plain)
    }

    fn open(key: &InstallationKey, text: &str) -> Option<Self> {
        let plain = key.open_sealed(PURPOSE, text)?;
        let (logins, rest) = plain.as_chunks::<LOGIN_BYTES>();
        rest.is_empty().then(|| Self(logins.iter().filter_map(login).collect()))
    }
}

fn login(bytes: &[u8; LOGIN_BYTES]) -> Option<Login> {
    let (app, rest) = bytes.split_first_chunk()?;
    let (key, rest) = rest.split_first_chunk()?;
    let ends_at = i64::from_be_bytes(rest.try_into().ok()?);
    Some(Login {
        app: AppId(i16::from_be_bytes(*app)),
        key: KeyId(Uuid::from_bytes(*key)),
        ends_at: DateTime::from_timestamp(ends_at, 0)?,
    })
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    fn key() -> InstallationKey {
        InstallationKey::new([7; 32])
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000, 0).expect("in range")
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let cookies =
            values.iter().map(|value| format!("{}={value}", cookie::NAME).parse().expect("a value"));
        cookies.map(|cookie| (COOKIE, cookie)).collect()
    }

    #[test]
    fn a_session_is_read_back_until_its_logins_end() {
        let mut session = DashboardSession::default();
        session.add(AppId(1), KeyId::random(), now());
        session.add(AppId(2), KeyId::random(), now() + TimeDelta::hours(1));
        let sealed = session.seal(&key());
        let of = |now| DashboardSession::of(&headers(&["forged", &sealed]), &key(), now);
        assert_eq!(of(now()), session);
        assert_eq!(of(now() + LIFETIME - TimeDelta::seconds(1)), session);
        assert_eq!(of(now() + LIFETIME).0, session.0[1..], "the first login has ended");
        assert_eq!(of(now() + LIFETIME + TimeDelta::hours(1)).0, []);
        assert_eq!(DashboardSession::of(&headers(&[&sealed]), &InstallationKey::new([8; 32]), now()).0, []);
        assert_eq!(DashboardSession::of(&headers(&[]), &key(), now()).0, []);
    }

    #[test]
    fn a_second_key_of_an_app_replaces_the_first_and_the_ninth_app_the_oldest_login() {
        let mut session = DashboardSession::default();
        for app in 1..=8 {
            session.add(AppId(app), KeyId::random(), now() + TimeDelta::seconds(app.into()));
        }
        session.add(AppId(1), KeyId::random(), now() + TimeDelta::hours(1));
        let apps = |session: &DashboardSession| session.0.iter().map(|login| login.app.0).collect::<Vec<_>>();
        assert_eq!(apps(&session), [2, 3, 4, 5, 6, 7, 8, 1]);
        session.add(AppId(9), KeyId::random(), now());
        assert_eq!(apps(&session), [3, 4, 5, 6, 7, 8, 1, 9]);
    }
}
