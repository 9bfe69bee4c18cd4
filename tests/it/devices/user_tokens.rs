//! User tokens with publishable keys: what they open, and what they do not.

use http::{HeaderMap, HeaderValue, Method};
use pushpost_testkit::answer::Answer;
use pushpost_testkit::api::{ApiClient, TestApi};
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::json::{assert_has, assert_problem};
use pushpost_testkit::user_tokens::{HEADER, UserTokenSigner};
use serde_json::{Value, json};

const PUT: &str = "/v1/devices";

/// The API with the key of this signer for `shop`; the app `other` has none.
async fn start() -> (TestApi, UserTokenSigner) {
    start_with(100_000).await
}

async fn start_with(topics_max: u32) -> (TestApi, UserTokenSigner) {
    let signer = UserTokenSigner::new(&TestDatabase::create().await).await;
    let service = TestApi::start_with(|shop| {
        shop.user_tokens = Some(signer.verifier());
        shop.topics_max = topics_max;
    });
    (service.await, signer)
}

fn fcm(token: &str, more: Value) -> Value {
    let mut body = json!({"platform": "fcm", "token": token});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn ask_with(
    client: &ApiClient<'_>,
    method: Method,
    path: &str,
    tokens: &[&str],
    body: Value,
) -> Answer {
    let mut headers = HeaderMap::new();
    for token in tokens {
        headers.append(HEADER, HeaderValue::from_str(token).unwrap());
    }
    client.json_with(method, path, headers, body).await
}

async fn put(client: &ApiClient<'_>, user_token: &str, body: Value) -> Answer {
    ask_with(client, Method::PUT, PUT, &[user_token], body).await
}

async fn unregister(client: &ApiClient<'_>, user_token: &str) -> Answer {
    let body = fcm("f1", json!({}));
    ask_with(client, Method::POST, "/v1/devices/unregister", &[user_token], body).await
}

/// As [`put`], for an answer that is no refusal.
async fn registered(client: &ApiClient<'_>, user_token: &str, body: Value) -> Value {
    let answer = put(client, user_token, body).await;
    assert!(answer.status.is_success(), "{answer:?}");
    answer.body
}

/// What the backend sees of a device.
async fn device(backend: &ApiClient<'_>, token: &str) -> Value {
    let answer = backend.post("/v1/devices/lookup", json!({"tokens": [fcm(token, json!({}))]})).await;
    answer.body["items"][0].clone()
}

async fn topics(backend: &ApiClient<'_>, token: &str) -> Value {
    device(backend, token).await["topics"].clone()
}

#[track_caller]
fn assert_invalid(answer: &Answer, reason: &str) {
    assert_problem(answer, 401, "user_token_invalid", &json!([]));
    assert_eq!(answer.body["reason"], reason, "{answer:?}");
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn a_forged_or_outdated_token_binds_nothing() {
    let (service, signer) = start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let stranger = UserTokenSigner::new(&service.database).await;
    let signed = |changes: Value| signer.sign(&signer.claims("u42", &changes));
    let right = signer.token("u42");
    let (header, _) = right.split_once('.').unwrap();
    let claims_of_u7 = stranger.token("u7").split('.').nth(1).unwrap().to_owned();
    for (reason, token) in [
        ("algorithm", "eyJhbGciOiJub25lIn0.e30.".to_owned()),
        ("algorithm", signer.sign_with_public_pem(&signer.claims("u42", &json!({})))),
        ("signature", stranger.token("u42")),
        ("signature", format!("{header}.{claims_of_u7}.{}", right.rsplit('.').next().unwrap())),
        ("audience", signed(json!({"aud": "pushpost:other"}))),
        ("audience", signed(json!({"aud": null}))),
        ("malformed", signed(json!({"exp": null}))),
        ("malformed", signed(json!({"exp": "tomorrow"}))),
        ("malformed", signed(json!({"sub": null}))),
        ("malformed", signed(json!({"sub": "x".repeat(129)}))),
        ("malformed", "x".to_owned()),
        ("malformed", String::new()),
        ("too_long", signed(json!({"exp": signer.after(48 * 3600)}))),
        ("too_long", signed(json!({"exp": 1e300}))),
        ("expired", signed(json!({"exp": signer.after(-3600)}))),
        ("expired", signed(json!({"exp": -0.5}))),
        ("not_yet", signed(json!({"nbf": signer.after(3000)}))),
        ("not_yet", signed(json!({"iat": signer.after(3000)}))),
    ] {
        assert_invalid(&put(&app, &token, fcm("f1", json!({}))).await, reason);
        assert_invalid(&unregister(&app, &token).await, reason);
        assert_invalid(&put(&backend, &token, fcm("f1", json!({}))).await, reason);
    }
    let twice = ask_with(&app, Method::PUT, PUT, &[&right, &right], fcm("f1", json!({}))).await;
    assert_invalid(&twice, "malformed");
    assert_eq!(backend.get(PUT).await.body["items"], json!([]), "nothing was registered");

    let decimal = signed(json!({"exp": signer.after(600) as f64 + 0.5, "aud": ["x", "pushpost:shop"]}));
    assert_has(&registered(&app, &decimal, fcm("f1", json!({}))).await, &json!({"bound": true}));
}

#[tokio::test]
async fn keys_and_tokens_of_another_app_open_nothing() {
    let (service, signer) = start().await;
    let other = service.client_of(&service.other, "register").await;
    let answer = put(&other, &signer.token("u42"), fcm("f1", json!({}))).await;
    assert_problem(&answer, 403, "user_tokens_not_configured", &json!([]));
    let unregistered = unregister(&other, &signer.token("u42")).await;
    assert_problem(&unregistered, 403, "user_tokens_not_configured", &json!([]));
    let reader = service.client("register").await;
    for (method, path) in
        [(Method::GET, PUT), (Method::GET, "/v1/notifications"), (Method::GET, "/v1/topics")]
    {
        let answer = ask_with(&reader, method, path, &[&signer.token("u42")], json!({})).await;
        assert!(matches!(answer.status.as_u16(), 403..=405), "a user token opens no other call: {answer:?}");
    }
}

#[tokio::test]
async fn a_user_token_binds_the_device_to_its_user_and_no_other() {
    let (service, signer) = start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let (of_u1, of_u2) = (signer.token("u1"), signer.token("u2"));
    assert_has(&registered(&app, &of_u1, fcm("f1", json!({}))).await, &json!({"bound": true}));
    assert_has(&device(&backend, "f1").await, &json!({"user": "u1"}));
    registered(&app, &of_u1, fcm("f1", json!({"user": "u1"}))).await;
    let other = put(&app, &of_u1, fcm("f1", json!({"user": "u2"}))).await;
    assert_problem(
        &other,
        403,
        "forbidden_field",
        &json!([{"pointer": "#/user", "code": "forbidden_field"}]),
    );
    let by_backend = put(&backend, &of_u1, fcm("f1", json!({"user": "u2"}))).await;
    assert_problem(&by_backend, 403, "forbidden_field", &json!([{"pointer": "#/user"}]));
    assert_has(&device(&backend, "f1").await, &json!({"user": "u1"}));

    registered(&app, &of_u2, fcm("f1", json!({}))).await;
    assert_has(&device(&backend, "f1").await, &json!({"user": "u2"}));
    let plain = app.put(PUT, fcm("f1", json!({}))).await;
    assert_has(&plain.body, &json!({"bound": true}));
    let out = registered(&app, &of_u2, fcm("f1", json!({"user": null}))).await;
    assert_has(&out, &json!({"bound": false}));
    assert_has(&device(&backend, "f1").await, &json!({"user": null}));
    registered(&backend, &of_u1, fcm("f2", json!({}))).await;
    assert_has(&device(&backend, "f2").await, &json!({"user": "u1"}));
}

#[tokio::test]
async fn closed_topics_of_a_token_end_when_the_device_leaves_the_user() {
    let (service, signer) = start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let token = signer.token_with_topics("u1", &["team:1", "team:2", "team:3"]);
    let closed = put(&app, &token, fcm("f1", json!({"topics": ["news", "team:1", "team:9"]}))).await;
    let fault = json!([{"pointer": "#/topics/2", "code": "topic_closed"}]);
    assert_problem(&closed, 403, "topic_closed", &fault);
    let without_claim = put(&app, &signer.token("u1"), fcm("f1", json!({"topics": ["team:1"]}))).await;
    assert_problem(&without_claim, 403, "topic_closed", &json!([{"pointer": "#/topics/0"}]));
    let anonymous = put(&app, &token, fcm("f1", json!({"topics": ["team:1"], "user": null}))).await;
    assert_problem(&anonymous, 403, "topic_closed", &json!([{"pointer": "#/topics/0"}]));
    assert_eq!(device(&backend, "f1").await, Value::Null, "nothing was registered");

    let leave: [(&str, Value, Option<String>); 5] = [
        ("log-out", json!({"user": null}), None),
        ("another user", json!({}), Some(signer.token("u2"))),
        ("log-out with a token", json!({"user": null}), Some(token.clone())),
        ("log-out with topics", json!({"user": null, "topics": ["news"]}), None),
        ("another user with topics", json!({"topics": ["news"]}), Some(signer.token("u2"))),
    ];
    for (n, (way, body, by)) in leave.into_iter().enumerate() {
        let phone = format!("p{n}");
        backend.put(PUT, fcm(&phone, json!({"topics": ["team:1", "vip:1"]}))).await;
        let set =
            registered(&app, &token, fcm(&phone, json!({"topics": ["news", "team:1", "team:2"]}))).await;
        assert_eq!(set["topics"], json!(["news"]), "an app is told its open topics");
        assert_eq!(topics(&backend, &phone).await, json!(["news", "team:1", "team:2", "vip:1"]));
        app.put(PUT, fcm(&phone, json!({}))).await;
        registered(&app, &token, fcm(&phone, json!({}))).await;
        assert_eq!(topics(&backend, &phone).await, json!(["news", "team:1", "team:2", "vip:1"]));
        match by {
            Some(by) => _ = registered(&app, &by, fcm(&phone, body)).await,
            None => assert_eq!(app.put(PUT, fcm(&phone, body)).await.status, 200),
        }
        // team:1 and vip:1 are the backend's.
        assert_eq!(topics(&backend, &phone).await, json!(["news", "team:1", "vip:1"]), "{way}");
    }
    let count = "select count(*) from topics where name = 'team:2'";
    assert_eq!(service.database.count(count).await, 0, "the topic went with its last subscriber");
}

#[tokio::test]
async fn a_token_states_the_open_topics_and_those_that_it_lists() {
    let (service, signer) = start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let all = json!({"topics": ["news", "sport", "team:1", "team:2", "vip:1"], "user": "u1"});
    backend.put(PUT, fcm("f1", all)).await;
    let token = signer.token_with_topics("u1", &["team:1", "team:2", "extra"]);
    registered(&app, &token, fcm("f1", json!({"topics": ["sport", "team:2"]}))).await;
    assert_eq!(topics(&backend, "f1").await, json!(["sport", "team:2", "vip:1"]));
    registered(&app, &signer.token("u1"), fcm("f1", json!({"topics": []}))).await;
    assert_eq!(
        topics(&backend, "f1").await,
        json!(["team:2", "vip:1"]),
        "without a claim the closed ones stay"
    );

    // A closed topic that the backend states is the backend's from then on.
    registered(&app, &token, fcm("f2", json!({"topics": ["team:1", "team:2"]}))).await;
    let id = device(&backend, "f2").await["id"].as_str().unwrap().to_owned();
    let patched =
        backend.json(Method::PATCH, &format!("{PUT}/{id}"), json!({"topics": ["team:1", "vip:1"]})).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    app.put(PUT, fcm("f2", json!({"user": null}))).await;
    assert_eq!(topics(&backend, "f2").await, json!(["team:1", "vip:1"]));
}

#[tokio::test]
async fn a_backend_that_moves_a_device_ends_the_topics_of_the_binding() {
    let (service, signer) = start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let token = signer.token_with_topics("u1", &["team:1"]);
    for (phone, way) in [("f1", "put"), ("f2", "patch"), ("f3", "import"), ("f4", "replaces")] {
        registered(&app, &token, fcm(phone, json!({"topics": ["news", "team:1"]}))).await;
        let moved = json!({"user": "u2"});
        match way {
            "put" => assert_eq!(backend.put(PUT, fcm(phone, moved)).await.status, 200),
            "patch" => {
                let id = device(&backend, phone).await["id"].as_str().unwrap().to_owned();
                let same = backend.json(Method::PATCH, &format!("{PUT}/{id}"), json!({"user": "u1"})).await;
                assert_eq!(same.body["topics"], json!(["news", "team:1"]));
                let answer = backend.json(Method::PATCH, &format!("{PUT}/{id}"), moved).await;
                assert_eq!(answer.body["topics"], json!(["news"]));
            }
            "import" => {
                let lines = format!("{}\n{}\n", fcm(phone, json!({})), fcm(phone, moved));
                assert_has(&backend.import("", lines).await.body, &json!({"updated": 2, "failed": 0}));
            }
            _ => {
                let heir = fcm("heir", json!({"user": "u2", "replaces": phone}));
                assert_eq!(backend.put(PUT, heir).await.status, 201);
                assert_eq!(topics(&backend, "heir").await, json!(["news"]));
                continue;
            }
        }
        assert_eq!(topics(&backend, phone).await, json!(["news"]), "{way}");
    }
    registered(&app, &token, fcm("f5", json!({"topics": ["team:1"]}))).await;
    let same = format!("{}\n", fcm("f5", json!({"user": "u1"})));
    backend.import("", same).await;
    assert_eq!(topics(&backend, "f5").await, json!(["team:1"]));
}

#[tokio::test]
async fn a_token_of_the_same_user_replaces_as_a_backend_does() {
    let (service, signer) = start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let token = signer.token_with_topics("u1", &["team:1"]);
    backend.put(PUT, fcm("old", json!({"topics": ["vip:1"], "locale": "de", "app_version": "1"}))).await;
    registered(&app, &token, fcm("old", json!({"topics": ["news", "team:1"]}))).await;
    // Another user and a bare key change nothing on the old device.
    let thief = fcm("thief", json!({"replaces": "old"}));
    assert_has(&registered(&app, &signer.token("u2"), thief.clone()).await, &json!({"topics": []}));
    assert_has(&app.put(PUT, thief).await.body, &json!({"topics": []}));
    assert_has(&device(&backend, "old").await, &json!({"status": "active", "user": "u1"}));
    assert_has(&device(&backend, "thief").await, &json!({"user": "u2", "locale": null, "topics": []}));

    let heir = registered(&app, &signer.token("u1"), fcm("new", json!({"replaces": "old"}))).await;
    assert_has(&heir, &json!({"bound": true, "topics": ["news"]}));
    assert_has(
        &device(&backend, "new").await,
        &json!({"user": "u1", "topics": ["news", "team:1", "vip:1"], "locale": "de", "app_version": "1"}),
    );
    assert_has(
        &device(&backend, "old").await,
        &json!({"status": "quarantined", "quarantine": {"reason": "replaced"}}),
    );
    app.put(PUT, fcm("new", json!({"user": null}))).await;
    assert_eq!(topics(&backend, "new").await, json!(["news", "vip:1"]), "terms are taken over too");

    // With topics of its own the new device takes over the closed ones that it may not state.
    backend.put(PUT, fcm("old2", json!({"user": "u1", "topics": ["news", "vip:1"]}))).await;
    registered(&app, &signer.token("u1"), fcm("new2", json!({"replaces": "old2", "topics": ["sport"]})))
        .await;
    assert_eq!(topics(&backend, "new2").await, json!(["sport", "vip:1"]));
    // A claim that waited is settled by a token of the user.
    backend.put(PUT, fcm("old3", json!({"user": "u1"}))).await;
    app.put(PUT, fcm("new3", json!({"replaces": "old3"}))).await;
    assert_has(&device(&backend, "old3").await, &json!({"status": "active"}));
    registered(&app, &signer.token("u1"), fcm("new3", json!({}))).await;
    assert_has(&device(&backend, "old3").await, &json!({"status": "quarantined"}));
}

/// A person with the token of a phone can bind the phone to another account, and then claim that another device replaces it.
/// The closed topics of the user before do not go over.
#[tokio::test]
async fn closed_topics_of_a_backend_stay_on_a_device_that_an_app_took_from_its_user() {
    let (service, signer) = start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    for (phone, logs_out) in [("f1", false), ("f2", true)] {
        backend.put(PUT, fcm(phone, json!({"user": "victim", "topics": ["news", "team:1"]}))).await;
        if logs_out {
            assert_eq!(app.put(PUT, fcm(phone, json!({"user": null}))).await.status, 200);
        }
        registered(&app, &signer.token("thief"), fcm(phone, json!({}))).await;
        let own = format!("thief-of-{phone}");
        let claim = fcm(&own, json!({"replaces": phone}));
        registered(&app, &signer.token("thief"), claim).await;
        assert_eq!(topics(&backend, &own).await, json!(["news"]));
        assert_eq!(topics(&backend, phone).await, json!(["news", "team:1"]), "what a backend set stays");
    }
    // A backend may set them again, and may take them over.
    backend.put(PUT, fcm("f3", json!({"user": "victim", "topics": ["team:1", "vip:1"]}))).await;
    app.put(PUT, fcm("f3", json!({"user": null}))).await;
    registered(&app, &signer.token("victim"), fcm("f3", json!({}))).await;
    let id = device(&backend, "f3").await["id"].clone();
    let again = backend.json(Method::POST, "/v1/topics/team:1/subscribe", json!({"devices": [id]})).await;
    assert_eq!(again.body["changed"], 1, "{again:?}");
    registered(&app, &signer.token("victim"), fcm("f4", json!({"replaces": "f3"}))).await;
    assert_eq!(topics(&backend, "f4").await, json!(["team:1"]));
    backend.put(PUT, fcm("f5", json!({"user": "victim", "topics": ["vip:1"]}))).await;
    app.put(PUT, fcm("f5", json!({"user": null}))).await;
    let heir = backend.put(PUT, fcm("f6", json!({"replaces": "f5"}))).await;
    assert_eq!(heir.body["topics"], json!(["vip:1"]), "{heir:?}");
}

#[tokio::test]
async fn closed_topics_count_for_the_app_and_not_for_the_device() {
    let (service, signer) = start_with(130).await;
    let app = service.client("register").await;
    let closed: Vec<String> = (0..10).map(|n| format!("team:{n}")).collect();
    let names: Vec<&str> = closed.iter().map(String::as_str).collect();
    let token = signer.token_with_topics("u1", &names);
    let open: Vec<String> = (0..100).map(|n| format!("t{n}")).collect();
    let all = [open.as_slice(), closed.as_slice()].concat();
    // 80 % of 130 are 104.
    let answer = registered(&app, &token, fcm("f1", json!({"topics": all}))).await;
    assert_eq!(answer["ignored"].as_array().unwrap().len(), 6);
    let one_more = [all.as_slice(), &["t100".to_owned()]].concat();
    let refused = put(&app, &token, fcm("f1", json!({"topics": one_more}))).await;
    assert_problem(&refused, 422, "unprocessable", &json!([{"code": "too_many_topics", "limit": 100}]));
}
