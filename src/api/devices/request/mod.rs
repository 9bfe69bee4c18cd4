//! Reads the bodies of requests about devices. `devices::schema` describes them for the OpenAPI document.

use std::borrow::Cow;
use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::api::json::{self, Element, Fields, Given};
use crate::domain::{
    AppVersion, BadToken, DeviceToken, InputCode, Kind, Locale, Platform, Platforms, TimeZone, TopicName,
    UserId, UserTokenClaims, ValidationError,
};
use crate::registry::registration::{
    DeviceDetails, FieldChange, IgnoredPart, IgnoredReason, Registrar, Registration, UnsupportedDetail,
};

/// Why a publishable key may not state the time of a registration.
const REGISTERED_BY_APP: &str = "a register key can't set this; Pushpost uses the present time";
/// The most topics that one request may name for a device.
const TOPICS_MAX: usize = 1000;

/// The caller that states something about a device.
#[derive(Clone, Copy)]
struct Author<'a> {
    registrar: Registrar,
    user_token: Option<&'a UserTokenClaims>,
}

/// The body of `PUT /v1/devices`.
pub(super) fn registration(
    body: impl Into<Vec<u8>>,
    registrar: Registrar,
    platforms: &Platforms,
) -> Result<Registration, Vec<ValidationError>> {
    proven_registration(body, registrar, None, platforms)
}

/// The body of `PUT /v1/devices` with a verified user token.
pub(super) fn proven_registration(
    body: impl Into<Vec<u8>>,
    registrar: Registrar,
    user_token: Option<UserTokenClaims>,
    platforms: &Platforms,
) -> Result<Registration, Vec<ValidationError>> {
    json::read(body, |mut fields| {
        let addressed = addressed(&mut fields, platforms);
        let author = Author { registrar, user_token: user_token.as_ref() };
        let mut details = read_details(&mut fields, author, platforms);
        let platform = addressed.as_ref().map(|(platform, _)| *platform);
        for unfit in platform.map(|platform| details.unsupported(platform)).unwrap_or_default() {
            fields.faults().push(self::unfit(unfit));
        }
        let replaces = replaces(&mut fields, platform, &mut details.ignored);
        let registered_at = registered_at(&mut fields, registrar);
        fields.finish();
        let (platform, token) = addressed?;
        Some(Registration { platform, token: token?, details, replaces, registered_at, user_token })
    })
}

/// The body of `PATCH /v1/devices/{id}`.
pub(super) fn details(
    body: impl Into<Vec<u8>>,
    platforms: &Platforms,
) -> Result<DeviceDetails, Vec<ValidationError>> {
    json::read(body, |mut fields| {
        let author = Author { registrar: Registrar::Backend, user_token: None };
        let details = read_details(&mut fields, author, platforms);
        fields.finish();
        Some(details)
    })
}

/// The body of `POST /v1/devices/unregister`.
pub(super) fn platform_and_token(
    body: impl Into<Vec<u8>>,
    platforms: &Platforms,
) -> Result<(Platform, DeviceToken), Vec<ValidationError>> {
    json::read(body, |fields| one_token(fields, platforms))
}

/// Reads an object that has a platform and a token and nothing else.
pub(super) fn one_token(mut fields: Fields<'_>, platforms: &Platforms) -> Option<(Platform, DeviceToken)> {
    let addressed = addressed(&mut fields, platforms);
    fields.finish();
    let (platform, token) = addressed?;
    Some((platform, token?))
}

/// The fault of a detail that the platform does not have.
pub(super) fn unfit(unfit: UnsupportedDetail) -> ValidationError {
    let (pointer, detail) = match unfit {
        UnsupportedDetail::Environment(platform) => ("#/environment", no_environment(platform)),
        UnsupportedDetail::Kind(platform) => ("#/kind", no_kind(platform)),
    };
    ValidationError::at(pointer, InputCode::BadValue, detail)
}

/// Says that no caller states an environment for devices of this platform.
pub(in crate::api) fn no_environment(platform: Platform) -> String {
    format!("{} has no environments", platform.facts().title)
}

/// Says which kinds the tokens of this platform have.
pub(in crate::api) fn no_kind(platform: Platform) -> String {
    let facts = platform.facts();
    let kinds: Vec<_> = facts.kinds.iter().map(|kind| kind.as_str()).collect();
    format!("{} has no kind but {}", facts.token_title, kinds.join(", "))
}

