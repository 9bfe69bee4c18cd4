//! Reads the bodies of requests about webhooks, and reports all faults.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::api::json::{self, Fields, unknown_choice};
use crate::domain::{EventTypes, InputCode, ValidationError, WebhookName, nearest, parse_duration};
use crate::events::DeviceDetail;
use crate::events::webhooks::{BATCH_EVENTS_MAX, WebhookTypes, WebhookUrl};

/// How long old secrets sign on, if a request does not say.
const KEEP_OLD: Duration = Duration::from_secs(86_400);
/// How long they may at most.
const KEEP_OLD_MAX: Duration = Duration::from_secs(30 * 86_400);

/// A webhook to make.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct RequestedWebhook {
    pub(super) name: WebhookName,
    pub(super) url: WebhookUrl,
    pub(super) types: WebhookTypes,
    pub(super) devices: DeviceDetail,
    pub(super) batch_max: u16,
}

/// What changes of a webhook.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct RequestedChanges {
    pub(super) url: Option<WebhookUrl>,
    pub(super) types: Option<WebhookTypes>,
    pub(super) devices: Option<DeviceDetail>,
    pub(super) batch_max: Option<u16>,
}

/// Where a replay begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ReplayStart {
    /// With the event of this id.
    From(String),
    /// With what was logged at this time or later.
    Since(DateTime<Utc>),
}

/// A new secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RequestedRotation {
    /// How long old secrets sign on.
    pub(super) keep_old: Duration,
    /// The oldest one ends if there are as many as there may be.
    pub(super) drop_oldest: bool,
}

pub(super) fn create(body: Vec<u8>) -> Result<RequestedWebhook, Vec<ValidationError>> {
    json::read(body, |mut fields| {
        fields.require("name");
        let name = parsed(&mut fields, "name", WebhookName::parse);
        fields.require("url");
        let url = parsed(&mut fields, "url", WebhookUrl::parse);
        let types = types(&mut fields).unwrap_or_default();
        let devices = devices(&mut fields).unwrap_or_default();
        let batch_max = batch_max(&mut fields).unwrap_or(BATCH_EVENTS_MAX);
        fields.finish();
        Some(RequestedWebhook { name: name?, url: url?, types, devices, batch_max })
    })
}

pub(super) fn change(body: Vec<u8>) -> Result<RequestedChanges, Vec<ValidationError>> {
    json::read(body, |mut fields| {
        let url = parsed(&mut fields, "url", WebhookUrl::parse);
        let types = types(&mut fields);
        let devices = devices(&mut fields);
        let batch_max = batch_max(&mut fields);
        fields.finish();
        Some(RequestedChanges { url, types, devices, batch_max })
    })
}

pub(super) fn replay(body: Vec<u8>) -> Result<ReplayStart, Vec<ValidationError>> {
    json::read(body, |mut fields| {
        let from = fields.string("from").map(str::to_owned);
        let since = fields.string("since");
        let time = since.and_then(|text| match DateTime::parse_from_rfc3339(text) {
            Ok(time) => Some(time.to_utc()),
            Err(_) => {
                let detail = "this is no time such as 2026-12-01T09:00:00Z";
                fields.fault("since", InputCode::BadValue, detail);
                None
            }
        });
        if from.is_some() == since.is_some() && !fields.misspells_one_of(&["from", "since"]) {
            let code = if from.is_some() { InputCode::BadValue } else { InputCode::MissingField };
            let detail = "the request needs one of from and since";
            fields.faults().push(ValidationError::at(fields.at(), code, detail));
        }
        fields.finish();
        from.map(ReplayStart::From).or(time.map(ReplayStart::Since))
    })
}

pub(super) fn rotate(body: Vec<u8>) -> Result<RequestedRotation, Vec<ValidationError>> {
    json::read(body, |mut fields| {
        let keep_old = parsed(&mut fields, "keep_old", |text| match parse_duration(text) {
            Ok(duration) if duration <= KEEP_OLD_MAX => Ok(duration),
            Ok(_) => Err("this must be at most 30d".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        let drop_oldest = fields.boolean("drop_oldest").unwrap_or(false);
        fields.finish();
        Some(RequestedRotation { keep_old: keep_old.unwrap_or(KEEP_OLD), drop_oldest })
    })
}

fn parsed<T, E: std::fmt::Display>(
    fields: &mut Fields<'_>,
    name: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let text = fields.string(name)?;
    match parse(text) {
        Ok(value) => Some(value),
        Err(error) => {
            let detail = error.to_string();
            let detail =
                detail.strip_prefix("must ").map_or(detail.clone(), |rest| format!("this must {rest}"));
            fields.fault(name, InputCode::BadValue, detail);
            None
        }
    }
}

fn types(fields: &mut Fields<'_>) -> Option<WebhookTypes> {
    let given = fields.strings("types")?;
    if fields.length("types") == 0 {
        fields.fault("types", InputCode::BadValue, "this names no type, so nothing would be sent");
    }
    let mut patterns = Vec::new();
    for (at, text) in given {
        if EventTypes::parse(text).is_some() {
            patterns.push(text.to_owned());
            continue;
        }
        let fault =
            ValidationError::at(at, InputCode::BadValue, "this is no type of events and no pattern of types");
        let known = EventTypes::patterns();
        let meant = nearest(text, known.iter().map(String::as_str)).map(str::to_owned);
        let fault = match meant {
            Some(meant) => fault.with("suggestion", meant),
            None => fault,
        };
        fields.faults().push(fault.with("supported", known));
    }
    WebhookTypes::parse(patterns).ok()
}

fn devices(fields: &mut Fields<'_>) -> Option<DeviceDetail> {
    let text = fields.string("devices")?;
    let found = DeviceDetail::ALL.iter().copied().find(|known| known.as_str() == text);
    if found.is_none() {
        let names: Vec<_> = DeviceDetail::ALL.iter().map(|known| known.as_str()).collect();
        fields.faults().push(unknown_choice(fields.pointer("devices"), text, &names));
    }
    found
}

fn batch_max(fields: &mut Fields<'_>) -> Option<u16> {
    let number = fields.integer("batch_max", 1..=BATCH_EVENTS_MAX.into())?;
    u16::try_from(number).ok()
}
