//! Reads `to`: the devices that a notification is for, as far as they can be named without the database.

use super::request::Context;
use crate::api::devices::{self, no_environment, no_kind};
use crate::api::json::{Fields, unknown_choice};
use crate::api::named;
use crate::audience::{AddressedToken, Audience, AudienceSelector};
use crate::domain::{
    App, Condition, InputCode, Kind, LaneKey, PushpostReason, RejectedToken, ValidationError,
};

/// What was read of `to`.
#[derive(Debug)]
pub(super) enum ReadAudience {
    /// It names more than the limit. The rest was not read, because a small body could ask for a great deal of work.
    TooMany,
    /// All of it. Faults are reported.
    Whole(Audience),
}

/// The most bytes of a `ref`.
const REFERENCE_MAX: usize = 128;
/// The members that name devices, of which there must be at least one.
const SELECTOR_MEMBERS: [&str; 6] = ["devices", "users", "tokens", "topics", "condition", "all"];

/// Reads `to`, and reports its faults.
pub(super) fn read(mut to: Fields<'_>, context: Context<'_>) -> ReadAudience {
    let counted = ["devices", "users", "tokens", "topics"].map(|way| to.length(way));
    let excepted = ["devices", "users", "topics"].map(|way| to.length_within("except", way));
    if counted.iter().chain(&excepted).sum::<usize>() > context.targets_max {
        to.into_unread();
        return ReadAudience::TooMany;
    }
    let names_no_way = SELECTOR_MEMBERS.iter().all(|way| to.value(way).is_none());
    let (tokens, rejected_tokens) = tokens(&mut to, context);
    let mut selectors = vec![
        AudienceSelector::Devices(named::devices(&mut to, context.app, context.installation)),
        AudienceSelector::Users(named::users(&mut to)),
        AudienceSelector::Tokens(tokens),
        AudienceSelector::Topics(named::topics(&mut to)),
    ];
    selectors.extend(condition(&mut to).map(AudienceSelector::Condition));
    if to.boolean("all").unwrap_or_default() {
        selectors.push(AudienceSelector::All);
    }
    let mut audience = Audience {
        selectors,
        platforms: named::platforms(&mut to, context.app),
        rejected_tokens,
        ..Audience::default()
    };
    if let Some(mut except) = to.fields("except") {
        audience.except_users = named::users(&mut except);
        let devices = named::devices(&mut except, context.app, context.installation);
        audience.except_devices = devices.into_iter().filter_map(|device| device.id).collect();
        audience.except_topics = named::topics(&mut except);
        except.finish();
    }
    // A misspelt member is reported with the name that was meant; the missing member only follows from that.
    if names_no_way && !to.misspells_one_of(&SELECTOR_MEMBERS) {
        let detail = format!("`to` needs one of {}", SELECTOR_MEMBERS.join(", "));
        to.faults().push(ValidationError::at(to.at(), InputCode::MissingField, detail));
    }
    to.finish();
    ReadAudience::Whole(audience)
}

fn tokens(to: &mut Fields<'_>, context: Context<'_>) -> (Vec<AddressedToken>, Vec<RejectedToken>) {
    let (mut tokens, mut rejected) = (Vec::new(), Vec::new());
    for fields in to.objects("tokens").into_iter().flatten() {
        match token(fields, context) {
            Some(ReadToken::Addressed(token)) => tokens.push(token),
            Some(ReadToken::Rejected(token)) => rejected.push(token),
            None => {}
        }
    }
    (tokens, rejected)
}

enum ReadToken {
    Addressed(AddressedToken),
    Rejected(RejectedToken),
}

