//! Devices, notifications for them, and the account of what was promised against what the providers received.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pushpost_simulator::{Entry, Ledger, Provider};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::processes::TestMachine;
use crate::wait::{POLL_INTERVAL, WAIT_MAX};

/// Each has an iPhone and an Android phone.
const USERS: usize = 150;
const POSTERS: usize = 4;
/// Devices that were promised and not yet sent; past it posters wait.
const BACKLOG: usize = 1_200;

/// What was posted so far. Each notification carries its number in `data`.
#[derive(Default)]
pub struct Posts {
    posted: Mutex<Vec<Post>>,
    numbers: AtomicUsize,
    promised: AtomicUsize,
}

/// One request that got an answer, or none.
#[derive(Clone)]
struct Post {
    number: usize,
    devices: BTreeSet<String>,
    status: Option<u16>,
    id: Option<String>,
}

/// Posters at work.
pub struct Posting {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// All times that a provider took one notification for one device.
pub struct Reception {
    pub entries: Vec<Entry>,
}

fn apns(user: usize) -> String {
    format!("{:064x}", user + 1)
}

fn fcm(user: usize) -> String {
    format!("fcm-token-{user}")
}

/// Registers the phones of all users.
pub async fn register(machine: &Arc<TestMachine>, key: &str) {
    let mut tasks = JoinSet::new();
    for part in 0..POSTERS {
        let (machine, key) = (Arc::clone(machine), key.to_owned());
        tasks.spawn(async move {
            for user in (part..USERS).step_by(POSTERS) {
                for (platform, token) in [("apns", apns(user)), ("fcm", fcm(user))] {
                    let body = json!({"platform": platform, "token": token, "user": format!("u{user}")});
                    let (status, answer) = machine.put(&key, "/v1/devices", &body).await.unwrap();
                    assert_eq!(status, 201, "{answer}");
                }
            }
        });
    }
    tasks.join_all().await;
}

/// The audience of a notification, by its number: one device, one user, lists of tokens, or all users.
fn audience(number: usize) -> (Value, BTreeSet<String>) {
    let user = number * 7 % USERS;
    let names = |users: &[usize]| json!({"users": users.iter().map(|u| format!("u{u}")).collect::<Vec<_>>()});
    let phones = |users: &[usize]| users.iter().flat_map(|u| [apns(*u), fcm(*u)]).collect();
    match number % 16 {
        0 => {
            let all: Vec<usize> = (0..USERS).collect();
            (names(&all), phones(&all))
        }
        1 => {
            let some: Vec<usize> = (0..100).map(|step| (user + step) % USERS).collect();
            let tokens = some.iter().flat_map(|u| {
                [json!({"platform": "apns", "token": apns(*u)}), json!({"platform": "fcm", "token": fcm(*u)})]
            });
            (json!({"tokens": tokens.collect::<Vec<_>>()}), phones(&some))
        }
        2..=7 => (names(&[user]), phones(&[user])),
        8..=11 => {
            let token = apns(user);
            (json!({"tokens": [{"platform": "apns", "token": token}]}), BTreeSet::from([token]))
        }
        _ => {
            let token = fcm(user);
            (json!({"tokens": [{"platform": "fcm", "token": token}]}), BTreeSet::from([token]))
        }
    }
}

impl Posts {
    /// Posts the next notification and notes how that went. Returns the answer's status.
    pub async fn post(&self, machine: &TestMachine, key: &str) -> Option<u16> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (to, devices) = audience(number);
        let body = json!({"to": to, "title": "Order shipped", "body": "On its way", "data": {"n": number.to_string()}});
        let answer = machine.post(key, "/v1/notifications", &body).await.ok();
        let id = answer.as_ref().filter(|(status, _)| *status == 202).map(|(_, body)| {
            assert_eq!(body["targets"], devices.len(), "{body}");
            body["id"].as_str().unwrap().to_owned()
        });
        if id.is_some() {
            self.promised.fetch_add(devices.len(), Ordering::Relaxed);
        }
        let status = answer.map(|(status, _)| status);
        self.posted.lock().unwrap().push(Post { number, devices, status, id });
        status
    }

    /// Posts from several sides, no faster than the providers take it, until stopped.
    pub fn keep_posting(self: &Arc<Self>, machine: &Arc<TestMachine>, key: &str) -> Posting {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for _ in 0..POSTERS {
            let (posts, machine, key) = (Arc::clone(self), Arc::clone(machine), key.to_owned());
            let stop = stop.clone();
            tasks.spawn(async move {
                let ledger = machine.ledger();
                while !stop.is_cancelled() {
                    let sent =
                        posts.unsent(&ledger) < BACKLOG && posts.post(&machine, &key).await == Some(202);
                    if !sent {
                        sleep(POLL_INTERVAL).await;
                    }
                }
            });
        }
        Posting { tasks, stop }
    }

