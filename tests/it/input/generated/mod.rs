//! Request bodies and query parameters that are drawn from the schemas of the OpenAPI document. What a schema allows is
//! never refused for its form, what it forbids is always refused, and every fault has a place in the request. The test kit
//! compares each answer with the document.

mod drawing;
mod mutation;

use std::cell::Cell;
use std::fmt::Debug;

use http::Method;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use pushpost_testkit::answer::Answer;
use pushpost_testkit::json::hex;
use pushpost_testkit::request::{ApiRequest, DEVICES, SEND, service_without_workers};
use pushpost_testkit::schema::{DOCUMENT, fault, resolved};
use pushpost_testkit::seeds::seeds;
use pushpost_testkit::service::TestService;

use drawing::{Known, allowed};
use mutation::{Mutated, MutationKind, mutated};

const WEBHOOKS: &str = "/v1/admin/webhooks";
/// Drawn requests for each operation and seed.
const CASES: u32 = 60;
/// Drawn values for each parameter and seed.
const PARAMETER_CASES: u32 = 15;
/// Parameters the right values of which no schema can tell: cursors, and ids of events.
const UNKNOWABLE: [&str; 2] = ["cursor", "after"];

/// A service with one device, and a key that may do everything.
struct Asked {
    service: TestService,
    key: String,
    /// Values that exist, or could.
    known: Known,
    webhook: String,
}

impl Asked {
    async fn start() -> Self {
        let service =
            service_without_workers(&[("APPS__SHOP__WEBHOOK_HOSTS", "[\"backend.example.com\"]")]).await;
        let key = service.key("admin").await;
        let known = Known::from([
            ("token", vec![json!(hex("dd")), json!(hex("ee"))]),
            ("replaces", vec![json!(hex("dd"))]),
            ("users", vec![json!("u7"), json!("u8")]),
            ("user", vec![json!("u7"), json!("u8")]),
            ("topics", vec![json!("news"), json!("team:42")]),
            ("topic", vec![json!("news")]),
            ("condition", vec![json!("news && !sport")]),
            ("title", vec![json!("Hi")]),
            ("image", vec![json!("https://cdn.example.com/789.jpg")]),
            ("collapse_key", vec![json!("order-789")]),
            ("url", vec![json!("https://backend.example.com/pushpost")]),
            ("types", vec![json!("device.*"), json!("notification.done")]),
            ("keep_old", vec![json!("1h")]),
            ("from", vec![Value::Null]),
            ("since", vec![json!("2026-11-01T00:00:00Z")]),
            ("ttl", vec![json!("1h"), json!(0)]),
            ("silent", vec![json!(false)]),
            ("send_at", vec![Value::Null]),
            ("apns", vec![json!({"headers": {"apns-priority": "5"}}), json!({"payload": {"own": [1]}})]),
            ("fcm", vec![json!({"android": {"notification": {"notification_count": 3.0}}})]),
        ]);
        let webhook = json!({"name": "known", "url": "https://backend.example.com/pushpost"});
        let made = ApiRequest::post(WEBHOOKS, &webhook).key(&key).of(&service).await;
        let webhook = made.body["id"].as_str().unwrap().to_owned();
        let mut asked = Self { service, key, known, webhook };
        asked.register().await;
        asked
    }

    /// Registers the one device, because a drawn request may have removed the one before.
    async fn register(&mut self) {
        let device = json!({"platform": "apns", "token": hex("dd"), "user": "u7", "topics": ["news"]});
        let made = ApiRequest::put(DEVICES, &device).key(&self.key).of(&self.service).await;
        self.known.insert("devices", vec![made.body["id"].clone(), json!("dev_unknown")]);
        self.known.insert("device", vec![made.body["id"].clone()]);
    }

    /// A path with what exists in place of its parameters.
    fn path(&self, template: &str) -> String {
        let device = self.known["devices"][0].as_str().unwrap();
        let id = match template {
            _ if template.starts_with(DEVICES) => device,
            _ if template.starts_with(WEBHOOKS) => &self.webhook,
            _ => "unknown",
        };
        let named = template.replace("{id}", id).replace("{topic}", "news");
        named.replace("{user}", "u7").replace("{lane}", "fcm")
    }

