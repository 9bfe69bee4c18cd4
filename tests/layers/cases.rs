//! Cases that show that each check of the structure can fail.

use crate::source::Source;
use crate::{circles, documents, language, rules};

/// What is wrong with a file of these lines, without its place.
fn faults_of(path: &str, code: &str) -> Vec<String> {
    let source = Source::read(path, &format!("//! Why.\n{code}"));
    let faults = rules::faults(&source);
    faults.iter().map(|fault| fault.split_once(": ").expect("a place").1.to_owned()).collect()
}

#[test]
fn a_circle_is_found() {
    let part = |name: &str, text: &str| Source::read(&format!("src/dispatch/{name}"), text);
    let lane = part("lane.rs", "//! x\nuse super::worker::Worker;\n");
    let worker = part("worker/mod.rs", "//! x\nuse crate::dispatch::limits::Limit;\n");
    let limits = part("limits.rs", "//! x\nuse crate::domain::Job;\n");
    let without = circles::imports("dispatch", &[lane, worker, limits]);
    assert_eq!(circles::circle(&without), None);
    let lane = part("lane.rs", "//! x\nuse super::worker::Worker;\n");
    let worker = part("worker/mod.rs", "//! x\nfn f() { crate::dispatch::lane::start() }\n");
    let with = circles::imports("dispatch", &[lane, worker]);
    assert_eq!(circles::circle(&with), Some(["lane", "worker", "lane"].map(str::to_owned).to_vec()));
    let own = part("mod.rs", "//! x\nmod lane;\nuse lane::Lane;\n");
    let lane = part("lane.rs", "//! x\nuse super::Setup;\n");
    assert!(circles::circle(&circles::imports("dispatch", &[own, lane])).is_some());
}

#[test]
fn dead_pointers_are_found() {
    let faults = |code: &str, document: &str| {
        let texts = [
            ("src/a.rs", code),
            ("docs/b.md", "# B\n## HTTP/2 rules\n```\n# no heading\n```\n"),
            ("README.md", document),
        ];
        let texts = texts.map(|(path, text)| (path.to_owned(), text.to_owned()));
        documents::dead_pointers(&texts, |path| path == "docs/c.svg")
    };
    let good = "[x](docs/b.md#b) [y](docs/c.svg) [z](https://example.com/#a)";
    assert_eq!(faults("// docs/b.md#b, #http2-rules, and more", good), [""; 0]);
    let dead = "src/a.rs:1: docs/b.md has no heading #";
    assert_eq!(faults("// (docs/b.md#c)", good), [format!("{dead}c")]);
    assert_eq!(faults("// (docs/b.md#b, #no-heading)", good), [format!("{dead}no-heading")]);
    assert_eq!(faults("// docs/d.md#a", good), ["src/a.rs:1: docs/d.md does not exist"]);
    assert_eq!(faults("// docs/b.md 3", good).len(), 1);
    assert_eq!(faults("", "[x](#b)"), ["README.md:1: README.md has no heading #b"]);
    assert_eq!(faults("", "[x](docs/e.md)"), ["README.md:1: docs/e.md does not exist"]);
}

#[test]
fn functions_are_read_from_their_tables() {
    let table = "| functions | file | what |\n|---|---|---|\n| `a`, `b` | `x.rs` | `c` |\n| `a` | `y.rs`, `z.rs` | |\n";
    let read =
        documents::functions_in_files(&format!("| `d` | `w.rs` | e |\n{table}\n| `d` | `w.rs` | e |\n"));
    let pairs = [("a", "x.rs"), ("b", "x.rs"), ("a", "y.rs"), ("a", "z.rs")];
    assert_eq!(read, pairs.map(|(function, file)| (function.to_owned(), file.to_owned())));
}

#[test]
fn words_for_people_and_empty_comments_are_found() {
    let faults = |code: &str| language::faults(&Source::read("src/queue/a.rs", code)).len();
    assert_eq!(faults("// A device that waits.\n/// Seconds since the start.\nfn f() { \"who\"; }"), 0);
    assert_eq!(faults("// The user whose device\n//! who's there\n/* Nobody.\n * He waits. */"), 4);
    assert_eq!(faults("/// The database's.\nfn f() {}"), 1);
    assert_eq!(faults("/// The database's\n/// own clock.\nfn f() {}"), 0);
    assert_eq!(faults("/// Lists.\nfn f() {}\n/// Words.\nfn g() {}"), 2);
    assert_eq!(faults("//// not documentation\n// the same"), 0);
}

#[test]
fn names_with_two_meanings_are_found() {
    let sources = |first: &str, second: &str| {
        let paths = ["src/a.rs", "src/b.rs", "crates/c/src/lib.rs"];
        let codes = [first, second, "pub enum Lane {}"];
        paths.iter().zip(codes).map(|(path, code)| Source::read(path, code)).collect::<Vec<_>>()
    };
    assert_eq!(language::shared_names(&sources("pub struct Lane;", "pub struct Job;")), [""; 0]);
    assert_eq!(language::shared_names(&sources("pub struct Error;", "pub enum Error {}")), [""; 0]);
    assert_eq!(language::shared_names(&sources("pub struct Lane;", "pub(crate) struct Lane;")), [""; 0]);
    assert_eq!(
        language::shared_names(&sources("pub struct Lane;", "\npub type Lane = u8;")),
        ["src/a.rs:1, src/b.rs:2: Lane is public more than once"]
    );
}

