//! Checks of the structure: imports between modules, the places of SQL and reply statuses, the length and headers of files,
//! the language of comments, and that documents and code agree.
//!
//! The rules are `layers/rules.rs`; the cases below show that each of them can fail.

#[path = "layers/circles.rs"]
mod circles;
#[path = "layers/documents.rs"]
mod documents;
#[path = "layers/language.rs"]
mod language;
#[path = "layers/lexer.rs"]
mod lexer;
#[path = "layers/rules.rs"]
mod rules;
#[path = "layers/source.rs"]
mod source;

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use pushpost::api::error::ProblemCode;
use pushpost::domain::{InputCode, PushpostReason};
use pushpost_simulator::Rule;
use source::Source;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["src", "crates", "tests", "benches"] {
        rust_files(&root().join(folder), &mut files);
    }
    files.sort();
    assert!(files.len() > 30, "the sources are found");
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).expect("a source file is UTF-8");
        let path = file.strip_prefix(root()).expect("it is below the root").to_string_lossy().into_owned();
        Source::read(&path, &text)
    };
    files.iter().map(read).collect()
}

#[test]
fn every_file_keeps_the_rules() {
    let faults: Vec<_> = sources().iter().flat_map(rules::faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn comments_are_plain() {
    let mut faults = Vec::new();
    for source in &sources() {
        let found = language::faults(source).into_iter();
        faults.extend(found.map(|(line, fault)| format!("{}:{line}: {fault}", source.path)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn public_types_have_names_of_their_own() {
    let faults = language::shared_names(&sources());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Modules of which each part can be read without those that use it.
const WITHOUT_CIRCLES: &[&str] = &["dispatch"];

#[test]
fn parts_of_a_module_import_each_other_without_a_circle() {
    let sources = sources();
    for module in WITHOUT_CIRCLES {
        let imports = circles::imports(module, &sources);
        assert!(imports.len() > 3, "the imports of {module} are found: {imports:?}");
        assert_eq!(circles::circle(&imports), None, "{module}: {imports:?}");
    }
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
fn every_error_code_is_documented() {
    let text = fs::read_to_string(root().join("docs/errors.md")).expect("docs/errors.md is there");
    let documented: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let codes: BTreeSet<_> = InputCode::ALL
        .iter()
        .map(|code| code.as_str())
        .chain(ProblemCode::ALL.iter().map(|code| code.as_str()))
        .collect();
    assert_eq!(
        documented.iter().copied().collect::<BTreeSet<_>>(),
        codes,
        "the ### headings of docs/errors.md"
    );
}

#[test]
fn the_documented_reasons_are_those_that_pushpost_gives() {
    let text = fs::read_to_string(root().join("docs/reasons.md")).expect("docs/reasons.md is there");
    let section = text.split("\n## ").find(|section| section.starts_with("Pushpost's reasons"));
    let rows = section.expect("a section for them").lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: Vec<_> = rows.filter_map(|row| row.split('`').next()).collect();
    let given: Vec<_> = PushpostReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(documented, given);
}

#[test]
fn every_fault_names_a_test_that_is_there() {
    let text = fs::read_to_string(root().join("docs/faults.md")).expect("docs/faults.md is there");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault |"));
    let (mut missing, mut named) = (Vec::new(), 0);
    for row in rows {
        let column = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
        let tests: Vec<_> = column.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            missing.push(row.to_owned());
        }
        for test in tests {
            named += 1;
            let (file, name) = test.rsplit_once("::").unwrap_or(("", test));
            let file = root().join("tests/it").join(file.replace("::", "/")).with_extension("rs");
            let code = fs::read_to_string(file).unwrap_or_default();
            if !code.contains(&format!("fn {name}(")) {
                missing.push(test.to_owned());
            }
        }
    }
    // Tests of single parts that the text between the tables names.
    let functions: HashSet<String> =
        sources().into_iter().flat_map(|source| source.functions).map(|f| f.name).collect();
    for line in text.lines().filter(|line| !line.starts_with("| ")) {
        let names = line.split('`').skip(1).step_by(2).filter_map(|name| name.rsplit_once("::"));
        missing.extend(names.filter(|(_, name)| !functions.contains(*name)).map(|(_, name)| name.to_owned()));
    }
    assert!(named > 50, "the table is read: {named}");
    assert!(
        missing.is_empty(),
        "docs/faults.md names no test, or one that is not there:\n{}",
        missing.join("\n")
    );
}

#[test]
fn every_pointer_to_a_document_leads_to_a_heading() {
    let texts = documents::texts(root());
    assert!(texts.len() > 300, "sources and documents are found: {}", texts.len());
    let faults = documents::dead_pointers(&texts, |path| root().join(path).exists());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_setting_is_in_the_example_and_in_the_documentation() {
    let text = |file: &str| fs::read_to_string(root().join(file)).expect("the file is there");
    let example = documents::example_keys(&text("config.example.toml"));
    let documented = documents::documented_keys(&text("docs/configuration.md"));
    assert!(example.len() > 40, "the example is read: {example:?}");
    let missing: Vec<_> = example.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/configuration.md lacks {missing:?}");
    let unknown: Vec<_> = documented.difference(&example).collect();
    assert!(unknown.is_empty(), "docs/configuration.md has keys that config.example.toml lacks: {unknown:?}");
}

#[test]
fn the_script_format_of_the_simulator_is_documented() {
    let text = fs::read_to_string(root().join("docs/simulator.md")).expect("docs/simulator.md is there");
    let (_, json) = text.split_once("```json\n").expect("it has an example of rules");
    let example = json.split_once("```").expect("the example ends").0;
    let rules: Vec<Rule> = serde_json::from_str(example).expect("the example is a script");
    assert!(rules.len() > 1, "{rules:?}");
    let rule = serde_json::to_value(Rule::default()).expect("a rule is JSON");
    for field in rule.as_object().expect("a rule is an object").keys() {
        assert!(text.contains(&format!("`{field}`")), "docs/simulator.md lacks the field {field}");
    }
}

#[test]
fn the_glossary_is_sorted_and_names_what_is_there() {
    let text = fs::read_to_string(root().join("docs/glossary.md")).expect("docs/glossary.md is there");
    let terms = documents::glossary(&text);
    assert!(terms.len() > 60, "the glossary is read: {}", terms.len());
    assert!(terms.windows(2).all(|pair| pair[0].0.to_lowercase() < pair[1].0.to_lowercase()), "it is sorted");
    let mut words: HashSet<String> = HashSet::new();
    for source in sources().iter().filter(|source| !source.path.starts_with("tests/")) {
        words.extend(source.tokens.iter().map(|token| token.text.clone()));
        words.extend(source.path.split(['/', '.']).map(str::to_owned));
    }
    let sql = documents::sql(root());
    let exists = |name: &str| words.contains(name) || sql.contains(name);
    for (term, names) in terms {
        assert!(!names.is_empty(), "{term}: no place in the code");
        let unknown: Vec<_> = names.iter().filter(|name| !name.split("::").all(exists)).collect();
        assert!(unknown.is_empty(), "{term}: the code has no {unknown:?}");
    }
}

#[test]
fn every_path_in_a_document_exists() {
    let exists = |path: &str| root().join(path).exists();
    let documents = documents::texts(root()).into_iter().filter(|(path, _)| path.ends_with(".md"));
    let faults = documents.flat_map(|(path, text)| {
        let found = documents::dead_paths(&text, exists).into_iter();
        found.map(|fault| format!("{path}:{fault}")).collect::<Vec<_>>()
    });
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(
        documents::dead_paths("`src/lib.rs` `src/x.rs` `src/y.rs` (new) `src/*` `x/y`", exists),
        ["1: src/x.rs does not exist"]
    );
}

#[test]
fn every_module_is_on_the_map() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let on_the_map = |name: &str| {
        rows.iter().any(|row| row.split(" |").next().is_some_and(|cell| cell.contains(&format!("`{name}`"))))
    };
    let missing: Vec<_> = rules::module_names().filter(|name| *name != "main" && !on_the_map(name)).collect();
    assert!(missing.is_empty(), "the map in ARCHITECTURE.md lacks {missing:?}");
}

#[test]
fn explained_log_messages_are_in_the_code() {
    let text = fs::read_to_string(root().join("docs/operations.md")).expect("docs/operations.md is there");
    let messages = documents::explained_messages(&text);
    assert!(messages.len() > 30, "the tables are read: {messages:?}");
    let code = sources().into_iter().filter(|source| !source.path.starts_with("tests/"));
    // A literal may go on in the next line.
    let code: String = code
        .flat_map(|source| {
            source.text.split("\\\n").map(str::trim_start).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let unknown: Vec<_> = messages.iter().filter(|message| !documents::is_logged(message, &code)).collect();
    assert!(unknown.is_empty(), "docs/operations.md explains messages that no code logs: {unknown:?}");
    assert!(documents::is_logged("node 7 has stopped beating", "node {node} has stopped beating"));
    assert!(!documents::is_logged("node 7 has stopped beating", "a node is silent"));
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

/// What is wrong with a file of these lines, without its place.
fn faults_of(path: &str, code: &str) -> Vec<String> {
    let source = Source::read(path, &format!("//! Why.\n{code}"));
    let faults = rules::faults(&source);
    faults.iter().map(|fault| fault.split_once(": ").expect("a place").1.to_owned()).collect()
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
fn only_commands_and_tests_use_the_simulator() {
    assert_eq!(
        faults_of("src/dispatch/lane.rs", "use pushpost_simulator::X;"),
        ["dispatch may not use pushpost_simulator"]
    );
    assert_eq!(faults_of("src/dispatch/lane/tests.rs", "use pushpost_simulator::X;"), [""; 0]);
    assert_eq!(faults_of("src/cli/demo.rs", "use pushpost_simulator::X;"), [""; 0]);
}

#[test]
fn the_simulator_and_the_embedded_postgres_do_not_depend_on_pushpost() {
    for name in ["simulator", "embedded-postgres"] {
        let path = root().join("crates").join(name).join("Cargo.toml");
        let manifest = fs::read_to_string(path).expect("the crate is there");
        let dependencies = manifest.split_once("[dependencies]").expect("it has dependencies").1;
        assert!(!dependencies.contains("pushpost"), "{name} depends on {dependencies}");
    }
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
