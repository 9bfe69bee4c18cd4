//! Request bodies and query parameters that are generated from the schemas of the OpenAPI document. What a schema allows
//! is never refused for its form, what it forbids is always refused, and every fault has a place in the request.

mod mutation;
mod schema;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::Method;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use pushpost_testkit::answer::Answer;
use pushpost_testkit::json::hex;
use pushpost_testkit::request::{ApiRequest, DEVICES, service_without_workers};
use pushpost_testkit::seeds::seeds;
use pushpost_testkit::service::TestService;

use mutation::{Mutated, MutationKind, mutated};
use schema::Document;

/// Generated requests for each operation and seed.
const CASES: u32 = 40;
static DOCUMENT: LazyLock<Document> = LazyLock::new(Document::read);

/// A service with one device, and a key that may do everything.
struct Asked {
    service: TestService,
    key: String,
    /// Values that exist, or could, by the name of the member or parameter.
    known: BTreeMap<&'static str, Vec<Value>>,
}

impl Asked {
    async fn start() -> Self {
        let service = service_without_workers(&[]).await;
        let key = service.key("admin").await;
        let device = json!({"platform": "apns", "token": hex("dd"), "user": "u7", "topics": ["news"]});
        let made = ApiRequest::put(DEVICES, &device).key(&key).of(&service).await;
        let known = BTreeMap::from([
            ("token", vec![json!(hex("dd")), json!(hex("ee")), json!("fcm-1"), json!("fcm-2")]),
            ("devices", vec![made.body["id"].clone(), json!("dev_unknown")]),
            ("users", vec![json!("u7"), json!("u8")]),
            ("user", vec![json!("u7"), json!("u8")]),
            ("topics", vec![json!("news"), json!("team:42")]),
        ]);
        Self { service, key, known }
    }

    /// A path with what exists in place of its parameters.
    fn path(&self, template: &str) -> String {
        let device = self.known["devices"][0].as_str().unwrap();
        let id = if template.starts_with(DEVICES) { device } else { "unknown" };
        let named = template.replace("{id}", id).replace("{topic}", "news");
        named.replace("{user}", "u7").replace("{lane}", "fcm")
    }

    /// Sends one request. What the document lacks of the answer makes the test kit panic.
    fn send(&self, request: ApiRequest) -> Answer {
        let request = request.key(&self.key).of(&self.service);
        tokio::task::block_in_place(|| Handle::current().block_on(request))
    }
}

/// Runs a check with generated values, and panics with the smallest one that it does not hold for.
fn check<T: std::fmt::Debug>(what: &str, strategy: &BoxedStrategy<T>, check: impl Fn(T)) {
    for seed in seeds(&[1]) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        let ran = TestRunner::new_with_rng(config, rng).run(strategy, |value| {
            check(value);
            Ok(())
        });
        ran.unwrap_or_else(|error| panic!("seed {seed}: {what}: {error}"));
    }
}

/// Is this a fault of form that no schema can say: that one of several members is needed?
fn is_beyond_schemas(fault: &Value) -> bool {
    fault["code"] == "missing_field"
        && fault["detail"].as_str().is_some_and(|text| text.contains("needs one of"))
}

fn faults(problem: &Value) -> &[Value] {
    problem["errors"].as_array().map_or(&[], Vec::as_slice)
}

