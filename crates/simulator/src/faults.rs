//! FCM's error bodies, one for each row of docs/providers.md#fcm-errors, #fcm-invalid_argument, so that scripts name a
//! row and not its JSON.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reply::Reply;

/// A row of FCM's error tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FcmFault {
    /// 400, FcmError `INVALID_ARGUMENT`, about the message as a whole.
    InvalidArgument,
    /// 400, FcmError `INVALID_ARGUMENT` with the text about the registration token: the token is bad.
    InvalidToken,
    /// 400 with a BadRequest that names `message.android.ttl`.
    BadField,
    /// 400 with a BadRequest that names `message.token`.
    BadTokenField,
    /// 400 with ApnsError 410 `Unregistered`.
    ApnsUnregistered,
    /// 400 with ApnsError 400 `BadDeviceToken`.
    ApnsBadDeviceToken,
    /// 400 with ApnsError 410 `ExpiredToken`.
    ApnsExpiredToken,
    /// 400 with ApnsError 400 `DeviceTokenNotForTopic`.
    ApnsDeviceTokenNotForTopic,
    /// 400 with ApnsError 413 `PayloadTooLarge`: the message is bad.
    ApnsPayloadTooLarge,
    /// 401 without FcmError: our access token.
    Unauthenticated,
    /// 401 `THIRD_PARTY_AUTH_ERROR` with ApnsError `InvalidProviderToken`: the project's APNs key.
    ThirdPartyAuthError,
    /// The same by its old name, with ApnsError `BadEnvironmentKeyInToken`.
    ApnsAuthError,
    /// Answers 403 `SENDER_ID_MISMATCH`.
    SenderIdMismatch,
    /// 403 without FcmError.
    PermissionDenied,
    /// Answers 404 `UNREGISTERED`.
    Unregistered,
    /// 404 without FcmError.
    NotFound,
    /// 404 with an HTML body.
    NotFoundHtml,
    /// 429 `QUOTA_EXCEEDED`: message, device or topic rate.
    QuotaExceeded,
    /// 429 without FcmError: the whole project's rate.
    ProjectQuota,
    /// 429 without any details.
    ResourceExhausted,
    /// Answers 500 `INTERNAL`.
    Internal,
    /// Answers 503 `UNAVAILABLE`.
    Unavailable,
    /// Answers 500 `UNSPECIFIED_ERROR`.
    UnspecifiedError,
    /// 502 with an HTML body.
    BadGatewayHtml,
    /// 503 with an HTML body.
    UnavailableHtml,
    /// 504 with an HTML body.
    GatewayTimeoutHtml,
}

const INVALID: &str = "Request contains an invalid argument.";
const INVALID_TOKEN: &str = "The registration token is not a valid FCM registration token";
const APNS_DISABLED: &str = "APNs device token is disabled.";
const MISLEADING: &str = "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication credential.";

