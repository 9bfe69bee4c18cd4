//! Postgres: version, rights, settings, the schema, partitions, nodes, and what the database says of keys and credentials.

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};

use super::findings::{Finding, Findings};
use super::system::{compare_clocks, now};
use crate::cli::command_error::CommandError;
use crate::cli::output;
use crate::registry::keys;
use crate::runtime::Database;
use crate::store::checkup::{self, ServerCheckup};
use crate::store::keys::KeyRow;
use crate::store::migrations::SchemaState;
use crate::store::webhooks::{self, StoredWebhook};
use crate::store::{self, Session};

/// An open transaction of this age is a warning, because dead rows of the queue stay as long.
const TRANSACTION_AGE_MAX: f64 = 300.0;
/// Days with partitions below which the leader is behind. It makes them a week ahead.
const DAYS_AHEAD_MIN: i64 = 3;
/// An API key that ends within this time is a warning.
const KEY_EXPIRY_WARNING: TimeDelta = TimeDelta::days(14);
/// Names that a line lists.
const NAMED_MAX: usize = 5;

/// What other checks need of the database.
#[derive(Default)]
pub(super) struct DatabaseFacts {
    /// Postgres's time. None: Postgres could not be asked.
    pub(super) clock: Option<DateTime<Utc>>,
    /// All webhooks with the names of their apps.
    pub(super) webhooks: Vec<(String, StoredWebhook)>,
}

/// Checks the database. Where Postgres can't be asked, facts are missing.
pub(super) async fn check(
    database: &Database,
    findings: &mut Findings,
) -> Result<DatabaseFacts, CommandError> {
    let (mut found, mut facts) = (Vec::new(), DatabaseFacts::default());
    if let Err(error) = ask(database, &mut found, &mut facts).await {
        found.push(Finding::fail("postgres", format!("{error:#}")));
    }
    found.into_iter().try_for_each(|finding| findings.add(finding))?;
    Ok(facts)
}

/// Adds what is found, until Postgres answers with an error.
async fn ask(database: &Database, found: &mut Vec<Finding>, facts: &mut DatabaseFacts) -> anyhow::Result<()> {
    let mut conn = database.connection().await?;
    let before = now();
    let server = checkup::server(&mut conn).await.with_context(|| database.place())?;
    let after = now();
    facts.clock = Some(server.clock);
    found.push(Finding::ok("postgres", format!("{} is version {}", database.place(), server.version)));
    found.push(compare_clocks(before, server.clock, after));
    found.push(synchronous_commit(&server));
    found.extend(rights(&server));
    found.push(oldest_transaction(checkup::oldest_transaction(&mut conn).await?));
    let state = database.schema().await?;
    let is_current = state == SchemaState::Current;
    found.push(migrations(state));
    // Tables of another version may lack what is asked for.
    if is_current {
        check_content(&mut conn, server.clock, found).await.with_context(|| database.place())?;
        facts.webhooks = webhooks::list_all(&mut conn).await.with_context(|| database.place())?;
    }
    Ok(())
}

fn synchronous_commit(server: &ServerCheckup) -> Finding {
    let value = &server.synchronous_commit;
    match store::is_durable(value) {
        true => Finding::ok("synchronous_commit", value.clone()),
        false => Finding::warn(
            "synchronous_commit",
            format!("{value} for this role or server; pushpost's own sessions set on"),
        )
        .hint("other programs may lose commits that were answered; pushpost does not"),
    }
}

fn rights(server: &ServerCheckup) -> Vec<Finding> {
    let ServerCheckup { role, schema, may_create, foreign_tables, closed_tables, .. } = server;
    let Some(schema) = schema else {
        let failure =
            Finding::fail("rights", format!("no schema of the search path exists for the role {role}"));
        return vec![failure.hint(format!("create a schema, or alter role {role} set search_path"))];
    };
    let mut findings = Vec::new();
    if !may_create {
        let failure =
            Finding::fail("rights", format!("the role {role} may not create tables in the schema {schema}"));
        findings.push(failure.hint(format!("grant create on schema {schema} to {role}")));
    }
    if !foreign_tables.is_empty() {
        let message = format!("the role {role} does not own {}", named(foreign_tables));
        findings.push(Finding::fail("rights", message).hint(
            "partitions are added by the owner: connect as the owner, or reassign the tables (alter table … owner to)",
        ));
    }
    if !closed_tables.is_empty() {
        let message = format!("the role {role} may not read and write {}", named(closed_tables));
        let hint = format!("grant select, insert, update, delete on all tables in schema {schema} to {role}");
        findings.push(Finding::fail("rights", message).hint(hint));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("rights", format!("the role {role} owns what is in the schema {schema}")));
    }
    findings
}

