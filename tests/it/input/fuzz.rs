//! Mutated documents: nothing breaks, nothing refused is stored, and every refusal has a reason.

use pushpost_testkit::json::hex;
use std::collections::BTreeMap;

use http::Method;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use pushpost_testkit::request::{ApiRequest, DEVICES, SEND, service_without_workers, stored};
use pushpost_testkit::seeds::seeds;
use pushpost_testkit::service::TestService;

/// For each seed.
const ROUNDS: usize = 50;

/// What each endpoint takes.
fn documents(device: &str) -> Vec<(Method, String, Value)> {
    let tokens = json!([{"platform": "apns", "token": hex("aa"), "environment": "sandbox", "kind": "alert", "ref": "r"},
                        {"platform": "fcm", "token": "f1"}]);
    let send = json!({
        "to": {"users": ["u7"], "devices": [device], "tokens": tokens, "platforms": ["apns", "fcm"],
               "except": {"users": ["u8"], "devices": []}},
        "title": "T", "body": "B", "subtitle": null, "image": "https://a/b", "sound": "default", "badge": 1,
        "category": "C", "thread": "t", "channel": "c", "url": "a:b", "data": {"a": "1", "b": {"c": [1, 2.5, null]}},
        "silent": false, "priority": "high", "ttl": "1h", "collapse_key": "k", "label": "l", "metadata": {"m": "1"},
        "apns": {"headers": {"apns-push-type": "alert"}, "payload": {"aps": {"interruption-level": "active"}}},
        "fcm": {"android": {"notification": {"visibility": "PUBLIC"}}}});
    let registration = json!({"platform": "apns", "token": hex("bb"), "kind": "alert", "environment": "production",
        "user": "u7", "topics": ["news", "team:42"], "locale": "de_DE", "timezone": "Europe/Berlin", "app_version": "5.2",
        "replaces": hex("cc"), "registered_at": "2026-01-01T00:00:00Z"});
    let details =
        json!({"kind": "alert", "environment": "sandbox", "user": null, "topics": [], "locale": null});
    let one = json!({"platform": "fcm", "token": "f9"});
    vec![
        (Method::POST, SEND.to_owned(), send),
        (Method::PUT, DEVICES.to_owned(), registration),
        (Method::PATCH, format!("{DEVICES}/{device}"), details),
        (Method::POST, format!("{DEVICES}/unregister"), one.clone()),
        (
            Method::POST,
            format!("{DEVICES}/lookup"),
            json!({"tokens": [one, {"platform": "apns", "token": hex("aa")}]}),
        ),
    ]
}

fn anything(rng: &mut StdRng) -> Value {
    let texts = [
        "",
        "x",
        "\0",
        "a\nb",
        "é",
        "😀",
        "\u{202e}",
        "null",
        "apns",
        "'a' in topics &&",
        "%s%n",
        "../..",
        "-1",
        "9e99",
    ];
    match rng.random_range(0..12) {
        0 => Value::Null,
        1 => json!(rng.random::<bool>()),
        2 => json!(rng.random::<i64>()),
        3 => json!(rng.random::<u64>()),
        4 => json!(f64::from_bits(rng.random::<u64>())),
        5 => json!([]),
        6 => json!({}),
        7 => json!(vec![json!({"platform": "fcm", "token": "f"}); rng.random_range(0..4)]),
        8 => json!("x".repeat(rng.random_range(0..6000))),
        9 => (0..rng.random_range(1..120)).fold(json!(1), |inner, _| json!([inner])),
        10 => json!({*texts.choose(rng).unwrap(): *texts.choose(rng).unwrap()}),
        _ => json!(*texts.choose(rng).unwrap()),
    }
}

/// Changes one place, found by going down at random.
fn mutate(value: &mut Value, rng: &mut StdRng) {
    let down = rng.random_ratio(4, 5);
    match value {
        Value::Object(members) if !members.is_empty() && down => {
            let name = members.keys().nth(rng.random_range(0..members.len())).unwrap().clone();
            match rng.random_range(0..8) {
                0 => drop(members.shift_remove(&name)),
                1 => rename(members, &name, rng),
                2 => drop(members.insert("extra".repeat(rng.random_range(1..20)), anything(rng))),
                _ => mutate(members.get_mut(&name).unwrap(), rng),
            }
        }
        Value::Array(items) if !items.is_empty() && down => {
            let at = rng.random_range(0..items.len());
            match rng.random_range(0..4) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                _ => mutate(&mut items[at], rng),
            }
        }
        other => *other = anything(rng),
    }
}

fn rename(members: &mut Map<String, Value>, name: &str, rng: &mut StdRng) {
    let value = members.shift_remove(name).unwrap_or_default();
    let mut letters: Vec<char> = name.chars().collect();
    // A member of ours may be called nothing.
    let at = rng.random_range(0..letters.len().max(1));
    letters.resize(letters.len().max(1), '_');
    letters[at] = *['x', 'é', '~', '/', '"', '\0'].choose(rng).unwrap();
    members.insert(letters.into_iter().collect(), value);
}

/// Mostly still JSON.
fn written(value: &Value, rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    if rng.random_ratio(1, 6) && !bytes.is_empty() {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes.truncate(at),
            1 => bytes[at] = rng.random(),
            2 => drop(bytes.splice(at..at, bytes.clone())),
            _ => drop(bytes.splice(at..at, (0..3).map(|_| rng.random::<u8>()).collect::<Vec<_>>())),
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_documents_break_nothing_and_refused_ones_store_nothing() {
    let service = service_without_workers(&[("LIMITS__TARGETS", "50")]).await;
    let s = service.key("admin").await;
    let made = ApiRequest::put(DEVICES, &json!({"platform": "apns", "token": hex("dd"), "user": "u7"}))
        .key(&s)
        .of(&service)
        .await;
    let device = made.body["id"].as_str().unwrap().to_owned();
    let mut statuses = BTreeMap::new();
    for seed in seeds(&[1, 2, 3]) {
        ask_at_random(&service, &s, &device, seed, &mut statuses).await;
    }
    for status in [200, 202, 400, 422] {
        assert!(statuses.contains_key(&status), "{statuses:?}");
    }
    service.stop_undecided().await;
}

/// Counts what was answered.
async fn ask_at_random(
    service: &TestService,
    key: &str,
    device: &str,
    seed: u64,
    statuses: &mut BTreeMap<u16, usize>,
) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut before = stored(service).await;
    for round in 0..ROUNDS {
        for (method, path, mut document) in documents(device) {
            for _ in 0..rng.random_range(0..4) {
                mutate(&mut document, &mut rng);
            }
            let body = written(&document, &mut rng);
            let what =
                format!("seed {seed} round {round}: {method} {path} {}", String::from_utf8_lossy(&body));
            let answer = ApiRequest::json(method, &path, body).key(key).of(service).await;
            let status = answer.status.as_u16();
            *statuses.entry(status).or_insert(0) += 1;
            let after = stored(service).await;
            assert!(status < 500, "{what}\n{answer:?}");
            if status >= 400 {
                assert_eq!(after, before, "{what}\n{answer:?}");
                assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
                let faults = answer.body["errors"].as_array().map_or(0, Vec::len);
                assert!(faults > 0 || !matches!(status, 400 | 422), "{what}\n{answer:?}");
            }
            before = after;
        }
    }
}
