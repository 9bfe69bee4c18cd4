//! The publishable key in the wrong hands: what it is refused, and that no token, user or key comes back or is logged.

use http::Method;
use pushpost_simulator::Ledger;
use pushpost_testkit::answer::Answer;
use pushpost_testkit::installation::CONFIG;
use pushpost_testkit::json::{assert_has, assert_problem, text};
use pushpost_testkit::processes::{TestProcess, command, program};
use pushpost_testkit::user_tokens::{HEADER, UserTokenSigner};
use pushpost_testkit::wait::WAIT_MAX;
use serde_json::{Value, json};

const SEND: &str = "/v1/notifications";
const DEVICES: &str = "/v1/devices";

/// A process, with everything that it has answered to the publishable key.
struct Thief<'a> {
    process: &'a TestProcess,
    key: String,
    answers: String,
}

impl Thief<'_> {
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        user_token: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        let mut request =
            self.process.http.request(method.clone(), self.process.url(path)).bearer_auth(&self.key);
        if let Some(token) = user_token {
            request = request.header(HEADER, token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = Answer::read(&method, request.send().await.unwrap()).await.unwrap();
        self.answers += &format!("{answer:?}\n");
        answer
    }

    async fn put(&mut self, token: &str, more: Value) -> Answer {
        self.ask(Method::PUT, DEVICES, None, Some(apns(token, more))).await
    }
}

