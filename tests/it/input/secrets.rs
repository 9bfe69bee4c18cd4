//! Nothing of what a client must keep to itself comes back in a problem or goes into the log (promise 9).

use std::io;
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::json;
use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;

use super::ask::{Ask, DEVICES, SEND, deaf, key};

/// What was logged, of every level that could be asked for in operation.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

/// While it lives, this thread's log is kept.
pub(super) struct Logging {
    _here: DefaultGuard,
    _second: Dispatch,
}

impl Log {
    /// Until the guard is dropped, on this thread, which is the only one of these tests.
    pub(super) fn start(&self) -> Logging {
        // While there is one subscriber alone, tracing asks the thread that comes first to an event whether anybody
        // listens to it, and keeps the answer for all threads: that may be another test's thread, where nobody does.
        let second = Dispatch::new(tracing_subscriber::registry());
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("info,sqlx=warn,pushpost=trace")
            .with_ansi(false)
            .with_writer(move || log.clone());
        Logging { _here: tracing::subscriber::set_default(subscriber.finish()), _second: second }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Each is in many places where it doesn't belong.
fn faulty(apns: &str, fcm: &str, text: &str) -> Vec<(Method, String, String)> {
    let send = |body: serde_json::Value| (Method::POST, SEND.to_owned(), body.to_string());
    let put = |body: serde_json::Value| (Method::PUT, DEVICES.to_owned(), body.to_string());
    vec![
        send(
            json!({"to": {"tokens": [{"platform": "apns", "token": fcm}, {"platform": "hms", "token": apns}]}, "title": text, "ttl": text}),
        ),
        send(
            json!({"to": {"users": [format!("{text}\u{0}")], "devices": [apns], "condition": format!("{text} &&& {apns}")}, "body": text}),
        ),
        send(json!({"to": {"tokens": {apns: "apns", fcm: "fcm"}}, "title": [text]})),
        send(json!({apns: 1, fcm: 2, "to": {fcm: 1}, "metadata": {"a": [text]}, "data": {"google.x": text}})),
        send(
            json!({"to": {"users": ["u"]}, "title": text, "priority": text, "label": text, "image": text, "collapse_key": format!("{text}\n")}),
        ),
        send(json!({"to": {"users": ["u"]}, "body": text.repeat(200), "data": {"t": apns}})),
        send(
            json!({"to": {"users": ["u"]}, "title": text, "apns": {"headers": {"apns-topic": text, "apns-collapse-id": format!("{apns}\n")}}, "fcm": {"token": fcm, fcm: 1}}),
        ),
        send(json!({"to": {"users": ["u"]}, "title": text, "silent": text, "badge": text, "send_at": text})),
        put(
            json!({"platform": "apns", "token": format!("{apns}x"), "replaces": fcm, "user": format!("{text}\n"), "locale": text, "timezone": text}),
        ),
        put(json!({"platform": text, "token": apns, "kind": fcm, "topics": [text], "registered_at": text})),
        (
            Method::POST,
            SEND.to_owned(),
            format!(r#"{{"title":"{text}","to":{{"tokens":["{apns}" "{fcm}"]}}}}"#),
        ),
        (Method::POST, SEND.to_owned(), format!("{apns} {text}")),
        (
            Method::POST,
            format!("{DEVICES}/unregister"),
            json!({"platform": "apns", "token": fcm}).to_string(),
        ),
        (
            Method::POST,
            format!("{DEVICES}/lookup"),
            json!({"tokens": [{"platform": "apns", "token": fcm}, apns]}).to_string(),
        ),
        (Method::PUT, format!("{SEND}/{apns}"), text.to_owned()),
        (Method::PATCH, format!("{DEVICES}/{apns}"), json!({"token": fcm}).to_string()),
        (Method::POST, format!("/v1/{apns}/{fcm}"), text.to_owned()),
        (
            Method::GET,
            format!("{DEVICES}?{apns}=1&token={fcm}&limit={apns}&cursor={fcm}&status={apns}"),
            String::new(),
        ),
        (Method::GET, format!("{DEVICES}/{fcm}"), String::new()),
    ]
}

#[tokio::test]
async fn no_token_no_key_and_no_text_comes_back_or_is_logged() {
    let log = Log::default();
    let logging = log.start();
    let stage = deaf(&[]).await;
    let (s, p) = (key(&stage, "admin").await, key(&stage, "register").await);
    let (apns, fcm) = ("c0ffee15".repeat(8), format!("fcm:{}", "Secret-Token_".repeat(9)));
    let text = "Your-code-is-493817-for-nobody-else";
    let jwt = format!("eyJhbGciOiJub25lIn0.{}.", "c2VjcmV0".repeat(10));
    let mut answers = String::new();
    for (method, path, body) in faulty(&apns, &fcm, text) {
        for key in [s.as_str(), &p, "nobody's-secret-key"] {
            let ask =
                Ask::json(method.clone(), &path, body.clone()).key(key).header("pushpost-user-token", &jwt);
            let answer = ask.of(&stage).await;
            assert!((400..500).contains(&answer.status.as_u16()), "{method} {path}: {answer:?}");
            answers += &answer.body.to_string();
            answers += &format!("{:?}", answer.headers);
        }
        let answer = Ask::json(method.clone(), &path, body).key(&s).of(&stage).await;
        assert!((400..500).contains(&answer.status.as_u16()), "{method} {path}: {answer:?}");
        answers += &answer.body.to_string();
    }
    stage.stop_undecided().await;
    drop(logging);
    let logged = log.text();
    assert!(logged.lines().filter(|line| line.contains("status=4")).count() > 50, "{logged}");
    for secret in [&apns, &fcm, text, &s, &p, &jwt, "nobody's-secret-key", &s[12..], &p[12..]] {
        assert!(!answers.contains(secret), "{secret} in {answers}");
        assert!(!logged.contains(secret), "{secret} in {logged}");
    }
}
