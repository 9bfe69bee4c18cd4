//! The rules, each a function from one file to what is wrong with it.

use crate::source::{Path, Source, module_name};

/// A module, its layer, and those of its own layer that it may import all the same.
struct Layer(&'static str, u8, &'static [&'static str]);

/// Every folder of `src/provider` that has no row of its own. So a new provider needs no row.
const PROVIDERS: &str = "provider::*";

/// The table of ARCHITECTURE.md. A module imports only from the layers below it.
const LAYERS: &[Layer] = &[
    Layer("domain", 0, &[]),
    // Statements and connections are counted where they end.
    Layer("store", 1, &["telemetry"]),
    Layer("provider::transport", 1, &["telemetry"]),
    Layer("settings", 1, &[]),
    Layer("telemetry", 1, &[]),
    Layer("audience", 2, &[]),
    Layer("queue", 2, &[]),
    Layer("pruning", 2, &[]),
    Layer("registry", 2, &[]),
    // What all providers share, and the one type over all of them that a lane holds.
    Layer("provider", 2, &[PROVIDERS]),
    Layer(PROVIDERS, 2, &["provider"]),
    Layer("notifications", 3, &[]),
    Layer("api", 3, &["notifications", "events"]),
    Layer("dispatch", 3, &[]),
    Layer("events", 3, &[]),
    Layer("maintenance", 3, &[]),
    Layer("config", 4, &[]),
    Layer("runtime", 4, &["config"]),
    Layer("cli", 5, &[]),
    Layer("main", 6, &[]),
];

/// Crates that only some modules may name.
const CRATES: &[(&str, &[&str])] = &[
    ("anyhow", &["cli", "runtime"]),
    ("axum", &["api"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("indicatif", &["cli"]),
    ("prometheus_client", &["telemetry"]),
    ("pushpost_embedded_postgres", &["cli", "runtime"]),
    ("pushpost_simulator", &["cli"]),
    ("sd_notify", &["runtime"]),
    // A search by likeness over a long name takes seconds: `domain::nearest` bounds it.
    ("strsim", &["domain"]),
];

/// Crates that do I/O, which `domain` is free of.
const IO: &[&str] = &[
    "axum",
    "h2",
    "http",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "sqlx",
    "tokio",
    "tokio_rustls",
    "tower",
];

/// What runs SQL.
const SQL: &[&str] = &[
    "query",
    "query_as",
    "query_as_with",
    "query_file",
    "query_file_as",
    "query_file_scalar",
    "query_scalar",
    "query_scalar_with",
    "query_unchecked",
    "query_with",
    "raw_sql",
    "migrate",
    "QueryBuilder",
];

/// sqlx's own connections and pools: their statements have no deadline, and they wait for ever for a silent server.
const WITHOUT_DEADLINE: &[&str] =
    &["Pool", "PgPool", "PgPoolOptions", "PoolConnection", "PgConnection", "PgListener"];

/// Where they may be named: in what gives every statement its deadline; where migrations run, which have none; and where
/// the start tries a server, with time limits of its own.
const MAY_WAIT: &[&str] = &[
    "src/store/sessions/",
    "src/store/migrations.rs",
    "src/store/server.rs",
    "src/store/timeline.rs",
    "src/runtime/schema.rs",
    "src/runtime/postgres.rs",
];

/// Reply statuses that are no errors.
const SUCCESS: &[&str] = &["OK", "CREATED", "ACCEPTED", "NO_CONTENT", "NOT_MODIFIED"];

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 100;

/// The modules of the table.
pub(crate) fn module_names() -> impl Iterator<Item = &'static str> {
    LAYERS.iter().map(|layer| layer.0)
}

/// Every rule, over one file.
pub(crate) fn faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let mut add = |line: usize, what: String| faults.push(format!("{}:{line}: {what}", source.path));
    if !source.text.starts_with("//!") {
        add(1, "begins without //! that says why it exists".to_owned());
    }
    shape(source, &mut add);
    words(source, &mut add);
    if source.path.starts_with("src/") {
        for path in &source.paths {
            layer(source, path, &mut add);
            crates(source, path, &mut add);
            sql(source, path, &mut add);
            deadlines(source, path, &mut add);
            statuses(source, path, &mut add);
        }
    }
    faults
}

fn shape(source: &Source, add: &mut impl FnMut(usize, String)) {
    let lines = 1..=source.text.lines().count();
    let own = lines.filter(|line| !source.is_test(*line)).count();
    if own > FILE_LINES {
        add(1, format!("has {own} lines without its tests, more than {FILE_LINES}"));
    }
    for function in source.functions.iter().filter(|function| !source.is_test(*function.lines.start())) {
        let length = function.lines.clone().count();
        if length > FUNCTION_LINES {
            let name = &function.name;
            add(*function.lines.start(), format!("fn {name} has {length} lines, more than {FUNCTION_LINES}"));
        }
    }
}

fn words(source: &Source, add: &mut impl FnMut(usize, String)) {
    for (line, comment) in &source.comments {
        for word in ["TODO", "FIXME", "XXX"] {
            if comment.split(|c: char| !c.is_alphanumeric()).any(|other| other == word) {
                add(*line, format!("says {word}"));
            }
        }
    }
    let texts: Vec<&str> = source.tokens.iter().map(|token| token.text.as_str()).collect();
    let printing = source.is_product() && source.module() != "cli";
    for (at, token) in source.tokens.iter().enumerate() {
        match texts.get(at..).unwrap_or_default() {
            [word @ ("todo" | "unimplemented" | "dbg"), "!", ..] => add(token.line, format!("calls {word}!")),
            [word @ ("println" | "eprintln" | "print" | "eprint"), "!", ..]
                if printing && !source.is_test(token.line) =>
            {
                add(token.line, format!("calls {word}! outside of cli"));
            }
            ["#", "[", "allow", "(", ..] | ["#", "!", "[", "allow", "(", ..] => {
                add(token.line, "silences a lint by allow; use #[expect(lint, reason = \"…\")]".to_owned());
            }
            ["unsafe", ..] => add(token.line, "is unsafe".to_owned()),
            _ => {}
        }
    }
}

fn layer(source: &Source, path: &Path, add: &mut impl FnMut(usize, String)) {
    let from = source.module();
    let inner = match path.segments.split_first() {
        Some((first, inner)) if first == "crate" || (first == "pushpost" && from == "main") => inner,
        _ => return,
    };
    let to = module_name(inner);
    if from == to || to == "lib" {
        return;
    }
    let row = |name: &str| LAYERS.iter().find(|layer| layer.0 == name);
    let find = |name: &str| row(name).or_else(|| row(PROVIDERS).filter(|_| name.starts_with("provider::")));
    let allowed = match (find(&from), find(&to)) {
        (Some(Layer(_, upper, siblings)), Some(Layer(name, lower, _))) => {
            lower < upper && from != "main" || siblings.contains(name) || (from == "main" && *name == "cli")
        }
        _ => false,
    };
    // Rules about devices and lanes are tested with the platforms that there are, which only providers state.
    let states_platform = source.is_test(path.line) && to.starts_with("provider") && from != "domain";
    if !allowed && !states_platform {
        add(path.line, format!("{from} may not import {to}"));
    } else if let Some(provider) = provider_of(&to)
        && !from.starts_with("provider")
        && !source.is_test(path.line)
    {
        add(path.line, format!("names the provider {provider}; ask the port, src/provider/port.rs"));
    }
}

/// The provider with this folder; none for `provider::transport` and for what all providers share.
fn provider_of(module: &str) -> Option<&str> {
    let has_row = LAYERS.iter().any(|layer| layer.0 == module);
    module.strip_prefix("provider::").filter(|_| !has_row)
}

fn crates(source: &Source, path: &Path, add: &mut impl FnMut(usize, String)) {
    let (Some(name), from) = (path.segments.first(), source.module()) else { return };
    if from == "domain" && IO.contains(&name.as_str()) {
        add(path.line, format!("domain does no I/O, so it has no {name}"));
    }
    let owners = CRATES.iter().find(|(owned, _)| owned == name).map(|(_, owners)| *owners);
    if owners.is_some_and(|owners| !owners.contains(&from.as_str())) && !source.is_test(path.line) {
        add(path.line, format!("{from} may not use {name}"));
    }
}

fn sql(source: &Source, path: &Path, add: &mut impl FnMut(usize, String)) {
    let [first, second, ..] = path.segments.as_slice() else { return };
    if first != "sqlx" || !SQL.contains(&second.as_str()) || source.is_test(path.line) {
        return;
    }
    let from = source.module();
    if from != "store" {
        add(path.line, format!("{from} runs SQL, which is store's"));
    }
}

fn deadlines(source: &Source, path: &Path, add: &mut impl FnMut(usize, String)) {
    let may_wait = MAY_WAIT.iter().any(|place| source.path.starts_with(place)) || source.is_test(path.line);
    let Some((first, rest)) = path.segments.split_first() else { return };
    let named = rest.iter().find(|segment| WITHOUT_DEADLINE.contains(&segment.as_str()));
    if let Some(named) = named
        && first == "sqlx"
        && !may_wait
    {
        add(path.line, format!("uses sqlx's {named}, which has no deadlines; use store::SessionPool"));
    }
}

fn statuses(source: &Source, path: &Path, add: &mut impl FnMut(usize, String)) {
    let from = source.module();
    let elsewhere = from == "cli" || from.starts_with("provider");
    let in_errors = source.path.starts_with("src/api/error");
    if elsewhere || in_errors || path.compared || source.is_test(path.line) {
        return;
    }
    let Some(at) = path.segments.iter().position(|segment| segment == "StatusCode") else { return };
    match path.segments.get(at + 1) {
        Some(name) if from == "api" && !SUCCESS.contains(&name.as_str()) => {
            add(path.line, format!("names StatusCode::{name}; reply statuses are api::error's"));
        }
        _ if from != "api" => add(path.line, format!("{from} names reply statuses, which are api's")),
        _ => {}
    }
}