fn apns(token: &str, more: Value) -> Value {
    let mut body = json!({"platform": "apns", "token": token});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Sends to the user of the stolen device; answers once the provider has taken it.
async fn send_to_user(process: &TestProcess, backend: &str, count: u64) {
    let body = json!({"to": {"users": ["user-seven"]}, "title": "Hi"});
    let sent = process.ask(Method::POST, SEND, backend, Some(&body)).await;
    assert_eq!((sent.status.as_u16(), &sent.body["targets"]), (202, &json!(1)), "{sent:?}");
    let came = |ledger: &Ledger| ledger.accepted_count() == count;
    assert!(process.simulator.ledger().wait_until(WAIT_MAX, came).await, "{count} are accepted");
}

/// E8 up to the user tokens: binding, closed topics, `replaces`, reading.
async fn reach_for_a_user(thief: &mut Thief<'_>, backend: &str, victim: &str, own: &str) -> String {
    let named = thief.put(own, json!({"user": "user-seven"})).await;
    assert_problem(
        &named,
        403,
        "forbidden_field",
        &json!([{"pointer": "#/user", "code": "forbidden_field"}]),
    );
    let closed = thief.put(own, json!({"topics": ["team:42"]})).await;
    assert_problem(&closed, 403, "topic_closed", &json!([{"pointer": "#/topics/0", "code": "topic_closed"}]));
    let timed = thief.put(own, json!({"registered_at": "2026-01-01T00:00:00Z"})).await;
    assert_problem(&timed, 403, "forbidden_field", &json!([{"pointer": "#/registered_at"}]));
    let looked_up = json!({"tokens": [apns(own, json!({}))]});
    let found = thief.process.ask(Method::POST, "/v1/devices/lookup", backend, Some(&looked_up)).await;
    assert_eq!(found.body, json!({"items": [null]}), "the device isn't created");

    let claim = thief.put(own, json!({"replaces": victim})).await;
    assert_eq!(claim.status, 201, "{claim:?}");
    assert_has(&claim.body, &json!({"bound": false, "topics": []}));
    send_to_user(thief.process, backend, 1).await;
    let known = thief.put(victim, json!({})).await;
    assert_eq!(known.status, 200, "{known:?}");
    assert_has(&known.body, &json!({"bound": true, "topics": ["news"], "status": "active"}));
    assert!(known.body.get("token").is_none() && known.body.get("user").is_none());
    for (method, path, body) in [
        (Method::GET, "/v1/devices?user=user-seven", None),
        (Method::GET, "/v1/topics", None),
        (Method::GET, SEND, None),
        (Method::POST, SEND, Some(json!({"to": {"users": ["user-seven"]}, "title": "A"}))),
        (Method::POST, "/v1/devices/lookup", Some(looked_up)),
    ] {
        let refused = thief.ask(method, path, None, body).await;
        assert_problem(&refused, 403, "missing_scope", &json!([]));
    }
    let id = text(&known.body["id"]);
    let read = thief.ask(Method::GET, &format!("{DEVICES}/{id}"), None, None).await;
    assert_problem(&read, 403, "missing_scope", &json!([]));
    id
}

/// E8's user tokens. Answers all of them.
async fn forge_tokens(thief: &mut Thief<'_>, signer: &UserTokenSigner, own: &str) -> Vec<String> {
    let signed = |changes: Value| signer.sign(&signer.claims("user-seven", &changes));
    let forged = vec![
        ("algorithm", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c2VyLXNldmVuIn0.".to_owned()),
        ("algorithm", signer.sign_with_public_pem(&signer.claims("user-seven", &json!({})))),
        ("audience", signed(json!({"aud": "pushpost:other"}))),
        ("malformed", signed(json!({"exp": null}))),
        ("too_long", signed(json!({"exp": signer.after(48 * 3600)}))),
        ("expired", signed(json!({"exp": signer.after(-3600)}))),
    ];
    for (reason, token) in &forged {
        let answer = thief.ask(Method::PUT, DEVICES, Some(token), Some(apns(own, json!({})))).await;
        assert_problem(&answer, 401, "user_token_invalid", &json!([]));
        assert_eq!(answer.body["reason"], *reason);
    }
    forged.into_iter().map(|(_, token)| token).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e8_the_publishable_key_in_the_wrong_hands() {
    let (victim, own) = ("bbc0ffee".repeat(8), "eefacade".repeat(8));
    let mut process = TestProcess::create().await;
    let signer = UserTokenSigner::new(&process.database).await;
    process.write(CONFIG, &(process.read(CONFIG) + &signer.settings() + "\n[apps.other]\n"));
    process.variable("PUSHPOST_LOG", "trace");
    process.serve().await;
    let (backend, stranger) =
        (process.key("send,read,devices").await, process.key_of("other", "devices").await);
    let body = apns(&victim, json!({"user": "user-seven", "topics": ["news", "team:42"]}));
    assert_eq!(process.ask(Method::PUT, DEVICES, &backend, Some(&body)).await.status, 201);

    let key = process.key("register").await;
    let mut thief = Thief { process: &process, key: key.clone(), answers: String::new() };
    let id = reach_for_a_user(&mut thief, &backend, &victim, &own).await;
    let mut tokens = forge_tokens(&mut thief, &signer, &own).await;
    // A right token of another user claims nothing of this one.
    tokens.push(signer.token("user-eight"));
    let claim = apns(&own, json!({"replaces": victim}));
    let answer = thief.ask(Method::PUT, DEVICES, tokens.last().map(String::as_str), Some(claim)).await;
    assert_has(&answer.body, &json!({"bound": true, "topics": []}));
    send_to_user(&process, &backend, 2).await;
    let random = apns(&format!("{:064x}", rand::random::<u128>()), json!({}));
    let gone = thief.ask(Method::POST, "/v1/devices/unregister", None, Some(random)).await;
    assert_eq!(gone.status, 204, "{gone:?}");
    let answers = std::mem::take(&mut thief.answers);

    let mut missing = Vec::new();
    for path in [format!("{DEVICES}/{id}"), format!("{DEVICES}/dev_doesnotexist")] {
        let mut answer = process.ask(Method::GET, &path, &stranger, None).await;
        assert_problem(&answer, 404, "not_found", &json!([]));
        answer.body["request_id"].take();
        missing.push(answer.body);
    }
    assert_eq!(missing[0], missing[1]);
    let received: Vec<_> =
        process.simulator.ledger().entries().into_iter().filter_map(|entry| entry.token).collect();
    assert_eq!(received, [victim.as_str(), &victim], "what is for the user reaches the user's device only");

    let scopes = ["keys", "create", "--app", "shop", "--scope", "register,send"];
    let database = process.database.url().to_owned();
    let refused =
        command(program()).args(scopes).env("PUSHPOST__DATABASE__URL", database).status().await.unwrap();
    assert_eq!(refused.code(), Some(64));
    let metrics = process.http.get(process.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("pushpost_http_refused_total{code=\"user_token_invalid\"} 6\n"), "{metrics}");
    process.expect_log("app has no provider");
    assert!(process.stop().await.success());
    let log = process.log();
    assert!(
        log.contains("user_token_invalid") || log.matches("\"status\":401").count() == 6,
        "refusals are logged"
    );
    let signatures =
        tokens.iter().filter_map(|token| token.rsplit('.').next()).filter(|part| !part.is_empty());
    let secrets = [victim.as_str(), &own, "user-seven", "user-eight", "eyJ", &key[12..], &backend[12..]];
    for secret in secrets.into_iter().chain(signatures) {
        assert!(!answers.contains(secret), "{secret} in an answer");
        assert!(!metrics.contains(secret), "{secret} in /metrics");
        assert!(!log.contains(secret), "{secret} in the log");
    }
}
