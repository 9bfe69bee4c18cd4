//! No secret is answered in a problem, logged, in the metrics or in a span (promise 9): the whole stderr of the process, at level `trace`, while it
//! sends, fails, panics and gets odd answers.

use http::Method;
use pushpost_simulator::{Action, Answer as Odd, Entry, Ledger, Provider, Rule};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use pushpost_testkit::collector::{SeenSpan, TestCollector};
use pushpost_testkit::installation::CONFIG;
use pushpost_testkit::processes::TestProcess;
use pushpost_testkit::processes::signal;
use pushpost_testkit::user_tokens::UserTokenSigner;
use pushpost_testkit::wait::WAIT_MAX;

const SEND: &str = "/v1/notifications";
const DEVICES: &str = "/v1/devices";
const USER: &str = "user-of-the-secrets";
const TEXT: &str = "Your-code-is-493817-for-nobody-else";
const POLL: std::time::Duration = std::time::Duration::from_millis(50);

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

/// What is handed to the process, and what it makes for the providers.
struct Secrets {
    apns: String,
    fcm: String,
    jwt: String,
    backend: String,
    app: String,
    guess: String,
}

impl Secrets {
    async fn of(process: &TestProcess) -> Self {
        Self {
            apns: "c0ffee15".repeat(8),
            fcm: format!("fcm:{}", "Secret-Token_".repeat(9)),
            jwt: format!("eyJhbGciOiJub25lIn0.{}.", "c2VjcmV0".repeat(10)),
            backend: process.key("admin").await,
            app: process.key("register").await,
            guess: format!("pushpost_sk_{}", "5ec7e7".repeat(11).split_at(64).0),
        }
    }

    /// What must not come back as a whole; of a misplaced name a part does, so that its place is known.
    fn given(&self) -> [&str; 6] {
        [&self.apns, &self.fcm, TEXT, &self.backend, &self.app, &self.guess]
    }

    /// What must not be logged, each with its name; of longer ones a part, since a line may cut them.
    fn all(&self, process: &TestProcess) -> Vec<(&'static str, String)> {
        let simulator = &process.simulator;
        let mut all = vec![
            ("an APNs token", self.apns[..24].to_owned()),
            ("an FCM token", self.fcm[..24].to_owned()),
            ("a text", TEXT.to_owned()),
            ("a secret key", self.backend[12..40].to_owned()),
            ("a publishable key", self.app[12..40].to_owned()),
            ("an unknown key", self.guess[12..40].to_owned()),
            ("a user token, a provider token or an assertion", "eyJ".to_owned()),
            ("an access token", "ya29.".to_owned()),
            ("a new key that is broken", "bm90LWEta2V5".to_owned()),
        ];
        let keys =
            [("the .p8", simulator.p8_pem()), ("the account's key", simulator.service_account_key_pem())];
        for (name, pem) in keys {
            let lines = pem.lines().filter(|line| !line.starts_with("-----") && line.len() > 16);
            all.extend(lines.map(|line| (name, line.to_owned())));
        }
        all
    }
}

async fn answered(request: RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
    (status, headers + &answer.text().await.unwrap())
}

/// Refusals of every kind. Answers what was answered.
async fn be_refused(process: &TestProcess, secrets: &Secrets) -> String {
    let mut answers = String::new();
    for (method, path, body) in faulty(&secrets.apns, &secrets.fcm, TEXT) {
        let ask = |key: &str, user_token: bool| {
            let request = process.http.request(method.clone(), process.url(&path)).bearer_auth(key);
            let request = request.header("content-type", "application/json").body(body.clone());
            if user_token { request.header("pushpost-user-token", &secrets.jwt) } else { request }
        };
        let keys = [secrets.backend.as_str(), &secrets.app, &secrets.guess, "a-wrong-secret-key"];
        for (key, user_token) in keys.into_iter().map(|key| (key, true)).chain([(keys[0], false)]) {
            let (status, answer) = answered(ask(key, user_token)).await;
            assert!((400..500).contains(&status), "{method} {path}: {status} {answer}");
            answers += &answer;
        }
    }
    answers
}

fn odd(status: u16, body: Value) -> Action {
    Action::Answer(Box::new(Odd { status, body: Some(body), ..Odd::default() }))
}

fn html(status: u16, text: &str) -> Action {
    let (body, content_type) = (Some(json!(text)), Some("text/html".to_owned()));
    Action::Answer(Box::new(Odd { status, body, content_type, ..Odd::default() }))
}

