//! `docs/lane_states.md` says what the state machine does.

use std::path::Path;

use super::table::{STATES, TABLE};
use crate::dispatch::health::{RETRY_AFTER_MAX, SETTLE_TIME, SUSPENDED_PROBE_INTERVAL, WAIT_MAX, WAIT_MIN};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The table as it stands on the page.
fn rendered() -> String {
    let row = |first: &str, cells: &[&str]| format!("| {first} | {} |\n", cells.join(" | "));
    let mut table = row("event", &STATES) + &row("---", &["---"; STATES.len()]);
    for (event, cells) in TABLE {
        table += &row(event, cells);
    }
    table
}

#[test]
fn the_page_has_the_table_of_the_state_machine() {
    let table = rendered();
    assert!(
        read("docs/lane_states.md").contains(&table),
        "docs/lane_states.md has another table; it has to be:\n{table}"
    );
}

#[test]
fn the_page_has_the_pauses_of_the_state_machine() {
    let page = read("docs/lane_states.md");
    for stated in [
        format!(
            "| first | {} s, doubled by each failed probe, at most {} s |",
            WAIT_MIN.as_secs(),
            WAIT_MAX.as_secs()
        ),
        format!("| that time, at most {} h |", RETRY_AFTER_MAX.as_secs() / 3600),
        format!("| suspended | at least {} s |", SUSPENDED_PROBE_INTERVAL.as_secs()),
        format!("is ignored for {} s after", SETTLE_TIME.as_secs()),
    ] {
        assert!(page.contains(&stated), "docs/lane_states.md does not say: {stated}");
    }
}

/// An arrow of the diagram is an event of the table's that leads from the one state to the other.
#[test]
fn the_diagram_has_an_arrow_for_every_change_of_state_and_no_other() {
    let plain = |cell: &'static str| cell.split(" (").next().unwrap_or(cell);
    let mut expected: Vec<(&str, &str)> = Vec::new();
    for (_, cells) in TABLE {
        let moves = STATES.iter().zip(cells).map(|(from, to)| (plain(from), plain(to)));
        expected.extend(moves.filter(|(from, to)| *to != "-" && from != to));
    }
    expected.sort_unstable();
    expected.dedup();
    let page = read("docs/lane_states.md");
    let diagram = page.split("```mermaid").nth(1).and_then(|rest| rest.split("```").next());
    let arrows = diagram.expect("the page has a diagram").lines().filter_map(|line| line.split_once("-->"));
    let mut drawn: Vec<(&str, &str)> = arrows
        .map(|(from, to)| (from.trim(), to.split(':').next().unwrap_or_default().trim()))
        .filter(|(from, to)| *from != "[*]" && from != to)
        .collect();
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn, expected);
}

#[test]
fn the_state_machine_reads_no_clock_and_takes_no_lock() {
    for file in ["mod.rs", "remote.rs", "transitions.rs"] {
        let code = read(&format!("src/dispatch/health/state/{file}"));
        for impure in ["::now()", ".elapsed()", "Mutex", "Atomic", "tracing::", ".await"] {
            assert!(!code.contains(impure), "{file} has {impure}");
        }
    }
}
