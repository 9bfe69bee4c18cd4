//! The figures of docs/operations.md#sizing: what a row takes on disk is measured here; what `make bench` measures is
//! compared with docs/performance.md, from which it comes.

use std::fs;

use pushpost_testkit::json::text;
use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

/// Devices of each provider.
const DEVICES: usize = 8_000;
const BROADCASTS: usize = 6;
const SINGLES: usize = 4_000;
/// How far a measured figure may be from that of the page: fill factors and free pages differ from run to run.
const TOLERANCE: f64 = 0.25;

fn page(name: &str) -> String {
    fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The rows of the tables of a section, as cells.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = page.split_once(&format!("\n{heading}\n")).expect(heading);
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The first number of a text, without its commas.
fn number(text: &str) -> f64 {
    let text = text.replace(',', "");
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap().parse().expect(&text)
}

/// Bytes on disk of a table with its partitions, indexes and long values.
async fn bytes(service: &TestService, tables: &[&str]) -> f64 {
    let tables = tables.iter().map(|table| format!("'{table}'")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "select sum(pg_total_relation_size(part))::bigint
         from (select name::regclass as part from unnest(array[{tables}]) named (name)
               union select relid from unnest(array[{tables}]) named (name), pg_partition_tree(named.name::regclass)) parts"
    );
    service.database.count(&sql).await as f64
}

/// What a number of rows added to these tables, per row.
async fn grown(service: &TestService, tables: &[&str], rows: usize, grow: impl AsyncFnOnce()) -> f64 {
    let before = bytes(service, tables).await;
    grow().await;
    (bytes(service, tables).await - before) / rows as f64
}

/// A token as real ones look: 64 hexadecimal digits for APNs, 163 characters for FCM.
fn token(platform: &str, number: usize) -> String {
    let digest = format!("{:016x}", (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    match platform {
        "apns" => digest.repeat(4),
        _ => format!("{}:APA91b{}", &digest.repeat(2)[..22], &digest.repeat(9)[..134]),
    }
}

async fn import(service: &TestService, platform: &str) {
    let lines: String = (0..DEVICES)
        .map(|number| {
            let (token, user) = (token(platform, number), format!("user-{number}"));
            let device = json!({"platform": platform, "token": token, "user": user, "locale": "de-DE",
                                "timezone": "Europe/Berlin", "app_version": "5.2.0"});
            format!("{device}\n")
        })
        .collect();
    let request =
        service.http.post(service.url("/v1/devices/import")).bearer_auth(service.key("devices").await);
    let request = request.header("content-type", "application/x-ndjson").body(lines);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["created"], DEVICES, "{answer}");
}

async fn broadcast(service: &TestService, platform: &str) {
    let body =
        json!({"to": {"all": true, "platforms": [platform]}, "title": "Sale", "body": "Everything must go"});
    let id = service.notifications().send(body).await;
    let status = service.notifications().until_done(&id).await;
    assert_eq!(status["counts"]["accepted"], DEVICES, "{status}");
}

async fn singles(service: &TestService) {
    let items = |from: usize| {
        let items = (from..from + 1_000).map(|number| {
            json!({"to": {"users": [format!("user-{number}")], "platforms": ["apns"]}, "title": "Order shipped",
                   "body": "Your order is on its way.", "data": {"order": number.to_string()}, "label": "orders"})
        });
        Value::Array(items.collect())
    };
    let mut last = String::new();
    for from in (0..SINGLES).step_by(1_000) {
        let answer = service.post("/v1/notifications/batch", items(from)).await;
        last = text(&answer.body["items"][999]["notification"]["id"]);
    }
    service.notifications().until_done(&last).await;
    let open = "select count(*) from jobs";
    service.database.until_count(open, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_row_takes_on_disk_is_as_the_page_says() {
    let service = TestService::start().await;
    let mut measured = Vec::new();
    for (platform, name) in [("apns", "APNs"), ("fcm", "FCM")] {
        let found = grown(&service, &["devices"], DEVICES, async || import(&service, platform).await).await;
        measured.push((format!("device, {name}"), found));
        // The first one makes pages that are not full.
        broadcast(&service, platform).await;
        let found =
            grown(&service, &["notifications", "receipts", "targets"], BROADCASTS * DEVICES, async || {
                for _ in 0..BROADCASTS {
                    broadcast(&service, platform).await;
                }
            });
        measured.push((format!("delivery of a broadcast, {name}"), found.await));
    }
    let tables = ["notifications", "receipts", "targets"];
    let found = grown(&service, &tables, SINGLES, async || singles(&service).await).await;
    measured.push(("notification to one user with one device".to_owned(), found));

    let page = page("operations.md");
    let rows = rows(&page, "## Sizing");
    for (what, found) in &measured {
        let row = rows.iter().find(|row| row[0] == *what);
        let said = row.map(|row| number(&row[1]));
        // A machine with time to spare writes fewer and longer receipts than the page counts on.
        let least = if what.starts_with("delivery of a broadcast") { 0.5 } else { 1.0 - TOLERANCE };
        let is_near = said.is_some_and(|said| (least..=1.0 + TOLERANCE).contains(&(found / said)));
        assert!(is_near, "{what}: the page says {said:?} bytes, all measured: {measured:?}");
    }
    service.stop().await;
}

#[test]
fn what_a_million_costs_is_as_in_the_figures() {
    let (operations, performance) = (page("operations.md"), page("performance.md"));
    let sizing = rows(&operations, "## Sizing");
    let figures = rows(&performance, "## Figures");
    let costs: Vec<_> = sizing.iter().filter(|row| row.len() == 4).skip(1).collect();
    assert!(costs.len() >= 5, "{sizing:?}");
    for cost in costs {
        let [_, dispatcher, postgres, row] = cost.as_slice() else { unreachable!("four cells") };
        let row = row.trim_matches('`');
        let found = figures.iter().find(|figure| figure[0] == row).unwrap_or_else(|| panic!("no row {row}"));
        let place = found[1].find(" dispatcher + ").unwrap_or_else(|| panic!("no CPU seconds: {found:?}"));
        let (before, after) = found[1].split_at(place);
        let before = before.rsplit(' ').next().unwrap();
        let after = number(after);
        assert_eq!((number(dispatcher), number(postgres)), (number(before), after), "{row}");
    }
}