/// Providers that answer oddly, and repeat what they were sent.
fn odd_answers(secrets: &Secrets) -> Vec<Rule> {
    let echo = format!("{} {} {TEXT}", secrets.apns, secrets.fcm);
    let fcm_error = |status: &str| json!({"error": {"code": 400, "status": status, "message": echo, "details": [{"@type": echo}]}});
    vec![
        Rule::provider(Provider::Apns, html(500, &echo)).times(2),
        Rule::provider(Provider::Apns, odd(400, json!({"reason": TEXT, "token": echo}))).times(1),
        Rule::provider(Provider::Apns, odd(400, json!([echo]))).times(1),
        Rule::provider(Provider::Apns, odd(410, json!({"reason": "Unregistered", "timestamp": echo})))
            .times(1),
        Rule::provider(Provider::Fcm, html(502, &echo)).times(2),
        Rule::provider(Provider::Fcm, odd(400, fcm_error(TEXT))).times(1),
        Rule::provider(Provider::Fcm, odd(400, fcm_error("INVALID_ARGUMENT"))).times(1),
        Rule::provider(Provider::Fcm, odd(200, json!({"name": echo}))).times(1),
        Rule::provider(Provider::Oauth, odd(500, json!({"error": echo, "error_description": echo}))).times(1),
    ]
}

async fn put(process: &TestProcess, secrets: &Secrets, platform: &str, token: &str) {
    let body = json!({"platform": platform, "token": token, "user": USER});
    let answer = process.ask(Method::PUT, DEVICES, &secrets.backend, Some(&body)).await;
    assert!(answer.status.is_success(), "{answer:?}");
}

/// Sends to everything of the user, and waits until it is done.
async fn send(process: &TestProcess, secrets: &Secrets) {
    let body =
        json!({"to": {"users": [USER]}, "title": TEXT, "body": TEXT, "data": {"code": TEXT}, "ttl": "1h"});
    let sent = process.ask(Method::POST, SEND, &secrets.backend, Some(&body)).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let path = format!("{SEND}/{}", sent.body["id"].as_str().unwrap());
    let until = Instant::now() + WAIT_MAX;
    loop {
        let status = process.ask(Method::GET, &path, &secrets.backend, None).await;
        if status.body["status"] == "done" {
            return;
        }
        assert!(Instant::now() < until, "not done: {status:?}");
        sleep(POLL).await;
    }
}

/// Faults inside: statements that fail with the row in their message, and a row that makes our own code panic.
async fn fail_inside(process: &mut TestProcess, secrets: &Secrets) {
    let execute = async |sql: &str| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&process.database.pool).await.unwrap();
    };
    execute("alter table devices add constraint odd check (locale <> 'de-AT')").await;
    let body = json!({"platform": "apns", "token": secrets.apns, "user": TEXT, "locale": "de-AT"});
    let answer = process.ask(Method::PUT, DEVICES, &secrets.backend, Some(&body)).await;
    assert_eq!(answer.status, 500, "{answer:?}");
    execute("alter table devices drop constraint odd").await;
    execute(&format!("update devices set token = '{TEXT} is no token' where token = '{}'", secrets.apns))
        .await;
    send(process, secrets).await;
    process.until_logged("panic at src/").await;
}

/// A workload identity takes the service account's place; its subject token is refused, and then is good.
async fn use_workload_identity(process: &TestProcess) {
    let (simulator, ledger) = (&process.simulator, process.simulator.ledger());
    let source = json!({"file": process.path("subject-token")});
    let account = simulator.external_account(&source, Some(&simulator.settings().fcm.client_email));
    process.write("external.json", &account);
    let toml = process.read("pushpost.toml");
    let toml = toml.lines().map(|line| match line.starts_with("service_account_file = ") {
        true => "service_account_file = \"external.json\"\nproject_id = \"shop-1\"\n".to_owned(),
        false => format!("{line}\n"),
    });
    process.write("pushpost.toml", &toml.collect::<String>());
    let refused = |ledger: &Ledger| ledger.count(Provider::Oauth, 400, "invalid_grant") > 0;
    let is_impersonation = |entry: &Entry| entry.path.ends_with(":generateAccessToken");
    let taken = |ledger: &Ledger| ledger.entries().iter().any(is_impersonation);
    process.write("subject-token", "eyJhbGciOiJSUzI1NiJ9.unknown.x");
    signal("-HUP", process.pid()).await;
    assert!(ledger.wait_until(WAIT_MAX, refused).await, "the subject token is shown");
    process.write("subject-token", &simulator.issue_subject_token());
    signal("-HUP", process.pid()).await;
    assert!(ledger.wait_until(WAIT_MAX, taken).await, "the subject token is exchanged");
}