/// The problems of an answer: its own, or those of the items of a batch with the pointers of their places.
fn problems(answer: &Answer) -> Vec<(String, &Value)> {
    if answer.status.as_u16() >= 400 {
        return vec![(String::new(), &answer.body)];
    }
    let items = answer.body["items"].as_array().into_iter().flatten().enumerate();
    items
        .filter(|(_, item)| item["problem"].is_object())
        .map(|(n, item)| (format!("/{n}"), &item["problem"]))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_bodies_are_refused_exactly_where_their_schema_forbids_them() {
    let asked = Asked::start().await;
    let operations = DOCUMENT.operations_with_bodies();
    assert!(operations.len() > 6, "{operations:?}");
    for (method, template, schema) in &operations {
        let path = asked.path(template);
        let kinds = prop_oneof![2 => Just(None), 3 => MutationKind::any().prop_map(Some)];
        let strategy =
            (DOCUMENT.allowed(schema, "", &asked.known), kinds, any::<Index>(), any::<Index>()).boxed();
        check(&format!("{method} {template}"), &strategy, |(body, kind, place, choice)| {
            let sent = match kind {
                Some(kind) => mutated(&body, kind, place, choice),
                None => Mutated::unchanged(&body),
            };
            let answer = asked.send(ApiRequest::json(method.clone(), &path, sent.text.clone()));
            judge(&sent, !sent.is_duplicate && DOCUMENT.allows(schema, &sent.body), &answer);
        });
    }
    asked.service.stop_undecided().await;
}

/// Compares the answer with what the schema says of the body.
fn judge(sent: &Mutated, is_allowed: bool, answer: &Answer) {
    let what = || format!("{}\n{} {}", sent.text, answer.status, answer.body);
    assert!(answer.status.as_u16() < 500, "{}", what());
    let problems = problems(answer);
    for (at, problem) in &problems {
        let form = faults(problem).iter().filter(|_| problem["status"] == 400);
        let form: Vec<_> = form.filter(|fault| !is_beyond_schemas(fault)).collect();
        let code = problem["code"].as_str().unwrap();
        assert!(!is_allowed || form.is_empty() || code != "invalid_request", "the schema allows {}", what());
        for fault in faults(problem) {
            if let Some(pointer) = fault["pointer"].as_str() {
                assert!(sent.has_place(at, pointer), "no place {pointer} in {}", what());
            }
        }
    }
    assert!(is_allowed || !problems.is_empty(), "the schema forbids {}", what());
    // Of too many targets nothing but their number is said.
    let is_counted = problems.iter().any(|(_, problem)| problem["status"] == 413 || problem["status"] == 404);
    if let Some(place) = sent.place.as_ref().filter(|_| !is_allowed && !is_counted) {
        let concerns = |at: &str, fault: &Value| {
            let pointer = fault["pointer"].as_str().unwrap_or_default().trim_start_matches('#');
            let full = format!("{at}{pointer}");
            place.starts_with(&full) || full.starts_with(place.as_str())
        };
        let named =
            problems.iter().any(|(at, problem)| faults(problem).iter().any(|fault| concerns(at, fault)));
        assert!(named, "no fault names {place} in {}", what());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_query_parameters_are_read_as_documented() {
    let asked = Asked::start().await;
    let parameters = DOCUMENT.query_parameters();
    assert!(parameters.len() > 10, "{parameters:?}");
    for (method, template, name, schema) in &parameters {
        // No schema can tell which cursors there are.
        if *name == "cursor" || *method != Method::GET {
            continue;
        }
        let path = asked.path(template);
        let is_list = schema["type"] == "array";
        let each = if is_list { &schema["items"] } else { schema };
        let strategy = (DOCUMENT.allowed(each, name, &asked.known), "[a-z]{1,9}").boxed();
        check(&format!("{method} {template}?{name}"), &strategy, |(value, other)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let ask = |query: &[(&str, &str)]| {
                let query = encoded_query(query);
                asked.send(ApiRequest::new(method.clone(), &format!("{path}?{query}")))
            };
            let answer = ask(&[(name, &text)]);
            assert_ne!(answer.status, 400, "{name}={text}: {}", answer.body);
            assert!(answer.status.as_u16() < 500, "{name}={text}: {}", answer.body);
            if is_list {
                let twice = ask(&[(name, &text), (name, &text)]);
                assert_eq!(twice.status, answer.status, "{name}={text} twice: {}", twice.body);
            }
            if DOCUMENT.is_enumeration(each) && !DOCUMENT.allows(each, &json!(other)) {
                let answer = ask(&[(name, &other)]);
                assert_eq!(answer.status, 400, "{name}={other}: {}", answer.body);
                assert_eq!(answer.body["errors"][0]["parameter"], **name, "{}", answer.body);
            }
        });
    }
    asked.service.stop_undecided().await;
}

/// A query, percent-encoded.
fn encoded_query(pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}
