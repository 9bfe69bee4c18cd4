//! Judges the plans that Postgres keeps of a connection's statements: none may read all of a table that can be large.

use std::collections::HashMap;

use pushpost::domain::NotificationId;
use pushpost::store::{Session, SessionPool};
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, Row};

/// Tables that can be large. Their partitions and indexes have names that begin with theirs.
const LARGE: [&str; 14] = [
    "jobs",
    "devices",
    "receipts",
    "notifications",
    "subscriptions",
    "user_subscriptions",
    "idempotency_keys",
    "lane_changes",
    "fan_outs",
    "event_outbox",
    "event_ending",
    "event_log",
    "webhook_attempts",
    "webhook_set_aside",
];

/// Tables of which the first rows of an index are read, as many as a limit says: what waits in the order of its numbers.
const READ_IN_ORDER: [&str; 2] = ["event_outbox", "event_ending"];

/// Indexes of which any condition on the first column alone leaves too much to be read: with the condition that must be there
/// too, and what is read without it.
const NARROWED: [(&str, &str, &str); 8] = [
    ("_app_id_notification_id_", "notification_id", "all notifications of an app are read"),
    ("_label_", "label =", "all labels of an app are read"),
    ("lane_changes_pkey", "ended_at", "all changes of a lane are read"),
    ("devices_token", "token_digest", "all devices of an app are read"),
    ("subscriptions_device", "device_id =", "subscriptions to all topics are read"),
    ("webhook_attempts_pkey", "succeeded", "all attempts of a webhook are read"),
    ("fan_outs_waiting", "due_at", "all fan-outs of a priority are read"),
    ("event_log_", "position", "the whole log of an app is read"),
];

/// The plans of what this connection has prepared. Arguments are none but for notifications and times: with an id or a time that no day
/// holds, no partition would be left to look at.
pub(super) async fn kept_plans(conn: &mut Session, id: NotificationId) -> Vec<(String, Value)> {
    let prepared: Vec<(String, String, Vec<String>)> = sqlx::query_as(
        "select name, statement, parameter_types::text[] from pg_prepared_statements
         where statement ~ '\\m(jobs|devices|receipts|notifications|subscriptions|user_subscriptions|idempotency_keys|lane_changes|fan_outs|event_outbox|event_log|webhooks|webhook_attempts|webhook_set_aside)\\M'",
    )
    .persistent(false)
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    let mut plans = Vec::new();
    for (name, statement, types) in prepared.into_iter().filter(|(_, text, _)| !text.contains("pg_prepared"))
    {
        let arguments: Vec<String> = types
            .iter()
            .map(|of| match of.as_str() {
                "uuid" => format!("'{}'::uuid", id.0),
                "timestamp with time zone" => "now()".to_owned(),
                other => format!("null::{other}"),
            })
            .collect();
        let arguments = match arguments.is_empty() {
            true => String::new(),
            false => format!("({})", arguments.join(", ")),
        };
        let explain = format!("explain (format json, costs off) execute \"{name}\"{arguments}");
        let row = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut *conn).await.unwrap();
        let text: String = row.try_get_unchecked(0).unwrap();
        plans.push((statement, serde_json::from_str(&text).unwrap()));
    }
    plans
}

/// What it takes to judge plans.
pub(super) struct PlanJudge {
    /// Of each index, the first column, where it is one.
    leading_columns: HashMap<String, String>,
}

impl PlanJudge {
    pub(super) async fn new(pool: &SessionPool) -> Self {
        let columns: Vec<(String, String)> = sqlx::query_as(
            "select c.relname::text, a.attname::text
             from pg_index i join pg_class c on c.oid = i.indexrelid
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        Self { leading_columns: columns.into_iter().collect() }
    }

    /// Finds scans of a large table that read all of it: without an index, or by one without a condition on its first
    /// column, which walks over all of it, and with `= any` once for each value.
    pub(super) fn look(&self, plan: &Value, fault: &mut impl FnMut(String)) {
        self.look_below(plan, false, fault);
    }

    /// `is_limited`: the node above is a limit, so that a scan ends as soon as it has found so many rows.
    fn look_below(&self, plan: &Value, is_limited: bool, fault: &mut impl FnMut(String)) {
        match plan {
            Value::Array(parts) => parts.iter().for_each(|part| self.look_below(part, is_limited, fault)),
            Value::Object(members) => {
                self.look_at_node(members, is_limited, fault);
                // A result asks its input for no more rows than it is asked for.
                let is_limited = members
                    .get("Node Type")
                    .is_some_and(|node| node == "Limit" || is_limited && node == "Result");
                members.values().for_each(|part| self.look_below(part, is_limited, fault));
            }
            _ => {}
        }
    }

    fn look_at_node(&self, members: &Map<String, Value>, is_limited: bool, fault: &mut impl FnMut(String)) {
        let text = |name| members.get(name).and_then(Value::as_str).unwrap_or_default();
        let (node, table, index) = (text("Node Type"), text("Relation Name"), text("Index Name"));
        let condition = text("Index Cond");
        let is_large = |name: &str| LARGE.iter().any(|of| name.starts_with(of));
        if node == "Seq Scan" && is_large(table) {
            fault(format!("all of {table} is read"));
        }
        let in_order = is_limited && READ_IN_ORDER.contains(&table);
        let leading = self.leading_columns.get(index).filter(|_| is_large(index) && !in_order);
        if leading.is_some_and(|column| !condition.contains(column.as_str())) {
            fault(format!("all of {index} is read: {condition:?}"));
        }
        for (name, needed, what) in NARROWED {
            if index.contains(name) && !condition.contains(needed) {
                fault(format!("{what}: {condition:?}"));
            }
        }
    }
}