/// The first names, and how many more there are.
fn named(names: &[String]) -> String {
    let shown = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn oldest_transaction(oldest: Option<store::migrations::BlockingSession>) -> Finding {
    const CHECK: &str = "transactions";
    match oldest {
        Some(oldest) if oldest.seconds > TRANSACTION_AGE_MAX => {
            let message =
                format!("the oldest open transaction has lasted {}: {oldest}", output::age(oldest.seconds));
            let hint = "end it: dead rows of the queue stay as long, and everything becomes slower";
            Finding::warn(CHECK, message).hint(hint)
        }
        Some(oldest) => Finding::ok(CHECK, format!("the oldest has lasted {}", output::age(oldest.seconds))),
        None => Finding::ok(CHECK, "none is open"),
    }
}

fn migrations(state: SchemaState) -> Finding {
    const CHECK: &str = "migrations";
    match state {
        SchemaState::Current => Finding::ok(CHECK, "the schema is up to date"),
        SchemaState::Missing => Finding::warn(CHECK, "the database has no schema of pushpost yet")
            .hint("start pushpost serve, or run pushpost migrate"),
        SchemaState::Older(pending) => {
            let message = format!("{} pending: {}", pending.len(), named(&pending));
            Finding::warn(CHECK, message).hint("start pushpost serve, or run pushpost migrate")
        }
        SchemaState::Newer(versions) => {
            let last = versions.iter().max().copied().unwrap_or_default();
            let message = format!("the schema is newer than this program: it has migration {last}");
            Finding::fail(CHECK, message).hint("use the newer program")
        }
    }
}

/// What the tables of the present schema say.
async fn check_content(
    conn: &mut Session,
    clock: DateTime<Utc>,
    found: &mut Vec<Finding>,
) -> anyhow::Result<()> {
    let first = checkup::first_day_without_partitions(conn).await?;
    found.push(partitions(first.map(|day| (day - clock.date_naive()).num_days())));
    found.push(nodes(&store::nodes::list(conn).await?));
    for lane in checkup::suspended_lanes(conn).await? {
        let at = lane.since.format("%Y-%m-%dT%H:%M:%SZ");
        let message =
            format!("the provider rejected the credential of {} since {at}: {}", lane.name, lane.reason);
        found.push(
            Finding::fail("credential", message).hint("replace the credential; the lane tries it at once"),
        );
    }
    found.extend(api_keys(&keys::list(conn).await?, clock));
    Ok(())
}

/// `ahead`: the number of days from today on that have partitions. None: all that the leader makes.
fn partitions(ahead: Option<i64>) -> Finding {
    const CHECK: &str = "partitions";
    let hint = "the leader makes them a week ahead: look for its warnings in the log, and for pushpost nodes";
    match ahead {
        None => Finding::ok(CHECK, "today and the next 7 days have theirs"),
        Some(..=0) => Finding::fail(CHECK, "today has none, so no notification can be stored").hint(hint),
        Some(days) if days < DAYS_AHEAD_MIN => {
            Finding::warn(CHECK, format!("only {days} days from today on have theirs")).hint(hint)
        }
        Some(days) => Finding::ok(CHECK, format!("{days} days from today on have theirs")),
    }
}

fn nodes(nodes: &[store::nodes::ListedNode]) -> Finding {
    const CHECK: &str = "nodes";
    let living: Vec<_> = nodes.iter().filter(|node| node.dead_at.is_none()).collect();
    let dead: Vec<String> =
        nodes.iter().filter(|node| node.dead_at.is_some()).map(|node| node.name.clone()).collect();
    let leader = living.iter().find(|node| node.leads);
    let leader = leader.map_or_else(|| "none leads".to_owned(), |node| format!("{} leads", node.name));
    let message = format!("{} registered, {leader}", living.len());
    match (living.is_empty(), dead.is_empty()) {
        (true, _) => Finding::warn(CHECK, "none lives, so nothing is sent").hint("start pushpost serve"),
        (false, false) => Finding::warn(CHECK, format!("{message}; dead: {}", named(&dead)))
            .hint("the log of its host says why it ended"),
        (false, true) => Finding::ok(CHECK, message),
    }
}

fn api_keys(all: &[KeyRow], clock: DateTime<Utc>) -> Vec<Finding> {
    const CHECK: &str = "keys";
    let valid =
        || all.iter().filter(|key| key.revoked_at.is_none() && key.expires_at.is_none_or(|end| end > clock));
    if valid().next().is_none() {
        let finding = Finding::warn(CHECK, "there is no valid API key, so every request is refused");
        return vec![finding.hint("pushpost keys create --app APP --scope send makes one")];
    }
    let ending = valid().filter_map(|key| Some((key, key.expires_at?)));
    let ending = ending.filter(|(_, end)| *end < clock + KEY_EXPIRY_WARNING);
    let mut findings: Vec<_> = ending
        .map(|(key, end)| {
            let name = key.name.as_deref().map(|name| format!(" {name:?}")).unwrap_or_default();
            let used = key
                .last_used_at
                .map_or_else(|| "never used".to_owned(), |at| format!("last used {}", at.format("%Y-%m-%d")));
            let day = end.format("%Y-%m-%d");
            let message = format!("the API key {}{name} of {} ends on {day}; {used}", key.id, key.app);
            Finding::warn(CHECK, message)
                .hint("create another key, give it to its users, and revoke this one")
        })
        .collect();
    let oldest = valid().map(|key| key.created_at).min().unwrap_or(clock);
    let age = output::age((clock - oldest).as_seconds_f64());
    findings.push(Finding::ok(CHECK, format!("{} valid API keys, the oldest {age} old", valid().count())));
    findings
}
