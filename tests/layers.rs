//! Checks of the structure: imports between modules, the places of SQL and reply statuses, the length and headers of files,
//! the language of comments, and that documents and code agree.
//!
//! The rules are `layers/rules.rs`; `layers/cases.rs` shows that each of them can fail.

#[path = "layers/alerts.rs"]
mod alerts;
#[path = "layers/board.rs"]
mod board;
#[path = "layers/cases.rs"]
mod cases;
#[path = "layers/circles.rs"]
mod circles;
#[path = "layers/dashboard.rs"]
mod dashboard;
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
fn documents_are_plain() {
    let texts = documents::texts(root());
    let prose = texts.iter().filter(|(path, _)| !path.ends_with(".rs"));
    let faults: Vec<_> = prose.flat_map(|(path, text)| language::document_faults(path, text)).collect();
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

/// A test that asserts a code has it as a string.
#[test]
fn every_error_code_occurs_in_a_test() {
    let mut strings = BTreeSet::new();
    for source in sources() {
        let lines = (1..).zip(source.text.lines()).filter(|(line, _)| source.is_test(*line));
        let pieces = lines.flat_map(|(_, text)| text.split('"').skip(1).step_by(2).map(str::to_owned));
        strings.extend(pieces);
    }
    let codes = InputCode::ALL.iter().map(|code| code.as_str());
    let codes = codes.chain(ProblemCode::ALL.iter().map(|code| code.as_str()));
    let untested: Vec<_> = codes.filter(|code| !strings.contains(*code)).collect();
    assert_eq!(untested, [""; 0], "codes that occur in no test");
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
            let module = root().join("tests/it").join(file.replace("::", "/"));
            let files = [module.with_extension("rs"), module.join("mod.rs")];
            let code = files.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap_or_default();
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
fn the_functions_of_a_documented_way_are_in_their_files() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let named = documents::functions_in_files(&text);
    assert!(named.len() > 50, "the tables are read: {named:?}");
    let in_file = |source: Source| {
        let path = source.path;
        source.functions.into_iter().map(move |function| (function.name, path.clone()))
    };
    let known: HashSet<(String, String)> = sources().into_iter().flat_map(in_file).collect();
    let missing: Vec<_> = named.iter().filter(|pair| !known.contains(pair)).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names functions that are not in the file: {missing:?}");
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
fn every_alert_has_its_cases_and_its_section_of_the_runbook() {
    let (count, incomplete) = alerts::incomplete(root());
    assert!(count > 20 && incomplete.is_empty(), "{count} alerts: {incomplete:#?}");
    assert_eq!(alerts::faults_of_a_bare_alert().len(), 6);
}

#[test]
fn the_board_asks_what_prometheus_can_answer() {
    let queries = board::queries(root());
    assert!(queries.len() > 40, "{} queries", queries.len());
    let refused = board::refused(&queries).expect("promtool is installed: scripts/ensure-promtool");
    assert_eq!(refused, None);
    let broken =
        board::refused(&["sum(".to_owned()]).expect("promtool is installed: scripts/ensure-promtool");
    assert!(broken.is_some_and(|said| said.contains("parse error")));
}

#[test]
fn the_board_and_the_alerts_name_metrics_of_the_service() {
    let names = board::names(root());
    let alerts =
        fs::read_to_string(root().join("deploy/prometheus/alerts.yml")).expect("the rules are there");
    for text in board::queries(root()).iter().chain([&alerts]) {
        assert_eq!(board::unknown(text, &names), BTreeSet::new(), "{text}");
    }
    assert_eq!(board::unknown("rate(pushpost_x_bucket[5m])", &names).len(), 1);
}

#[test]
fn the_dashboard_is_short_and_keeps_its_policy() {
    let files = dashboard::files(root());
    assert!(files.len() > 20, "the files of the dashboard are found");
    assert_eq!(dashboard::faults(&files), [""; 0]);
    let plain =
        files.iter().flat_map(|(name, text)| language::document_faults(name, text)).collect::<Vec<_>>();
    assert_eq!(plain, [""; 0]);
    let long = format!("{}\n", "x();\n".repeat(1_501));
    let bad =
        [("a.js".to_owned(), long), ("b.css".to_owned(), "a { src: url(https://x.test/f) }".to_owned())];
    assert_eq!(dashboard::faults(&bad).len(), 4, "{:?}", dashboard::faults(&bad));
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