#[test]
fn imports_go_down_only() {
    let queue = "src/queue/claim.rs";
    assert_eq!(faults_of(queue, "use crate::store::jobs;\nuse crate::domain::{Lane, Job};"), [""; 0]);
    assert_eq!(faults_of(queue, "use crate::api::State;"), ["queue may not import api"]);
    assert_eq!(faults_of(queue, "use crate::registry;"), ["queue may not import registry"]);
    assert_eq!(faults_of(queue, "use crate::{domain::Lane, runtime::{Role, serve as run}};").len(), 2);
    assert_eq!(faults_of(queue, "fn f() { crate::api::serve(); }"), ["queue may not import api"]);
    assert_eq!(faults_of(queue, "use super::super::api::State;"), ["queue may not import api"]);
    assert_eq!(faults_of(queue, "use super::accept::Accepted;"), [""; 0]);
    assert_eq!(faults_of(queue, "use crate::util::x;"), ["queue may not import util"]);
    assert_eq!(faults_of("src/domain/id.rs", "use crate::store::Row;"), ["domain may not import store"]);
    let platform = "use crate::provider::apns;";
    assert_eq!(faults_of("src/registry/devices.rs", platform), ["registry may not import provider::apns"]);
    assert_eq!(faults_of("src/registry/devices/tests.rs", platform), [""; 0]);
    assert_eq!(faults_of("src/runtime/mod.rs", "use crate::config::Config;"), [""; 0]);
    assert_eq!(
        faults_of("src/config/mod.rs", "use crate::runtime::Role;"),
        ["config may not import runtime"]
    );
}

#[test]
fn an_inline_module_is_one_step_of_super() {
    let tests = "mod tests { use super::super::other::X; use super::*; }";
    assert_eq!(faults_of("src/queue/claim.rs", tests), [""; 0]);
    let deeper = "mod tests { use super::super::super::api::X; }";
    assert_eq!(faults_of("src/queue/claim.rs", deeper), ["queue may not import api"]);
}

#[test]
fn providers_share_the_transport_and_know_each_other_not() {
    let apns = "src/provider/apns/send.rs";
    assert_eq!(
        faults_of(apns, "use crate::provider::transport::Pool; use crate::provider::Attempt;"),
        [""; 0]
    );
    assert_eq!(
        faults_of(apns, "use crate::provider::fcm::Quota;"),
        ["provider::apns may not import provider::fcm"]
    );
    assert_eq!(
        faults_of("src/provider/transport/pool.rs", "use crate::provider::{apns, Attempt};"),
        ["provider::transport may not import provider::apns", "provider::transport may not import provider"]
    );
    assert_eq!(
        faults_of("src/provider/mod.rs", "use self::apns::Apns; use crate::provider::fcm::Fcm;"),
        [""; 0]
    );
}

#[test]
fn code_outside_names_no_provider() {
    let runtime = "src/runtime/served.rs";
    let fault = "names the provider fcm; ask the port, src/provider/port.rs";
    assert_eq!(faults_of(runtime, "use crate::provider::{Sender, fcm};"), [fault]);
    assert_eq!(faults_of("src/cli/serve.rs", "fn f() { crate::provider::fcm::LANE; }"), [fault]);
    assert_eq!(faults_of(runtime, "use crate::provider::{AnySettings, transport::PoolStats};"), [""; 0]);
    assert_eq!(faults_of("src/runtime/served/tests.rs", "use crate::provider::fcm;"), [""; 0]);
    assert_eq!(faults_of("src/provider/built_in.rs", "use super::{apns, fcm};"), [""; 0]);
}

#[test]
fn only_commands_and_tests_use_the_simulator() {
    assert_eq!(
        faults_of("src/dispatch/lane.rs", "use pushpost_simulator::X;"),
        ["dispatch may not use pushpost_simulator"]
    );
    assert_eq!(faults_of("src/dispatch/lane/tests.rs", "use pushpost_simulator::X;"), [""; 0]);
    assert_eq!(faults_of("src/cli/demo.rs", "use pushpost_simulator::X;"), [""; 0]);
}

#[test]
fn main_imports_only_cli() {
    assert_eq!(faults_of("src/main.rs", "fn main() { pushpost::cli::main() }"), [""; 0]);
    assert_eq!(
        faults_of("src/main.rs", "fn main() { pushpost::runtime::serve() }"),
        ["main may not import runtime"]
    );
}

#[test]
fn sql_is_in_store() {
    let code = "fn f() { sqlx::query!(\"select 1\"); }";
    assert_eq!(faults_of("src/queue/claim.rs", code), ["queue runs SQL, which is store's"]);
    assert_eq!(faults_of("src/queue/claim.rs", "use sqlx::{PgPool, query};").len(), 2);
    assert_eq!(faults_of("src/store/jobs.rs", code), [""; 0]);
    assert_eq!(faults_of("src/queue/claim/tests.rs", code), [""; 0]);
}