    /// Sends one request. What the document lacks of the answer makes the test kit panic.
    fn send(&self, request: ApiRequest) -> Answer {
        let request = request.key(&self.key).of(&self.service);
        tokio::task::block_in_place(|| Handle::current().block_on(request))
    }
}

/// Method, path and content of each operation of the document.
fn operations() -> impl Iterator<Item = (Method, &'static str, &'static Value)> {
    DOCUMENT["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let item = item.as_object().unwrap().iter();
        item.map(move |(method, operation)| {
            (method.to_uppercase().parse().unwrap(), path.as_str(), operation)
        })
    })
}

/// Method, path and schema of each body of JSON. A notification may be sent, or previewed by a parameter.
fn bodies() -> Vec<(Method, String, &'static Value)> {
    let mut found = Vec::new();
    for (method, path, operation) in operations() {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if path == SEND && method == Method::POST {
            found.push((method.clone(), path.to_owned(), &schema["anyOf"][0]));
            found.push((method, format!("{path}?dry_run=true"), &schema["anyOf"][1]));
        } else if schema.is_object() {
            found.push((method, path.to_owned(), schema));
        }
    }
    found
}

/// Runs a check with drawn values, and panics with the smallest one that it does not hold for.
fn check<T: Debug>(what: &str, cases: u32, strategy: &BoxedStrategy<T>, check: impl Fn(T)) {
    for seed in seeds(&[1]) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let ran = TestRunner::new_with_rng(config, rng).run(strategy, |value| {
            check(value);
            Ok(())
        });
        ran.unwrap_or_else(|error| panic!("seed {seed}: {what}: {error}"));
    }
}

/// Is this a fault of form that the document does not say: that one of several members is needed, or a type in FCM's
/// message, which is not the document's?
fn is_beyond_schemas(fault: &Value) -> bool {
    let text = |name: &str| fault[name].as_str().unwrap_or_default();
    let needs_one = fault["code"] == "missing_field" && text("detail").contains("needs one of");
    needs_one || text("pointer").contains("/fcm/")
}

/// What was refused: a request, an item of a batch, or what was previewed.
struct Refusal<'a> {
    status: u64,
    /// The place of the item in the body.
    at: String,
    faults: &'a [Value],
}

impl<'a> Refusal<'a> {
    fn of(problem: &'a Value, at: String) -> Self {
        let faults = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
        Self { status: problem["status"].as_u64().unwrap(), at, faults }
    }

