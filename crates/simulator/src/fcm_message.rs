//! Whether a body is a message that FCM takes (docs/providers.md#fcm-message, #fcm-android_v2, #fcm-responses), and the
//! token that it goes to.
//!
//! A broadcast's bodies differ in their tokens only. So the last one that passed is remembered without its token, and
//! one that is equal but for that is not parsed again.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::faults::bad_request;
use super::fcm_schema::{self, Violation, member};
use super::reply::Reply;

const MAX_MESSAGE: usize = 4096;
const MAX_TOPIC_MESSAGE: usize = 2048;
const MAX_APNS_PAYLOAD: usize = 4096;
const MAX_TOKEN: usize = 4096;
const MAX_TOPIC: usize = 900;
const TARGETS: [&str; 4] = ["token", "fid", "topic", "condition"];
/// How a body begins that can be compared without its token.
const BEGINNING: &[u8] = br#"{"message":{"token":""#;

/// What a body says.
pub(super) struct Message {
    /// The device token (or installation id) that a script and the ledger go by.
    pub(super) token: Option<String>,
    /// What is wrong with it, or what it asks for.
    pub(super) verdict: Result<Taken, Reply>,
}

/// A message that FCM takes.
#[derive(Clone)]
pub(super) struct Taken {
    /// It is only to be checked.
    pub(super) dry: bool,
    /// `data.pushpost`: the notification's id.
    pub(super) notification: Option<Arc<str>>,
}

/// Reads the bodies of one connection.
#[derive(Default)]
pub(super) struct Reader {
    /// What followed the token of the last one that passed, from its quotation mark on.
    passed: Option<(Bytes, Taken)>,
}

impl Reader {
    /// Reads and checks a body.
    pub(super) fn read(&mut self, body: &Bytes) -> Message {
        let split = split(body);
        if let Some((token, rest)) = &split
            && let Some((passed, taken)) = self.passed.as_ref().filter(|(passed, _)| passed == rest)
        {
            debug_assert_eq!(passed.len() + token.len() + BEGINNING.len(), body.len());
            return Message { token: Some((*token).to_owned()), verdict: Ok(taken.clone()) };
        }
        let mut request = match parse(body) {
            Ok(request) => request,
            Err(reply) => return Message { token: None, verdict: Err(reply) },
        };
        let verdict = check(&request);
        let token = target(&mut request);
        if let (Ok(taken), Some((found, rest))) = (&verdict, split)
            && token.as_deref() == Some(found)
            && is_plain(&rest)
        {
            self.passed = Some((rest, taken.clone()));
        }
        Message { token, verdict }
    }
}

/// The token and what follows it, where the token needs no unescaping and is one.
fn split(body: &Bytes) -> Option<(&str, Bytes)> {
    let text = body.strip_prefix(BEGINNING)?;
    let end = text.iter().position(|byte| *byte == b'"')?;
    let token = std::str::from_utf8(&text[..end]).ok()?;
    (is_token(token) && !token.contains('\\')).then(|| (token, body.slice(BEGINNING.len() + end..)))
}

/// Nothing in it can be another token, in whatever spelling.
fn is_plain(rest: &[u8]) -> bool {
    const TOKEN: &[u8] = br#""token""#;
    !rest.contains(&b'\\') && !rest.windows(TOKEN.len()).any(|part| part == TOKEN)
}

fn parse(body: &[u8]) -> Result<Map<String, Value>, Reply> {
    serde_json::from_slice(body).map_err(|error| {
        bad_request(&[(
            String::new(),
            format!("Invalid JSON payload received at column {}.", error.column()),
        )])
    })
}

fn check(request: &Map<String, Value>) -> Result<Taken, Reply> {
    let mut violations = fcm_schema::check(request);
    if violations.is_empty() {
        violations = check_message(request);
    }
    if !violations.is_empty() {
        return Err(bad_request(&violations));
    }
    let message = member(request, "message").and_then(Value::as_object);
    let data = message.and_then(|message| member(message, "data"));
    let notification = data.and_then(|data| data.get("pushpost")).and_then(Value::as_str);
    let dry = member(request, "validate_only") == Some(&Value::Bool(true));
    Ok(Taken { dry, notification: notification.map(Arc::from) })
}