/// None: the platform is missing or unknown. No token: it is missing, or not a token of that platform.
fn addressed(fields: &mut Fields<'_>, platforms: &Platforms) -> Option<(Platform, Option<DeviceToken>)> {
    fields.require("platform");
    fields.require("token");
    let platform = platform(fields, platforms);
    let token = token(fields, "token", platform);
    Some((platform?, token))
}

fn platform(fields: &mut Fields<'_>, platforms: &Platforms) -> Option<Platform> {
    let text = fields.string("platform")?;
    let platform = platforms.parse(text);
    if platform.is_none() {
        let (at, names) = (fields.pointer("platform"), platforms.names());
        let detail = format!("this platform is not supported; it must be one of {}", names.join(", "));
        let fault = ValidationError::at(at, InputCode::UnsupportedPlatform, detail);
        fields.faults().push(fault.with("supported", names));
    }
    platform
}

/// A token is checked only if its platform is known.
fn token(fields: &mut Fields<'_>, name: &'static str, platform: Option<Platform>) -> Option<DeviceToken> {
    match parsed_token(fields, name, platform)? {
        Ok(token) => Some(token),
        Err(bad) => {
            fields.fault(name, InputCode::BadToken, bad.to_string());
            None
        }
    }
}

/// As [`token`], but a token that can't be read is no fault.
pub(in crate::api) fn parsed_token(
    fields: &mut Fields<'_>,
    name: &'static str,
    platform: Option<Platform>,
) -> Option<Result<DeviceToken, BadToken>> {
    let value = fields.value(name)?;
    let Some(text) = token_text(value, platform) else {
        let takes_objects = platform.is_some_and(|platform| platform.facts().has_object_tokens);
        fields.wrong_type(name, if takes_objects { "object or string" } else { "string" });
        return None;
    };
    Some(DeviceToken::parse(platform?, &text))
}

/// A token as its platform checks it: the content of a string, or the JSON of an object where the platform has such
/// tokens.
fn token_text(value: Element<'_>, platform: Option<Platform>) -> Option<Cow<'_, str>> {
    let takes_objects = platform.is_some_and(|platform| platform.facts().has_object_tokens);
    let object = || value.as_object().filter(|_| takes_objects);
    let json = || object().map(|_| Cow::Owned(value.to_value().to_string()));
    value.as_str().map(Cow::Borrowed).or_else(json)
}

fn read_details(fields: &mut Fields<'_>, author: Author<'_>, platforms: &Platforms) -> DeviceDetails {
    let mut ignored = Vec::new();
    let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let stated = platforms.stated_environments();
    let environments: Vec<_> = stated.iter().map(|environment| environment.as_str()).collect();
    let environment = |name: &str| stated.iter().copied().find(|environment| environment.as_str() == name);
    let user = user(fields, author);
    let is_bound = user != FieldChange::Clear;
    DeviceDetails {
        user,
        topics: topics(fields, author, is_bound),
        kind: choice(fields, "kind", &kinds, Kind::parse),
        environment: choice(fields, "environment", &environments, environment),
        locale: hint(fields, "locale", Locale::parse, &mut ignored),
        timezone: hint(fields, "timezone", TimeZone::parse, &mut ignored),
        app_version: hint(fields, "app_version", AppVersion::parse, &mut ignored),
        ignored,
    }
}

fn choice<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    names: &[&'static str],
    parse: impl Fn(&str) -> Option<T>,
) -> FieldChange<T> {
    change(fields, name, parse, |at| {
        let detail = format!("this must be one of {}", names.join(", "));
        ValidationError::at(at, InputCode::BadValue, detail).with("supported", names.to_vec())
    })
}

/// A value that a phone reports. If it can't be read, or has another JSON type than a string, the stored value stays and the
/// answer says so: a hint never costs a registration.
fn hint<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    parse: fn(&str) -> Option<T>,
    ignored: &mut Vec<IgnoredPart>,
) -> FieldChange<T> {
    match fields.given(name) {
        Given::Absent => FieldChange::Keep,
        Given::Null => FieldChange::Clear,
        Given::Value(value) => value.as_str().and_then(parse).map_or_else(
            || {
                ignored.push(IgnoredPart::member(name, IgnoredReason::BadValue));
                FieldChange::Keep
            },
            FieldChange::Set,
        ),
    }
}

/// The token of the device that is replaced. It is a hint too: a token that no service can have issued replaces nothing.
fn replaces(
    fields: &mut Fields<'_>,
    platform: Option<Platform>,
    ignored: &mut Vec<IgnoredPart>,
) -> Option<DeviceToken> {
    let value = fields.value("replaces")?;
    let platform = platform?;
    let text = token_text(value, Some(platform));
    let token = text.and_then(|text| DeviceToken::parse(platform, &text).ok());
    if token.is_none() {
        ignored.push(IgnoredPart::member("replaces", IgnoredReason::BadToken));
    }
    token
}

