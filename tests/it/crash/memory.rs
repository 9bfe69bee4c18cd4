//! The memory that a refused body costs: the peak of the real process, as the kernel measures it.

use std::fs;

use http::Method;
use serde_json::Value;

use pushpost_testkit::processes::{TestMachine, providers};

/// `limits.body_bytes` by default.
const BODY_BYTES: usize = 8 << 20;
/// The most that a refused body may take, as a multiple of its size.
const TIMES_MAX: f64 = 8.0;
/// The most that the process keeps of all these bodies together after the last answer.
const KEPT_MAX: usize = 3 * BODY_BYTES;

/// A body of nearly [`BODY_BYTES`] in which a unit is repeated.
fn repeated(start: &str, unit: impl Fn(usize) -> String, end: &str) -> Vec<u8> {
    let mut body = start.as_bytes().to_vec();
    for number in 0.. {
        let unit = unit(number);
        if body.len() + unit.len() + end.len() > BODY_BYTES {
            break;
        }
        body.extend_from_slice(unit.as_bytes());
    }
    body.extend_from_slice(end.as_bytes());
    body
}

fn unit(text: &str) -> impl Fn(usize) -> String + '_ {
    move |_| text.to_owned()
}

/// Bodies by what is large in them, and how each is refused.
fn shapes() -> Vec<(&'static str, u16, Vec<u8>)> {
    let data = r#"{"to":{"users":["u"]},"title":"A","data":{"k":["#;
    vec![
        ("arrays in data", 422, repeated(data, unit("[],"), "[]]}}")),
        ("objects in data", 422, repeated(data, unit(r#"{"":0},"#), "{}]}}")),
        ("numbers in data", 422, repeated(data, unit("1,"), "1]}}")),
        ("a long title", 422, repeated(r#"{"to":{"users":["u"]},"title":""#, unit("x"), r#""}"#)),
        ("escapes in a title", 422, repeated(r#"{"to":{"users":["u"]},"title":""#, unit(r"\n"), r#""}"#)),
        ("unknown members", 400, repeated("{", |n| format!(r#""{n:x}":[],"#), r#""to":{}}"#)),
        ("a member many times", 400, repeated("{", unit(r#""":0,"#), r#""to":{}}"#)),
        ("arrays at the top", 400, repeated("[", unit("[],"), "[]]")),
        (
            "wrong types in platforms",
            400,
            repeated(r#"{"to":{"platforms":["#, unit("1,"), r#"1]},"title":"A"}"#),
        ),
        (
            "metadata",
            422,
            repeated(
                r#"{"to":{"users":["u"]},"title":"A","metadata":{"#,
                |n| format!(r#""{n:x}":"","#),
                r#""":""}}"#,
            ),
        ),
        ("many users", 413, repeated(r#"{"to":{"users":["#, unit(r#""u","#), r#""u"]},"title":"A"}"#)),
        ("a long condition", 422, repeated(r#"{"to":{"condition":""#, unit("!"), r#""},"title":"A"}"#)),
        ("broken off", 400, repeated("[", unit("[],"), "")),
    ]
}

/// A figure of a process, in bytes.
pub(crate) fn memory(pid: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_body_takes_less_than_eight_times_its_size() {
    let machine = TestMachine::new(providers(std::time::Duration::ZERO), "").await;
    // The allocator gives freed memory back at once, so that what it keeps for later counts with no body.
    let node = machine.serve_with(&[("MIMALLOC_PURGE_DELAY", "0")]).await;
    let pid = node.pid();
    let (send, devices) = (machine.key("send").await, machine.key("devices").await);
    let mut asked: Vec<_> = shapes()
        .into_iter()
        .map(|(what, status, body)| (what, Method::POST, "/v1/notifications", &send, status, body))
        .collect();
    let lookup = repeated(r#"{"tokens":["#, unit("[],"), "[]]}");
    asked.push(("a look-up", Method::POST, "/v1/devices/lookup", &devices, 413, lookup));
    let registration = repeated(r#"{"platform":"fcm","token":"f","topics":["#, unit("[],"), "[]]}");
    asked.push(("a registration", Method::PUT, "/v1/devices", &devices, 413, registration));
    let warm = machine.raw(Method::POST, &send, "/v1/notifications", b"{}".to_vec()).await.unwrap();
    assert_eq!(warm.0, 400);
    let at_first = memory(pid, "VmRSS");
    for (what, method, path, key, status, body) in asked {
        let size = body.len();
        assert!(size > BODY_BYTES - 1_000, "{what}");
        // What the allocator still keeps of the bodies before counts with none of them.
        let idle = memory(pid, "VmRSS");
        // Sets the peak back to what is used now (proc(5)).
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        let (answered, answer) = machine.raw(method, key, path, body).await.unwrap();
        let times = memory(pid, "VmHWM").saturating_sub(idle) as f64 / size as f64;
        println!("{what}: {times:.1} times its size");
        assert_eq!(answered, status, "{what}: {}", first_faults(&answer));
        assert!(times < TIMES_MAX, "{what}: {times:.1} times its size");
    }
    let kept = memory(pid, "VmRSS").saturating_sub(at_first);
    println!("after all of them: {} MiB more than before", kept >> 20);
    assert!(kept < KEPT_MAX, "{} MiB are kept of bodies that were answered", kept >> 20);
}

fn first_faults(answer: &Value) -> String {
    answer.to_string().chars().take(500).collect()
}