/// None: there is a fault, which is reported. With `on_bad_token` as `reject`, a token that no device can have is none.
fn token(mut fields: Fields<'_>, context: Context<'_>) -> Option<ReadToken> {
    let (app, rejects) = (context.app, context.rejects_bad_tokens);
    fields.require("platform");
    fields.require("token");
    let written = fields.string("platform");
    let platform = written.and_then(|text| app.platforms().parse(text));
    let read = devices::parsed_token(&mut fields, "token", platform);
    let reason = match (written, platform, &read) {
        (Some(_), None, _) => Some(PushpostReason::UnsupportedPlatform),
        (_, _, Some(Err(_))) => Some(PushpostReason::BadToken),
        _ => None,
    };
    match (reason.filter(|_| !rejects), &read) {
        (Some(PushpostReason::UnsupportedPlatform), _) => {
            fields.faults().push(named::unsupported_platform(fields.pointer("platform"), app));
        }
        (Some(_), Some(Err(bad))) => fields.fault("token", InputCode::BadToken, bad.to_string()),
        _ => {}
    }
    let token = read.and_then(Result::ok);
    let environments = app.platforms().stated_environments();
    let names: Vec<_> = environments.iter().map(|environment| environment.as_str()).collect();
    let environment = choice(&mut fields, "environment", &names, |name| {
        environments.iter().copied().find(|environment| environment.as_str() == name)
    });
    let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let kind = choice(&mut fields, "kind", &names, Kind::parse);
    let reference = reference(&mut fields);
    if let Some(platform) = platform {
        if environment.is_some_and(|stated| !platform.stated_environments().contains(&stated)) {
            fields.fault("environment", InputCode::BadValue, no_environment(platform));
        }
        if kind.is_some_and(|kind| !platform.facts().kinds.contains(&kind)) {
            fields.fault("kind", InputCode::BadValue, no_kind(platform));
        }
        let in_token = token.as_ref().and_then(|token| app.environment_of(platform, token));
        let default = app.defaults.get(&platform).and_then(|defaults| defaults.environment);
        check_configured(&fields, LaneKey::of(platform, environment.or(in_token).or(default)), app);
    }
    fields.finish();
    if let Some(reason) = reason.filter(|_| rejects) {
        let written_platform = written.and_then(RejectedToken::shown_platform);
        return Some(ReadToken::Rejected(RejectedToken { platform, written_platform, reason, reference }));
    }
    let (platform, token) = (platform?, token?);
    Some(ReadToken::Addressed(AddressedToken { platform, token, environment, kind, reference }))
}

fn check_configured(fields: &Fields<'_>, lane: LaneKey, app: &App) {
    let platform = lane.platform();
    if !app.lane(lane).configured {
        let detail = "the configuration has no credentials for this service";
        let fault = ValidationError::at(fields.pointer("platform"), InputCode::PlatformNotConfigured, detail);
        fields.faults().push(fault.with("platform", platform.as_str()).with("lane", lane.to_string()));
    }
}

/// A `ref` is stored as text, which takes no NUL.
fn reference(fields: &mut Fields<'_>) -> Option<String> {
    let reference = fields.string("ref")?;
    if reference.len() > REFERENCE_MAX || reference.chars().any(char::is_control) {
        let detail = "a ref is at most 128 bytes without control characters";
        let fault = ValidationError::at(fields.pointer("ref"), InputCode::BadValue, detail);
        fields.faults().push(fault.with("limit", REFERENCE_MAX));
        return None;
    }
    Some(reference.to_owned())
}

fn choice<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    names: &[&'static str],
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let text = fields.string(name)?;
    let parsed = parse(text);
    if parsed.is_none() {
        fields.faults().push(unknown_choice(fields.pointer(name), text, names));
    }
    parsed
}

fn condition(to: &mut Fields<'_>) -> Option<Condition> {
    let parsed = Condition::parse(to.string("condition")?);
    if let Err(bad) = &parsed {
        let fault = ValidationError::at(to.pointer("condition"), InputCode::BadCondition, bad.to_string());
        to.faults().push(fault.with("offset", bad.offset).with("expected", bad.expected));
    }
    parsed.ok()
}
