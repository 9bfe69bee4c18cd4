//! `pushpost devices import --check` tells the faults that an import of the same file tells, and writes nothing.

use serde_json::{Value, json};

use crate::devices::cli::{Place, text};

/// One line of each kind: right, with a hint that is left out, and with every fault that a line can have.
fn lines() -> String {
    let fcm = |token: &str, more: Value| {
        let mut line = json!({"platform": "fcm", "token": token});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line.to_string()
    };
    let long = fcm("f3", json!({"user": "u".repeat(300 << 10)}));
    let lines = [
        fcm("f1", json!({"user": "u1", "topics": ["news"]})),
        fcm("f2", json!({"locale": "no locale"})),
        "{\"platform\":\"fcm\"".to_owned(),
        String::new(),
        json!({"platform": "apns", "token": "zz", "kind": "x", "envirnment": "sandbox"}).to_string(),
        fcm("f4", json!({"registered_at": "2999-01-01T00:00:00Z"})),
        fcm("f5", json!({"topics": ["t1", "t2", "t3"]})),
        fcm("f6", json!({"topics": ["t1"]})),
        fcm("f7", json!({"topics": ["t2"]})),
        fcm("f8", json!({"topics": ["news", "t1"]})),
        long,
        fcm("f9", json!({"platform": "hms"})),
    ];
    lines.join("\n") + "\n"
}

const CSV: &str =
    "platform,token,user,registered_at\nfcm,f1,u1,\nfcm,f2,u2,2999-01-01T00:00:00Z\napns,zz,u3,\n\"fcm,f4\n";

async fn stored(place: &Place) -> String {
    let sql = "select concat((select count(*) from devices), ' ', (select count(*) from topics), ' ', (select count(*) from apps))";
    sqlx::query_scalar(sql).fetch_one(&place.database.pool).await.unwrap()
}

/// Lines of faults as both print them.
async fn compare(place: &Place, file: &str) {
    let before = stored(place).await;
    let checked = place.run(&format!("import {file} --check --json")).await;
    assert_eq!(checked.status.code(), Some(2), "{checked:?}");
    assert_eq!(stored(place).await, before, "nothing is written");
    let checked: Value = serde_json::from_slice(&checked.stdout).expect("one JSON document");
    let imported = place.run(&format!("import {file} --json")).await;
    let imported: Value = serde_json::from_slice(&imported.stdout).unwrap();
    assert!(!checked["errors"].as_array().unwrap().is_empty());
    for member in ["errors", "lines", "failed", "stopped_at"] {
        assert_eq!(checked[member], imported[member], "{file}: {member}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_and_an_import_tell_the_same_faults() {
    for (file, content) in [("a.ndjson", lines()), ("a.csv", CSV.to_owned())] {
        let place = Place::new(&["shop"]).await;
        place.append("c.toml", "[limits]\ntopics = 2\n");
        place.write(file, &content);
        compare(&place, file).await;
        place.write("right.ndjson", "{\"platform\":\"fcm\",\"token\":\"f1\"}\n");
        let right = place.run("import right.ndjson --check").await;
        assert_eq!(
            (right.status.code(), text(&right.stdout).as_str()),
            (Some(0), "1 line: no fault\n"),
            "{right:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_unknown_columns_does_not_say_that_there_is_no_fault() {
    let place = Place::new(&["shop"]).await;
    place.write("t.csv", "platform,tokn\nfcm,f1\n");
    let checked = place.run("import t.csv --check").await;
    let said = text(&checked.stderr);
    assert_eq!((checked.status.code(), text(&checked.stdout).as_str()), (Some(1), ""), "{said}");
    assert!(
        said.contains("column 2 \"tokn\" is unknown") && said.contains("hint: correct the first line"),
        "{said}"
    );
    let checked = place.run("import t.csv --check --json").await;
    let checked: Value = serde_json::from_slice(&checked.stdout).expect("one JSON document");
    assert_eq!(checked["lines"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_prints_every_fault_with_its_line() {
    let place = Place::new(&["shop"]).await;
    let wrong = |number: usize| format!("{{\"platform\":\"fcm\",\"tken\":\"f{number}\"}}\n");
    place.write("a.ndjson", (0..2_500).map(wrong).collect::<String>());
    let checked = place.run("import a.ndjson --check").await;
    assert_eq!(checked.status.code(), Some(2));
    let printed = text(&checked.stdout);
    assert_eq!(printed.lines().count(), 2_500, "all of them, not the first 1,000");
    assert!(printed.lines().next().unwrap().starts_with("line 1: #/tken: "), "{}", &printed[..200]);
    assert!(printed.lines().last().unwrap().starts_with("line 2500: "));
    assert!(text(&checked.stderr).contains("2500 lines: 2500 with a fault\nhint: nothing was written"));
    let stopped = place.run("import a.ndjson --check --on-error stop --from-line 7 --json").await;
    let stopped: Value = serde_json::from_slice(&stopped.stdout).unwrap();
    assert_eq!(
        (&stopped["failed"], &stopped["stopped_at"], &stopped["errors"][0]["line"]),
        (&json!(1), &json!(7), &json!(7))
    );
}