fn target(request: &mut Map<String, Value>) -> Option<String> {
    let message = request.get_mut("message")?.as_object_mut()?;
    match message.remove("token").or_else(|| message.remove("fid"))? {
        Value::String(token) => Some(token),
        _ => None,
    }
}

/// What the tables cannot say: exclusive fields, values within strings, sizes. All fields have their types.
fn check_message(request: &Map<String, Value>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut fault = |place: &str, text: &str| found.push((place.to_owned(), text.to_owned()));
    let Some(message) = member(request, "message").and_then(Value::as_object) else {
        fault("message", "Message is not set.");
        return found;
    };
    let text = |name: &str| member(message, name).and_then(Value::as_str);
    let targets: Vec<&str> = TARGETS.into_iter().filter(|name| text(name).is_some()).collect();
    if targets.len() != 1 {
        fault("message", "Exactly one of token, fid, topic or condition is required.");
    }
    if text("token").is_some_and(|token| !is_token(token)) {
        fault("message.token", "Invalid registration token");
    }
    if text("topic").is_some_and(|topic| !is_topic(topic)) {
        fault("message.topic", "Invalid topic name");
    }
    if text("condition").is_some_and(|condition| condition.matches(" in topics").count() > 5) {
        fault("message.condition", "At most 5 topics");
    }
    if member(message, "android").is_some() && member(message, "android_v2").is_some() {
        fault("message.android_v2", "Only one of android and android_v2 may be set.");
    }
    let apns = member(message, "apns").and_then(Value::as_object);
    let payload = apns.and_then(|apns| member(apns, "payload"));
    if payload.is_some_and(|payload| payload.to_string().len() > MAX_APNS_PAYLOAD) {
        fault("message.apns.payload", "APNs payload is too big");
    }
    if apns.is_some_and(|apns| member(apns, "live_activity_token").is_some()) && text("token").is_none() {
        fault("message.apns.live_activity_token", "A registration token is required with it.");
    }
    if apns.is_some_and(|apns| is_urgent_data(message, apns)) {
        fault("message.apns.headers", "Data-only messages to Apple devices need apns-priority 5.");
    }
    let webpush = member(message, "webpush").and_then(Value::as_object);
    let options = webpush.and_then(|webpush| member(webpush, "fcm_options")).and_then(Value::as_object);
    let link = options.and_then(|options| member(options, "link")).and_then(Value::as_str);
    if link.is_some_and(|link| !link.starts_with("https://")) {
        fault("message.webpush.fcm_options.link", "The link must be an https URL.");
    }
    let most =
        if text("topic").is_some() || text("condition").is_some() { MAX_TOPIC_MESSAGE } else { MAX_MESSAGE };
    if size(message) > most {
        fault("message", "Message is too big");
    }
    found
}

/// Without anything to see or hear an Apple device takes priority 5 only (docs/providers.md#fcm-message). Push types
/// that show nothing by their nature have rules of their own.
fn is_urgent_data(message: &Map<String, Value>, apns: &Map<String, Value>) -> bool {
    let header = |name: &str| member(apns, "headers")?.get(name)?.as_str();
    let ordinary = matches!(header("apns-push-type"), None | Some("alert" | "background"));
    let aps = member(apns, "payload").and_then(|payload| payload.get("aps"));
    let visible = |name: &str| aps.is_some_and(|aps| aps.get(name).is_some());
    let data_only =
        member(message, "notification").is_none() && !["alert", "badge", "sound"].into_iter().any(visible);
    data_only && ordinary && header("apns-priority").is_some_and(|priority| priority != "5")
}