/// Sources that break while the process runs.
async fn break_sources(process: &mut TestProcess) {
    let key = "AuthKey_SIMULATOR0.p8";
    let name = process.read("pushpost.toml");
    let name = name
        .lines()
        .find_map(|line| line.strip_prefix("key_file = "))
        .map_or(key, |name| name.trim_matches('"'));
    process.write(name, "-----BEGIN PRIVATE KEY-----\nbm90LWEta2V5\n-----END PRIVATE KEY-----\n");
    signal("-HUP", process.pid()).await;
    process.until_logged("can't be set up").await;
}

/// No exported span has a secret or the user. There are spans of refusals, of attempts and of failures.
fn assert_spans_are_clean(collector: &TestCollector, process: &TestProcess, secrets: &Secrets) {
    let (spans, posted) = (collector.spans(), collector.posted());
    let is_of_client = |span: &&SeenSpan| span.kind == "CLIENT" && span.name == "POST";
    assert!(spans.iter().filter(is_of_client).count() > 5, "attempts have spans");
    let status = |span: &SeenSpan| span.attributes.get("http.response.status_code").and_then(Value::as_u64);
    let is_refusal = |span: &&SeenSpan| span.kind == "SERVER" && status(span).is_some_and(|code| code >= 400);
    assert!(spans.iter().filter(is_refusal).count() > 50, "refusals have spans");
    let has = |text: &str| posted.windows(text.len()).any(|window| window == text.as_bytes());
    for (name, secret) in secrets.all(process) {
        assert!(!has(&secret), "{name} ({secret}) in a span");
    }
    assert!(!has(USER), "the user in a span");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_key_or_text_is_answered_or_logged() {
    let mut process = TestProcess::create().await;
    process.variable("PUSHPOST_LOG", "trace");
    process.variable("RUST_BACKTRACE", "1");
    let collector = TestCollector::start().await;
    process.variable("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    process.variable("PUSHPOST__TELEMETRY__SAMPLE_RATIO", "1");
    // It fails in every way.
    process.expect_log("");
    for (name, value) in [("RETRY_INITIAL", "20ms"), ("RETRY_THROTTLED", "40ms"), ("RETRY_MAX", "40ms")] {
        process.variable(&format!("PUSHPOST__DELIVERY__{name}"), value);
    }
    let signer = UserTokenSigner::new(&process.database).await;
    process.write(CONFIG, &(process.read(CONFIG) + &signer.settings()));
    process.serve().await;
    let secrets = Secrets::of(&process).await;
    let answers = be_refused(&process, &secrets).await;
    for (platform, token) in [("apns", &secrets.apns), ("fcm", &secrets.fcm)] {
        put(&process, &secrets, platform, token).await;
    }
    send(&process, &secrets).await;
    odd_answers(&secrets).into_iter().for_each(|rule| process.simulator.add_rule(rule));
    process.simulator.revoke_access_tokens();
    for _ in 0..4 {
        send(&process, &secrets).await;
        put(&process, &secrets, "apns", &secrets.apns).await;
    }
    process.simulator.clear_rules();
    fail_inside(&mut process, &secrets).await;
    use_workload_identity(&process).await;
    break_sources(&mut process).await;
    let (_, metrics) = answered(process.http.get(process.url("/metrics"))).await;
    assert!(metrics.contains("pushpost_"), "{metrics}");
    assert!(process.stop().await.success());

    let log = process.log();
    assert!(log.lines().filter(|line| line.contains("\"status\":4")).count() > 50, "refusals are logged");
    for secret in secrets.given() {
        assert!(!answers.contains(secret), "{secret} in an answer: {answers}");
    }
    assert_spans_are_clean(&collector, &process, &secrets);
    for (name, secret) in secrets.all(&process) {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&secret)).take(3).collect();
        assert!(lines.is_empty(), "{name} ({secret}) in the log: {lines:#?}");
        assert!(!metrics.contains(&secret), "{name} ({secret}) in the metrics");
    }
}