#[test]
fn every_connection_has_deadlines() {
    let fault = "uses sqlx's PgPool, which has no deadlines; use store::SessionPool";
    assert_eq!(faults_of("src/queue/claim.rs", "use sqlx::PgPool;"), [fault]);
    assert_eq!(faults_of("src/api/mod.rs", "fn f(pool: &sqlx::postgres::PgPool) {}"), [fault]);
    for place in ["src/store/sessions/pool.rs", "src/store/migrations.rs", "src/queue/claim/tests.rs"] {
        assert_eq!(faults_of(place, "use sqlx::PgPool;"), [""; 0], "{place}");
    }
}

#[test]
fn reply_statuses_are_chosen_in_one_place() {
    let bad = "fn f() -> StatusCode { StatusCode::BAD_REQUEST }";
    assert_eq!(faults_of("src/api/send.rs", bad).len(), 1);
    assert_eq!(faults_of("src/api/send.rs", "fn f() { http::StatusCode::from_u16(400) }").len(), 1);
    assert_eq!(faults_of("src/api/error.rs", bad), [""; 0]);
    assert_eq!(faults_of("src/api/error/mod.rs", bad), [""; 0]);
    assert_eq!(faults_of("src/api/send.rs", "fn f() { StatusCode::ACCEPTED }"), [""; 0]);
    assert_eq!(faults_of("src/api/send.rs", "fn f() { x == StatusCode::NOT_FOUND }"), [""; 0]);
    assert_eq!(faults_of("src/queue/claim.rs", "fn f() { StatusCode::OK }").len(), 1);
    assert_eq!(faults_of("src/provider/apns/response.rs", bad), [""; 0]);
}

#[test]
fn some_crates_have_owners() {
    assert_eq!(faults_of("src/queue/claim.rs", "use anyhow::Context;"), ["queue may not use anyhow"]);
    assert_eq!(faults_of("src/cli/serve.rs", "use anyhow::Context;"), [""; 0]);
    assert_eq!(faults_of("src/domain/ttl.rs", "async fn f() { tokio::task::yield_now().await }").len(), 1);
    assert_eq!(faults_of("src/domain/ttl.rs", "use http::StatusCode;").len(), 2);
}

#[test]
fn a_file_says_why_it_exists() {
    let source = Source::read("src/domain/x.rs", "use std::fmt;");
    assert_eq!(rules::faults(&source).len(), 1);
}

#[test]
fn files_and_functions_stay_short_but_for_tests() {
    let long = |lines: usize, inside: &str| format!("{inside}{{\n{}}}\n", "    x;\n".repeat(lines - 2));
    assert_eq!(faults_of("src/queue/a.rs", &long(100, "fn f(a: [u8; 2]) ")), [""; 0]);
    assert_eq!(faults_of("src/queue/a.rs", &long(101, "fn f() ")), ["fn f has 101 lines, more than 100"]);
    assert_eq!(faults_of("src/queue/a/tests.rs", &long(101, "fn f() ")), [""; 0]);
    assert_eq!(faults_of("src/queue/a.rs", &long(499, "struct X ")), [""; 0]);
    assert_eq!(faults_of("src/queue/a.rs", &long(500, "struct X ")).len(), 1);
    assert_eq!(faults_of("src/queue/a.rs", &long(600, "#[cfg(test)]\nmod tests ")), [""; 0]);
}

#[test]
fn what_is_left_undone_is_not_left_in_the_code() {
    for code in [
        "// TODO later",
        "/* FIXME */",
        "fn f() { todo!() }",
        "#[allow(dead_code)] fn f() {}",
        "unsafe fn f() {}",
    ] {
        assert_eq!(faults_of("src/queue/a.rs", code).len(), 1, "{code}");
    }
    assert_eq!(faults_of("src/queue/a.rs", "fn f() { println!(); }").len(), 1);
    assert_eq!(faults_of("src/cli/a.rs", "fn f() { println!(); }"), [""; 0]);
}

#[test]
fn text_is_not_code() {
    let code = r####"
        // crate::api::State
        /* /* crate::api */ crate::api::State */
        const A: &str = "crate::api::State // TODO \" todo!()";
        const B: &str = r##"crate::api::State "# todo!()"##;
        const C: [char; 3] = ['"', '\'', '\\'];
        fn f<'a>(x: &'a str) -> &'a [u8] { b"crate::api::State" }
    "####;
    assert_eq!(faults_of("src/queue/a.rs", code), [""; 0]);
    assert_eq!(faults_of("src/queue/a.rs", &format!("{code}\nuse crate::api::State;")).len(), 1);
}

#[test]
fn words_for_people_in_documents_are_found() {
    let faults = |text: &str| language::document_faults("docs/a.md", text);
    assert_eq!(faults("A lane whose node died."), ["docs/a.md:1: says \"whose\"; name the thing"]);
    assert_eq!(faults("# A\n\nNobody has the lease.").len(), 1);
    assert_eq!(faults("For people who run Pushpost. The user `nobody` runs nothing."), [""; 0]);
}
