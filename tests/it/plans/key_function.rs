//! Plans of the statements inside `store_idempotency_keys`, which no connection has prepared by itself.

use pushpost::store::Purpose;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row as _};

use super::plan_judge::PlanJudge;
use pushpost_testkit::database::TestDatabase;

/// Keys of yesterday and of today.
const FILL: &str = "
    insert into idempotency_keys (day, app_id, created_at, key_digest, request_digest, notification_id)
    select (now() at time zone 'UTC')::date - g % 2, 1, now(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid()
    from generate_series(1, 20000) g";

/// As if the tables were so large that parallel workers are worth their start.
const EAGER: &str = "set parallel_setup_cost = 0; set parallel_tuple_cost = 0;
    set min_parallel_table_scan_size = 0; set min_parallel_index_scan_size = 0";

/// The look-ups of the function's body, with its variables as parameters.
fn look_ups(body: &str) -> Vec<String> {
    let variables = [("today", "$1::date"), ("other_day", "$2::date"), ("sought", "$3::uuid[]")];
    let conditions = body.split("if exists (").skip(1).filter_map(|rest| rest.split_once(") then"));
    let of_variables = |condition: &str| {
        let words: Vec<_> = condition.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        let replaced = words.into_iter().map(|word| {
            let name = word.trim_end_matches(|c: char| !(c.is_alphanumeric() || c == '_'));
            let parameter = variables.iter().find(|(variable, _)| *variable == name);
            parameter.map_or(word.to_owned(), |(_, parameter)| word.replacen(name, parameter, 1))
        });
        replaced.collect::<String>()
    };
    conditions.map(|(condition, _)| format!("select exists ({})", of_variables(condition))).collect()
}

#[tokio::test]
async fn keys_of_the_day_before_are_looked_up_by_their_index_and_without_workers() {
    let db = TestDatabase::create().await;
    let pool = db.pool_for(Purpose::AcceptKeyed, 1);
    let body: String =
        sqlx::query_scalar("select prosrc from pg_proc where proname = 'store_idempotency_keys'")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    let look_ups = look_ups(&body);
    assert_eq!(look_ups.len(), 1, "{look_ups:?}");
    db.execute(FILL).await;
    let judge = PlanJudge::new(&db.pool).await;
    let mut conn = pool.acquire().await.unwrap();
    sqlx::raw_sql(EAGER).execute(&mut conn).await.unwrap();
    let prepare = format!("prepare look_up as {}", look_ups[0]);
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut conn).await.unwrap();
    let explain = "explain (format json, costs off)
        execute look_up((now() at time zone 'UTC')::date, (now() at time zone 'UTC')::date - 1, null)";
    let row = sqlx::raw_sql(explain).fetch_one(&mut conn).await.unwrap();
    let plan: Value = serde_json::from_str(&row.try_get_unchecked::<String, _>(0).unwrap()).unwrap();
    let mut faults = Vec::new();
    judge.look(&plan, &mut |fault| faults.push(fault));
    let text = plan.to_string();
    assert!(faults.is_empty(), "{faults:?} of {text}");
    assert!(text.contains("idempotency_keys_") && text.contains("Index Cond"), "{text}");
    assert!(!text.contains("Gather"), "{text}");
}
