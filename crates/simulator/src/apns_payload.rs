//! Whether an APNs body is what its push type promises (docs/providers.md#apns-push-types, #apns-payload). Apple says
//! of a mismatch that it "may error, delay or drop"; here it always errors.

use serde_json::{Map, Value};

/// A push type, its topic suffix and its limits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PushType {
    pub(super) name: &'static str,
    pub(super) suffix: &'static str,
    pub(super) max_bytes: usize,
    /// The only priority allowed, where there is one.
    pub(super) priority: Option<u8>,
}

const fn push_type(name: &'static str, suffix: &'static str) -> PushType {
    PushType { name, suffix, max_bytes: 4096, priority: None }
}

const PUSH_TYPES: [PushType; 10] = [
    push_type("alert", ""),
    PushType { priority: Some(5), ..push_type("background", "") },
    push_type("location", ".location-query"),
    PushType { max_bytes: 5120, ..push_type("voip", ".voip") },
    push_type("complication", ".complication"),
    push_type("fileprovider", ".pushkit.fileprovider"),
    push_type("liveactivity", ".push-type.liveactivity"),
    push_type("pushtotalk", ".voip-ptt"),
    push_type("widgets", ".push-type.widgets"),
    push_type("controls", ".push-type.controls"),
];

/// The push type of this name. `mdm` is none here: its topic comes from a certificate, and this server takes
/// provider tokens only.
pub(super) fn find(name: &str) -> Option<&'static PushType> {
    PUSH_TYPES.iter().find(|known| known.name == name)
}

/// All topic suffixes.
pub(super) fn suffixes() -> impl Iterator<Item = &'static str> {
    PUSH_TYPES.iter().map(|known| known.suffix)
}

/// Why a payload is refused: APNs' reason.
pub(super) type Refusal = &'static str;

/// Not a JSON object, or `aps` of the wrong form: the reason is one that Apple documents for broadcasts
/// (docs/providers.md#apns-broadcast-channels); it documents none for device pushes.
const MALFORMED: Refusal = "BadRequestPayload";
/// The payload is of another push type than the header says.
const MISMATCH: Refusal = "InvalidPushType";

/// Checks form, then content against the push type; answers the payload.
pub(super) fn check(body: &[u8], push_type: &PushType) -> Result<Map<String, Value>, Refusal> {
    let payload: Map<String, Value> = serde_json::from_slice(body).map_err(|_| MALFORMED)?;
    let empty = Map::new();
    let aps = match (payload.get("aps"), push_type.name) {
        (Some(Value::Object(aps)), _) => aps,
        (None, "voip" | "fileprovider" | "complication" | "pushtotalk" | "location") => &empty,
        _ => return Err(MALFORMED),
    };
    if !aps.iter().all(|(key, value)| well_typed(key, value)) {
        return Err(MALFORMED);
    }
    if matches_type(aps, push_type.name) { Ok(payload) } else { Err(MISMATCH) }
}

fn well_typed(key: &str, value: &Value) -> bool {
    match key {
        "alert" => value.is_string() || value.as_object().is_some_and(alert_well_typed),
        "sound" => value.is_string() || value.is_object(),
        "badge" => value.as_u64().is_some(),
        "thread-id" | "category" | "target-content-id" | "filter-criteria" | "attributes-type" => {
            value.is_string()
        }
        "content-available" | "mutable-content" | "input-push-token" => value.as_u64() == Some(1),
        "interruption-level" => {
            matches!(value.as_str(), Some("passive" | "active" | "time-sensitive" | "critical"))
        }
        "relevance-score" | "timestamp" | "stale-date" | "dismissal-date" => value.is_number(),
        "event" => matches!(value.as_str(), Some("start" | "update" | "end")),
        "content-state" | "attributes" => value.is_object(),
        "content-changed" => value.as_bool() == Some(true),
        _ => true,
    }
}

fn alert_well_typed(alert: &Map<String, Value>) -> bool {
    alert.iter().all(|(key, value)| match key.as_str() {
        "title" | "body" => value.is_string() || value.is_object(),
        "subtitle" | "launch-image" | "title-loc-key" | "subtitle-loc-key" | "loc-key" => value.is_string(),
        "title-loc-args" | "subtitle-loc-args" | "loc-args" => {
            value.as_array().is_some_and(|args| args.iter().all(Value::is_string))
        }
        _ => true,
    })
}

fn matches_type(aps: &Map<String, Value>, push_type: &str) -> bool {
    let visible = ["alert", "badge", "sound"].iter().any(|key| aps.contains_key(*key));
    match push_type {
        "alert" => visible,
        "background" => aps.contains_key("content-available") && !visible,
        "widgets" | "controls" => aps.contains_key("content-changed"),
        "liveactivity" => {
            let stated = |keys: &[&str]| keys.iter().all(|key| aps.contains_key(*key));
            let event = aps.get("event").and_then(Value::as_str);
            stated(&["timestamp", "event"])
                && (event == Some("end") || stated(&["content-state"]))
                && (event != Some("start") || stated(&["attributes-type", "attributes", "alert"]))
        }
        _ => true,
    }
}