fn is_token(token: &str) -> bool {
    (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_topic(topic: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
    (1..=MAX_TOPIC).contains(&topic.len()) && topic.bytes().all(allowed)
}

/// The compact JSON of the message without its target and the parts for Apple devices and browsers, of which the first
/// has a limit of its own.
fn size(message: &Map<String, Value>) -> usize {
    let apart = |key: &str| matches!(key, "apns" | "webpush") || TARGETS.contains(&key);
    let counted = message.iter().filter(|(key, _)| !apart(key));
    let members = counted.map(|(key, value)| key.len() + 3 + value.to_string().len() + 1).sum::<usize>();
    members.saturating_sub(1) + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: &mut Reader, body: &str) -> (Option<String>, Option<String>) {
        let message = reader.read(&Bytes::from(body.to_owned()));
        let notification = message.verdict.ok().map(|taken| taken.notification.as_deref().map(str::to_owned));
        (message.token, notification.map(Option::unwrap_or_default))
    }

    fn body(token: &str, rest: &str) -> String {
        format!(r#"{{"message":{{"token":"{token}","data":{{"pushpost":"ntf_1"}}{rest}}}}}"#)
    }

    /// What is wrong with a message that has these members besides its token.
    fn refused(members: Value) -> Vec<String> {
        let mut message = serde_json::json!({"token": "t"});
        message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let request = serde_json::json!({ "message": message });
        check_message(request.as_object().unwrap()).into_iter().map(|(place, _)| place).collect()
    }

    #[test]
    fn data_only_to_apple_devices_has_priority_5() {
        use serde_json::json;
        let headers = |push_type: &str, priority: &str| json!({"headers": {"apns-push-type": push_type, "apns-priority": priority}});
        for (members, fine) in [
            (json!({"apns": headers("alert", "10")}), false),
            (json!({"apns": headers("background", "1")}), false),
            (json!({"apns": headers("background", "5")}), true),
            (json!({"apns": headers("alert", "10"), "notification": {"title": "a"}}), true),
            (json!({"apns": headers("liveactivity", "10")}), true),
            (json!({"apns": {"headers": {"apns-priority": "10"}, "payload": {"aps": {"badge": 0}}}}), true),
            (
                json!({"apns": {"headers": {"apns-priority": "10"}, "payload": {"aps": {"content-available": 1}}}}),
                false,
            ),
            (json!({"data": {"a": "b"}}), true),
        ] {
            assert_eq!(refused(members.clone()).is_empty(), fine, "{members}");
        }
    }

    #[test]
    fn a_browser_s_link_is_https_and_its_part_has_no_limit() {
        use serde_json::json;
        let link = |link: &str| refused(json!({"webpush": {"fcmOptions": {"link": link}}}));
        assert_eq!(link("https://example.com/"), Vec::<String>::new());
        assert_eq!(link("http://example.com/"), ["message.webpush.fcm_options.link"]);
        let large = json!({"webpush": {"notification": {"icon": "x".repeat(5_000)}}});
        assert_eq!(refused(large), Vec::<String>::new());
    }

    /// What is remembered must change no verdict: each body is read by a fresh reader too.
    #[test]
    fn what_is_remembered_changes_no_verdict() {
        let bodies = [
            body("a", ""),
            body("b", ""),
            body("", ""),
            body("with space", ""),
            body(&"t".repeat(4097), ""),
            body(r"esc\u0061ped", ""),
            body("c", r#","token":"x""#),
            body("x", r#","token":"x""#),
            body("d", r#","token":"x""#),
            body("e", r#","\u0074oken":"x""#),
            body("f", r#","fid":"x""#),
            body("g", r#","titel":"x""#),
            body("h", r#"},"validate_only":true,"message":{"token":"other""#),
            body("i", ""),
        ];
        let mut reader = Reader::default();
        for text in &bodies {
            assert_eq!(read(&mut reader, text), read(&mut Reader::default(), text), "{text}");
        }
        assert_eq!(read(&mut reader, &body("j", "")), (Some("j".to_owned()), Some("ntf_1".to_owned())));
        assert_eq!(read(&mut reader, &body("bad token", "")).1, None);
    }
}