    fn all(answer: &'a Answer) -> Vec<Self> {
        if answer.status.as_u16() >= 400 {
            return vec![Self::of(&answer.body, String::new())];
        }
        if let Some(faults) = answer.body["problems"].as_array().filter(|faults| !faults.is_empty()) {
            return vec![Self { status: 422, at: String::new(), faults }];
        }
        let items = answer.body["items"].as_array().into_iter().flatten().enumerate();
        let items = items.filter(|(_, item)| item["problem"].is_object());
        items.map(|(n, item)| Self::of(&item["problem"], format!("/{n}"))).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drawn_bodies_are_refused_exactly_where_their_schema_forbids_them() {
    let mut asked = Asked::start().await;
    let bodies = bodies();
    assert!(bodies.len() > 11, "{bodies:?}");
    for (method, template, schema) in &bodies {
        asked.register().await;
        let (path, what) = (asked.path(template), format!("{method} {template}"));
        let kinds = prop_oneof![1 => Just(None), 1 => MutationKind::any().prop_map(Some)];
        let drawn = (allowed(schema, "", &asked.known), kinds, any::<Index>(), any::<Index>()).boxed();
        let accepted = Cell::new(0);
        check(&what, CASES, &drawn, |(body, kind, place, choice)| {
            assert_eq!(fault(schema, &body), None, "a wrong value is drawn: {body}");
            let sent = match kind {
                Some(kind) => mutated(&body, kind, place, choice),
                None => Mutated::unchanged(&body),
            };
            let answer = asked.send(ApiRequest::json(method.clone(), &path, sent.text.clone()));
            judge(&sent, !sent.is_duplicate && fault(schema, &sent.body).is_none(), &answer);
            accepted.set(accepted.get() + u32::from(Refusal::all(&answer).is_empty()));
        });
        assert!(accepted.get() > 0, "none of the drawn requests to {what} was accepted");
    }
    asked.service.stop_undecided().await;
}

/// Compares the answer with what the schema says of the body.
fn judge(sent: &Mutated, is_allowed: bool, answer: &Answer) {
    let what = || format!("{}\n{} {}", sent.text, answer.status, answer.body);
    assert!(answer.status.as_u16() < 500, "{}", what());
    let refusals = Refusal::all(answer);
    assert!(is_allowed || !refusals.is_empty(), "the schema forbids {}", what());
    for Refusal { status, at, faults } in &refusals {
        let is_of_form = *status == 400 && !faults.iter().any(is_beyond_schemas);
        assert!(!is_allowed || !is_of_form, "the schema allows {}", what());
        for pointer in faults.iter().filter_map(|fault| fault["pointer"].as_str()) {
            assert!(sent.has_place(at, pointer), "no place {pointer} in {}", what());
        }
    }
    // Of too many targets, and of what is not found, no fault is said.
    let has_faults = refusals.iter().all(|refusal| matches!(refusal.status, 400 | 422));
    if let Some(place) = sent.place.as_ref().filter(|_| !is_allowed && has_faults) {
        let concerns = |at: &str, fault: &Value| {
            let full =
                format!("{at}{}", fault["pointer"].as_str().unwrap_or_default().trim_start_matches('#'));
            place.starts_with(&full) || full.starts_with(place.as_str())
        };
        let is_named =
            refusals.iter().any(|Refusal { at, faults, .. }| faults.iter().any(|fault| concerns(at, fault)));
        assert!(is_named, "no fault names {place} in {}", what());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drawn_query_parameters_are_read_as_documented() {
    let asked = Asked::start().await;
    let mut checked = 0;
    for (method, template, operation) in operations().filter(|(method, ..)| *method == Method::GET) {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let of_query = parameters.filter(|one| {
            one["in"] == "query" && !UNKNOWABLE.contains(&one["name"].as_str().unwrap_or_default())
        });
        for parameter in of_query {
            let name = parameter["name"].as_str().unwrap();
            check_parameter(&asked, &method, template, name, &parameter["schema"]);
            checked += 1;
        }
    }
    assert!(checked > 15, "{checked}");
    asked.service.stop_undecided().await;
}

fn check_parameter(asked: &Asked, method: &Method, template: &str, name: &str, schema: &'static Value) {
    let path = asked.path(template);
    let is_list = schema["type"] == "array";
    let each = if is_list { &schema["items"] } else { schema };
    let drawn = (allowed(each, name, &asked.known), "[a-z]{1,9}").boxed();
    check(&format!("{method} {template}?{name}"), PARAMETER_CASES, &drawn, |(value, other)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let ask = |query: &[(&str, &str)]| {
            let path = format!("{path}?{}", encoded_query(query));
            asked.send(ApiRequest::new(method.clone(), &path))
        };
        let answer = ask(&[(name, &text)]);
        assert_ne!(answer.status, 400, "{name}={text}: {}", answer.body);
        assert!(answer.status.as_u16() < 500, "{name}={text}: {}", answer.body);
        let twice = ask(&[(name, &text), (name, &text)]);
        if is_list {
            assert_eq!(twice.status, answer.status, "{name}={text} twice: {}", twice.body);
        } else {
            assert_eq!(twice.status, 400, "{name}={text} twice: {}", twice.body);
        }
        let is_text = resolved(each)["type"] == "string";
        let is_forbidden =
            if is_text { fault(each, &json!(other)).is_some() } else { other != "true" && other != "false" };
        let answer = ask(&[(name, &other)]);
        if is_forbidden {
            assert!(matches!(answer.status.as_u16(), 400 | 422), "{name}={other}: {}", answer.body);
            assert_eq!(answer.body["errors"][0]["parameter"], *name, "{}", answer.body);
        }
    });
}

/// A query, percent-encoded.
fn encoded_query(pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}