/// A publishable key may clear `user`; a user token sets it.
fn user(fields: &mut Fields<'_>, author: Author<'_>) -> FieldChange<UserId> {
    let user = change(fields, "user", UserId::parse, |at| {
        let detail = "a user id is 1 to 128 bytes without control characters";
        ValidationError::at(at, InputCode::BadUser, detail).with("limit", UserId::MAX)
    });
    let proven = author.user_token.map(|token| &token.user);
    match (&user, proven) {
        (FieldChange::Keep, Some(proven)) => return FieldChange::Set(proven.clone()),
        (FieldChange::Set(stated), Some(proven)) if stated != proven => {
            let detail = "the user token names another user";
            fields.fault("user", InputCode::ForbiddenField, detail);
        }
        (FieldChange::Set(_), None) if author.registrar == Registrar::App => {
            let detail = "with this key a device is bound to a user by a user token only";
            fields.fault("user", InputCode::ForbiddenField, detail);
        }
        _ => {}
    }
    user
}

/// `is_bound`: the request does not take the user away, so that the topics of a user token can be set.
fn topics(fields: &mut Fields<'_>, author: Author<'_>, is_bound: bool) -> Option<Vec<TopicName>> {
    let opened = author.user_token.and_then(|token| token.topics.as_ref()).filter(|_| is_bound);
    let is_opened = |name: &TopicName| opened.is_some_and(|opened| opened.contains(name));
    let by_app = author.registrar == Registrar::App;
    let given = match fields.given_strings("topics") {
        Given::Absent => return None,
        Given::Null => return Some(Vec::new()),
        Given::Value(given) => given,
    };
    if fields.length("topics") > TOPICS_MAX {
        let detail = format!("one request may name at most {TOPICS_MAX} topics");
        fields.faults().push(too_many_topics(TOPICS_MAX, detail));
        return None;
    }
    let names = given.filter_map(|(at, text)| {
        let name = TopicName::parse(text);
        match &name {
            None => {
                let detail = "a topic is 1 to 100 of A-Z a-z 0-9 _ . ~ : -";
                let fault = ValidationError::at(at, InputCode::BadTopic, detail);
                fields.faults().push(fault.with("limit", TopicName::MAX));
            }
            Some(name) if by_app && name.is_closed() && !is_opened(name) => {
                let detail = "a topic with a colon is closed to apps, unless the user token lists it";
                fields.faults().push(ValidationError::at(at, InputCode::TopicClosed, detail));
            }
            Some(_) => {}
        }
        name
    });
    let names: Vec<TopicName> = names.collect();
    let open = names.iter().filter(|name| !name.is_closed()).collect::<BTreeSet<_>>();
    if by_app && open.len() > TopicName::OPEN_MAX {
        let detail = format!("with this key a device has at most {} topics", TopicName::OPEN_MAX);
        fields.faults().push(too_many_topics(TopicName::OPEN_MAX, detail));
    }
    Some(names)
}

/// The fault of a request that would give a device, or the app, more topics than the limit.
pub(super) fn too_many_topics(limit: usize, detail: impl Into<String>) -> ValidationError {
    ValidationError::at("#/topics", InputCode::TooManyTopics, detail).with("limit", limit)
}

/// When the app handed over the token. A publishable key may not state it.
fn registered_at(fields: &mut Fields<'_>, who: Registrar) -> Option<DateTime<Utc>> {
    let text = fields.string("registered_at")?;
    if who == Registrar::App {
        fields.fault("registered_at", InputCode::ForbiddenField, REGISTERED_BY_APP);
        return None;
    }
    let at = DateTime::parse_from_rfc3339(text);
    if at.is_err() {
        let detail = "this must be a time (RFC 3339) with Z or an offset, such as 2026-03-01T12:00:00Z";
        fields.fault("registered_at", InputCode::BadValue, detail);
    }
    at.ok().map(|at| at.to_utc())
}

fn change<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    parse: impl Fn(&str) -> Option<T>,
    fault: impl FnOnce(String) -> ValidationError,
) -> FieldChange<T> {
    match fields.given_string(name) {
        Given::Absent => FieldChange::Keep,
        Given::Null => FieldChange::Clear,
        Given::Value(text) => parse(text).map_or_else(
            || {
                fields.faults().push(fault(fields.pointer(name)));
                FieldChange::Keep
            },
            FieldChange::Set,
        ),
    }
}

#[cfg(test)]
mod tests;