impl FcmFault {
    /// The response of this row.
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::InvalidArgument => error(400, INVALID, vec![fcm("INVALID_ARGUMENT")]),
            Self::InvalidToken => error(400, INVALID_TOKEN, vec![fcm("INVALID_ARGUMENT")]),
            Self::BadField => {
                bad_request(&[("message.android.ttl".into(), "Illegal duration format".into())])
            }
            Self::BadTokenField => {
                bad_request(&[("message.token".into(), "Invalid registration token".into())])
            }
            Self::ApnsUnregistered => apns(410, "Unregistered", APNS_DISABLED),
            Self::ApnsBadDeviceToken => apns(400, "BadDeviceToken", INVALID),
            Self::ApnsExpiredToken => apns(410, "ExpiredToken", APNS_DISABLED),
            Self::ApnsDeviceTokenNotForTopic => apns(400, "DeviceTokenNotForTopic", INVALID),
            Self::ApnsPayloadTooLarge => apns(413, "PayloadTooLarge", INVALID),
            Self::Unauthenticated => error(401, MISLEADING, vec![]),
            Self::ThirdPartyAuthError => error(
                401,
                MISLEADING,
                vec![fcm("THIRD_PARTY_AUTH_ERROR"), apns_error(403, "InvalidProviderToken")],
            ),
            Self::ApnsAuthError => error(
                401,
                "Auth error from APNS",
                vec![fcm("APNS_AUTH_ERROR"), apns_error(403, "BadEnvironmentKeyInToken")],
            ),
            Self::SenderIdMismatch => error(403, "SenderId mismatch", vec![fcm("SENDER_ID_MISMATCH")]),
            Self::PermissionDenied => {
                error(403, "Permission 'cloudmessaging.messages.create' denied on resource", vec![])
            }
            Self::Unregistered => error(404, "Requested entity was not found.", vec![fcm("UNREGISTERED")]),
            Self::NotFound => error(404, "Requested entity was not found.", vec![]),
            Self::NotFoundHtml => html(404, "NOT_FOUND"),
            Self::QuotaExceeded => {
                error(429, "Message rate exceeded", vec![fcm("QUOTA_EXCEEDED"), quota_failure()])
            }
            Self::ProjectQuota => error(429, "Quota exceeded for quota metric 'Sends'", vec![rate_limit()]),
            Self::ResourceExhausted => error(429, "Resource has been exhausted (e.g. check quota).", vec![]),
            Self::Internal => error(500, "Internal error encountered.", vec![fcm("INTERNAL")]),
            Self::Unavailable => {
                error(503, "The service is currently unavailable.", vec![fcm("UNAVAILABLE")])
            }
            Self::UnspecifiedError => error(500, "Unknown error.", vec![fcm("UNSPECIFIED_ERROR")]),
            Self::BadGatewayHtml => html(502, "BAD_GATEWAY"),
            Self::UnavailableHtml => html(503, "UNAVAILABLE"),
            Self::GatewayTimeoutHtml => html(504, "GATEWAY_TIMEOUT"),
        }
    }
}

/// A 400 that names wrong fields (docs/providers.md#fcm-responses, #fcm-invalid_argument).
pub(super) fn bad_request(violations: &[(String, String)]) -> Reply {
    let listed: Vec<Value> = violations
        .iter()
        .map(|(field, description)| json!({ "field": field, "description": description }))
        .collect();
    let details = json!({ "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": listed });
    let first = violations
        .first()
        .map_or(INVALID.to_owned(), |(field, why)| format!("Invalid value at '{field}': {why}"));
    error(400, &first, vec![details])
}

/// An error of a scripted status and `errorCode`; without the latter it has no FcmError.
pub(super) fn scripted(status: StatusCode, code: Option<&str>, message: Option<&str>) -> Reply {
    let details = code.map(fcm).into_iter().collect();
    error(status.as_u16(), message.unwrap_or("scripted"), details)
}

/// An error of Google's that has no details.
pub(super) fn plain(status: u16, message: &str) -> Reply {
    error(status, message, Vec::new())
}

/// The google.rpc.Status body around these details; its reason is FcmError's code, else the canonical status.
fn error(status: u16, message: &str, details: Vec<Value>) -> Reply {
    let canonical = canonical(status);
    let code = details.iter().find_map(|detail| detail.get("errorCode")?.as_str());
    let reason = code.unwrap_or(canonical).to_owned();
    let mut body = json!({ "error": { "code": status, "message": message, "status": canonical } });
    if !details.is_empty() {
        body["error"]["details"] = details.into();
    }
    Reply::json(StatusCode::from_u16(status).expect("a status of the table"), reason, &body)
}

fn html(status: u16, reason: &'static str) -> Reply {
    Reply::html(StatusCode::from_u16(status).expect("a status of the table"), reason)
}

fn apns(status: u16, reason: &str, message: &str) -> Reply {
    error(400, message, vec![fcm("INVALID_ARGUMENT"), apns_error(status, reason)])
}

fn fcm(code: &str) -> Value {
    json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code })
}

fn apns_error(status: u16, reason: &str) -> Value {
    json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.ApnsError", "statusCode": status, "reason": reason })
}

fn quota_failure() -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{ "subject": "device", "description": "Message rate exceeded" }],
    })
}

fn rate_limit() -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "RATE_LIMIT_EXCEEDED",
        "domain": "googleapis.com",
        "metadata": { "quota_limit": "SendsPerMinutePerProject", "service": "fcm.googleapis.com" },
    })
}

fn canonical(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        405 => "METHOD_NOT_ALLOWED",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "UNKNOWN",
    }
}