    /// Devices that were promised and that no provider has taken yet (at least).
    pub fn unsent(&self, ledger: &Ledger) -> usize {
        let taken = usize::try_from(ledger.accepted_count()).unwrap();
        self.promised.load(Ordering::Relaxed).saturating_sub(taken)
    }

    /// How often each answer was given; none: there was no answer.
    pub fn answers(&self) -> BTreeMap<Option<u16>, usize> {
        self.posted.lock().unwrap().iter().fold(BTreeMap::new(), |mut answers, post| {
            *answers.entry(post.status).or_default() += 1;
            answers
        })
    }

    /// Waits until all that was promised is done, and asserts that each promise was kept, that nothing else was sent
    /// by halves, and that the records say so. Returns what reached each device, by notification.
    pub async fn assert_kept(
        &self,
        machine: &TestMachine,
        key: &str,
    ) -> BTreeMap<(usize, String), Reception> {
        let posted = self.posted.lock().unwrap().clone();
        for post in &posted {
            if let Some(id) = &post.id {
                assert_done(machine, key, id, post.devices.len()).await;
            }
        }
        // What got no answer may have been accepted all the same.
        let by_number: BTreeMap<usize, &Post> = posted.iter().map(|post| (post.number, post)).collect();
        let mut begun = BTreeMap::new();
        for entry in taken(&machine.ledger()) {
            begun.insert(number(&entry), entry.notification().unwrap().to_owned());
        }
        for (number, id) in &begun {
            let post = by_number[number];
            assert!(post.id.as_ref().is_none_or(|told| told == id), "one notification for a request");
            if post.id.is_none() {
                assert_done(machine, key, id, post.devices.len()).await;
            }
        }
        let mut receptions: BTreeMap<(usize, String), Reception> = BTreeMap::new();
        for entry in taken(&machine.ledger()) {
            let device = (number(&entry), entry.token.clone().unwrap());
            assert!(by_number[&device.0].devices.contains(&device.1), "sent to a device that was not meant");
            receptions.entry(device).or_insert_with(|| Reception { entries: Vec::new() }).entries.push(entry);
        }
        for post in posted.iter().filter(|post| post.id.is_some() || begun.contains_key(&post.number)) {
            for device in &post.devices {
                let found = receptions.contains_key(&(post.number, device.clone()));
                assert!(found, "notification {} never came to a device", post.number);
            }
        }
        receptions
    }
}

impl Posting {
    /// Lets every poster finish what it is at.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

impl Reception {
    /// A later one is the same notification to a phone: it has the first one's `apns-id`, and what makes it replace the
    /// first one on the screen.
    pub fn assert_alike(&self) {
        let name = |entry: &Entry| {
            let tag = entry.body.as_ref().and_then(|body| body.pointer("/message/android/notification/tag"));
            let notification = entry.notification().map(str::to_owned);
            let shown = entry.header("apns-collapse-id").map(str::to_owned);
            (notification, entry.header("apns-id").map(str::to_owned), shown, tag.cloned())
        };
        let first = name(&self.entries[0]);
        assert!(first.2.is_some() || first.3.is_some(), "{first:?}");
        for later in &self.entries[1..] {
            assert_eq!(name(later), first);
        }
    }
}

/// How many receptions were not the first of their notification and device.
pub fn duplicates(receptions: &BTreeMap<(usize, String), Reception>) -> usize {
    receptions.values().map(|reception| reception.entries.len() - 1).sum()
}

/// What providers took.
fn taken(ledger: &Ledger) -> Vec<Entry> {
    let entries = ledger.entries().into_iter();
    entries.filter(|entry| entry.accepted && entry.provider != Provider::Oauth).collect()
}

/// The number that a notification carries.
fn number(entry: &Entry) -> usize {
    let body = entry.body.as_ref().unwrap();
    let place = body.get("n").or_else(|| body.pointer("/message/data/n"));
    place.and_then(Value::as_str).unwrap().parse().unwrap()
}

/// Waits until a notification is done, with every device accepted.
async fn assert_done(machine: &TestMachine, key: &str, id: &str, devices: usize) {
    let begun = Instant::now();
    loop {
        let (status, answer) = machine.get(key, &format!("/v1/notifications/{id}")).await.unwrap();
        if status == 200 && answer["status"] == "done" {
            assert_eq!(answer["counts"]["targets"], devices, "{answer}");
            assert_eq!(answer["counts"]["accepted"], devices, "{answer}");
            return;
        }
        assert!([200, 503].contains(&status), "{status} {answer}");
        assert!(begun.elapsed() < WAIT_MAX, "a notification is not done: {answer}");
        sleep(POLL_INTERVAL).await;
    }
}
