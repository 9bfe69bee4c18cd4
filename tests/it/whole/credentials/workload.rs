//! Google without a service account's key: workload identities with a subject token in a file or at a URL, and the
//! metadata server.

use pushpost::provider::fcm;
use pushpost_testkit::json::{assert_ended, fcm_targets};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use pushpost::runtime::Role;
use pushpost_simulator::{Ledger, Provider};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{NEW_ACCOUNT, SUSPENDED, assert_untouched, hello, shown, until_renewed};
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::WAIT_MAX;

const DEVICES: usize = 20;
const EXCHANGE: &str = "/v1/token";
const METADATA: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// How a lane comes by its access tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    File,
    FileAsAccount,
    Url,
    JsonUrlAsAccount,
    MetadataServer,
}

const WAYS: [Way; 5] = [Way::File, Way::FileAsAccount, Way::Url, Way::JsonUrlAsAccount, Way::MetadataServer];

/// A service without a node, and an issuer of subject tokens that answers at a URL.
struct Workload {
    service: TestService,
    /// The configuration with the service account.
    toml: String,
    issuer: String,
    answer: Arc<Mutex<(StatusCode, String)>>,
    _tasks: JoinSet<()>,
}

impl Workload {
    async fn set() -> Self {
        let service = TestService::builder().config("SERVER__RELOAD_INTERVAL", "1h").build().await;
        let answer = Arc::new(Mutex::new((StatusCode::OK, String::new())));
        let said = Arc::clone(&answer);
        let handler = async move |headers: HeaderMap| {
            let is_asked_rightly = headers.get("metadata").is_some_and(|value| value == "True");
            let answer = said.lock().unwrap().clone();
            if is_asked_rightly { answer } else { (StatusCode::FORBIDDEN, String::new()) }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}/token", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            axum::serve(listener, Router::new().route("/token", get(handler))).await.unwrap();
        });
        Self { toml: service.read("pushpost.toml"), service, issuer, answer, _tasks: tasks }
    }

    /// What the issuer says from now on.
    fn issuer_says(&self, status: StatusCode, text: String) {
        *self.answer.lock().unwrap() = (status, text);
    }

    /// The subject token from now on, in every place where one is looked for.
    fn show(&self, subject_token: &str) {
        self.service.write("subject-token", subject_token);
        let text = if self.service.read("external.json").contains("\"json\"") {
            json!({"value": subject_token}).to_string()
        } else {
            subject_token.to_owned()
        };
        self.issuer_says(StatusCode::OK, text);
    }

    fn account(&self) -> &str {
        &self.service.simulator.settings().fcm.client_email
    }

    /// Writes the configuration; the subject token is good.
    fn configure(&self, way: Way) {
        let account = (way != Way::File && way != Way::Url).then(|| self.account());
        self.configure_as(way, account);
        self.show(&self.service.simulator.issue_subject_token());
    }

    fn configure_as(&self, way: Way, account: Option<&str>) {
        let url =
            |format: Value| json!({"url": self.issuer, "headers": {"Metadata": "True"}, "format": format});
        let source = match way {
            Way::Url => url(json!({"type": "text"})),
            Way::JsonUrlAsAccount => url(json!({"type": "json", "subject_token_field_name": "value"})),
            _ => json!({"file": self.service.path("subject-token")}),
        };
        self.service.write("external.json", &self.service.simulator.external_account(&source, account));
        if way == Way::MetadataServer {
            self.configure_metadata(&self.service.simulator.metadata_endpoint().unwrap());
        } else {
            self.configure_lines("service_account_file = \"external.json\"\nproject_id = \"shop-1\"");
        }
    }

    fn configure_metadata(&self, endpoint: &str) {
        let lines =
            format!("credentials = \"default\"\nproject_id = \"shop-1\"\nmetadata_endpoint = \"{endpoint}\"");
        self.configure_lines(&lines);
    }

    /// Puts lines in the place of the service account.
    fn configure_lines(&self, lines: &str) {
        let changed = self.toml.lines().map(|line| match line.starts_with("service_account_file = ") {
            true => format!("{lines}\n"),
            false => format!("{line}\n"),
        });
        self.service.write("pushpost.toml", &changed.collect::<String>());
    }

    /// Paths of all requests for access tokens.
    fn asked(&self) -> Vec<String> {
        let entries = self.service.ledger().entries().into_iter();
        entries.filter(|entry| entry.provider == Provider::Oauth).map(|entry| entry.path).collect()
    }

    /// Sends to so many devices; answers the notification's id.
    async fn send(&self, prefix: &str) -> String {
        self.service.notifications().send(hello(fcm_targets(prefix, DEVICES))).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_without_a_key_sends() {
    let mut workload = Workload::set().await;
    let impersonation = format!("/v1/projects/-/serviceAccounts/{}:generateAccessToken", workload.account());
    for way in WAYS {
        workload.configure(way);
        workload.service.node(Role::All).await;
        let id = workload.send(&format!("{way:?}-")).await;
        assert_untouched(&workload.service, &id, DEVICES).await;
        let expected = match way {
            Way::File | Way::Url => vec![EXCHANGE],
            Way::FileAsAccount | Way::JsonUrlAsAccount => vec![EXCHANGE, &impersonation],
            Way::MetadataServer => vec![METADATA],
        };
        assert_eq!(workload.asked(), expected, "{way:?}");
        workload.service.end_nodes().await;
        workload.service.ledger().clear();
    }
    for message in [
        "no new FCM access token",
        "provider refuses the new credential",
        "lane is suspended",
        "lane stays suspended",
        "lane stops sending",
    ] {
        workload.service.expect_log(message);
    }
    workload.service.stop_undecided().await;
}

/// What goes wrong, what the lane says of it, and what mends it.
struct Fault {
    way: Way,
    breaks: fn(&Workload),
    state: &'static str,
    why: &'static str,
    mend: fn(&Workload),
}

fn show_another(workload: &Workload) {
    workload.show(&workload.service.simulator.issue_subject_token());
}

const FAULTS: [Fault; 8] = [
    Fault {
        way: Way::File,
        breaks: |workload| workload.show("eyJhbGciOiJSUzI1NiJ9.unknown.x"),
        state: "suspended",
        why: "invalid_grant",
        mend: show_another,
    },
    Fault {
        way: Way::FileAsAccount,
        breaks: |workload| workload.configure_as(Way::FileAsAccount, Some(NEW_ACCOUNT)),
        state: "suspended",
        why: "impersonation: status 403",
        mend: |workload| drop(workload.service.simulator.issue_service_account(NEW_ACCOUNT)),
    },
    Fault {
        way: Way::File,
        breaks: |workload| std::fs::remove_file(workload.service.path("subject-token")).unwrap(),
        state: "suspended",
        why: "subject token file: not found",
        mend: show_another,
    },
    Fault {
        way: Way::File,
        breaks: |workload| workload.show("\n"),
        state: "suspended",
        why: "subject token file: empty",
        mend: show_another,
    },
    Fault {
        way: Way::Url,
        breaks: |workload| workload.issuer_says(StatusCode::INTERNAL_SERVER_ERROR, "<html>".to_owned()),
        state: "broken",
        why: "subject token url: status 500",
        mend: show_another,
    },
    Fault {
        way: Way::JsonUrlAsAccount,
        breaks: |workload| workload.issuer_says(StatusCode::OK, json!({"token": "x"}).to_string()),
        state: "suspended",
        why: "subject token url: no token in the answer",
        mend: show_another,
    },
    Fault {
        way: Way::MetadataServer,
        breaks: |workload| workload.service.simulator.revoke_service_account(workload.account()),
        state: "suspended",
        why: "metadata server: status 404",
        mend: |workload| drop(workload.service.simulator.issue_service_account(workload.account())),
    },
    Fault {
        way: Way::MetadataServer,
        // Nothing listens on the port of "discard".
        breaks: |workload| workload.configure_metadata("http://127.0.0.1:9"),
        state: "broken",
        why: "metadata server: connection failed",
        mend: |workload| workload.configure(Way::MetadataServer),
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_on_the_way_stops_the_lane_and_costs_nothing() {
    let mut workload = Workload::set().await;
    for (number, fault) in FAULTS.into_iter().enumerate() {
        workload.configure(fault.way);
        (fault.breaks)(&workload);
        workload.service.node(Role::All).await;
        let id = workload.send(&format!("{number}-")).await;
        workload.service.lanes().until(fcm::LANE, &json!({"state": fault.state, "why": fault.why})).await;
        let waiting = format!("lane_{}", fault.state);
        for delivery in workload.service.notifications().deliveries(&id).await {
            assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("pending"), &json!(0)));
            let reason = delivery["reason"].as_str();
            assert!(reason.is_none_or(|reason| reason == waiting || reason == fault.why), "{delivery}");
        }
        (fault.mend)(&workload);
        workload.service.reload().await.unwrap();
        until_sent(&workload.service, &id).await;
        workload.service.end_nodes().await;
    }
    for message in [
        "no new FCM access token",
        "provider refuses the new credential",
        "lane is suspended",
        "lane stays suspended",
        "lane stops sending",
    ] {
        workload.service.expect_log(message);
    }
    workload.service.stop_undecided().await;
}

/// An operator has the lane tried until it sends.
async fn until_sent(service: &TestService, id: &str) {
    let until = Instant::now() + WAIT_MAX;
    while service.get(&format!("/v1/notifications/{id}")).await.body["status"] != "done" {
        assert!(Instant::now() < until, "not sent: {}", service.lanes().get(fcm::LANE).await);
        service.lanes().retry(fcm::LANE).await;
        sleep(Duration::from_millis(200)).await;
    }
    assert_untouched(service, id, DEVICES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_subject_token_is_tried_before_the_old_one_goes() {
    let mut workload = Workload::set().await;
    workload.configure(Way::File);
    workload.service.node(Role::All).await;
    let service = &workload.service;
    let first = workload.send("first-").await;
    assert_untouched(service, &first, DEVICES).await;
    let before: BTreeSet<_> = shown(&service.ledger(), Provider::Fcm).into_iter().collect();

    // One that Google refuses is told, and costs nothing.
    workload.show("eyJhbGciOiJSUzI1NiJ9.unknown.x");
    service.reload().await.unwrap();
    let refused = |ledger: &Ledger| ledger.count(Provider::Oauth, 400, "invalid_grant") > 0;
    assert!(service.ledger().wait_until(WAIT_MAX, refused).await, "it is tried");
    let second = workload.send("second-").await;
    assert_untouched(service, &second, DEVICES).await;
    assert!(shown(&service.ledger(), Provider::Fcm).iter().all(|shown| before.contains(shown)));

    show_another(&workload);
    service.reload().await.unwrap();
    let sent = async {
        for number in 0.. {
            let id = service.notifications().send(hello(fcm_targets(&format!("third-{number}-"), 1))).await;
            assert_ended(&service.notifications().outcome(&id).await, "accepted", 1, None);
        }
    };
    tokio::select! {
        () = sent => unreachable!("it goes on"),
        () = until_renewed(service, Provider::Fcm, &before) => {}
    }
    assert_eq!(service.database.count(SUSPENDED).await, 0);
    for message in [
        "no new FCM access token",
        "provider refuses the new credential",
        "lane is suspended",
        "lane stays suspended",
        "lane stops sending",
    ] {
        workload.service.expect_log(message);
    }
    workload.service.stop_undecided().await;
}
