//! The names, types and labels of all metrics, which are public.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::domain::{Class, LaneId, LaneState, Priority, TraceContext, WebhookOutcome};

/// Metrics with at least one series of each name, as long as the lane is kept.
fn complete() -> (Arc<Metrics>, Arc<LaneMetrics>) {
    let metrics = Metrics::new();
    metrics.http.of_route("/v1/notifications").count("POST", 202);
    metrics.http.refused("queue_full").inc();
    drop(Held::new(&metrics.http.connections("listen")));
    metrics.accept.app("shop").notifications(AudienceKind::Direct).inc();
    let lane = metrics.lanes.lane("shop/fcm");
    lane.attempt_reasons("UNREGISTERED").inc();
    lane.set_stop_reason(Some("PERMISSION_DENIED"));
    lane.set_credential_ok(Some(false));
    lane.pruned("UNREGISTERED").inc();
    lane.set_quota_remaining(0.5);
    drop(metrics.postgres.pool("requests"));
    metrics.node.runtime_lag_seconds(RuntimeName::Api).set(0.001);
    metrics.webhooks.count("shop", "backend", WebhookOutcome::Delivered, Duration::from_millis(5));
    metrics.database.publish(figures(), || true);
    (metrics, lane)
}

fn figures() -> DatabaseFigures {
    let due = Priority::DESCENDING.iter().map(|priority| (*priority, 3, 1.5)).collect();
    let devices = vec![DeviceFigure { platform: "fcm", status: "active", count: 7 }];
    DatabaseFigures {
        lanes: vec![LaneFigures { lane: "shop/fcm".to_owned(), due, ..LaneFigures::default() }],
        apps: vec![AppFigures { app: "shop".to_owned(), devices, ..AppFigures::default() }],
        tables: vec![("jobs".to_owned(), 8192)],
        webhooks: vec![WebhookFigure {
            app: "shop".to_owned(),
            endpoint: "backend".to_owned(),
            state: "active",
            ..WebhookFigure::default()
        }],
        ..DatabaseFigures::default()
    }
}

/// A metric's name, with its type and the names of its labels.
type Described = (String, String, Vec<String>);

/// What an answer in the text format has.
fn exposed(text: &str) -> Vec<Described> {
    let mut metrics: Vec<Described> = Vec::new();
    for line in text.lines() {
        if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, kind) = of.split_once(' ').expect("a name and a type");
            metrics.push((name.to_owned(), kind.to_owned(), Vec::new()));
        } else if !line.starts_with('#') {
            let labels = &mut metrics.last_mut().expect("a type comes first").2;
            let written =
                line.split_once('{').map_or("", |(_, rest)| rest.split_once('}').expect("closed").0);
            let names = written.split("\",").filter_map(|label| label.split('=').next());
            for name in names.filter(|name| !name.is_empty() && *name != "le") {
                if !labels.iter().any(|known| known == name) {
                    labels.push(name.to_owned());
                }
            }
        }
    }
    metrics
}

/// What `docs/metrics.md` has.
fn documented() -> Vec<Described> {
    let rows = include_str!("../../../docs/metrics.md").lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        let is_metric = name.starts_with("pushpost_") || name.starts_with("process_");
        let kind = cells.get(2)?.split(' ').next()?;
        let labels = cells.get(3)?.split(", ").filter(|label| !label.is_empty()).map(str::to_owned);
        is_metric.then(|| (name.to_owned(), kind.to_owned(), labels.collect()))
    });
    rows.collect()
}

#[test]
fn names_types_and_labels_are_as_documented() {
    let (metrics, _lane) = complete();
    let (mut exposed, mut documented) = (exposed(&metrics.expose(Exposition::Text)), documented());
    exposed.sort();
    documented.sort();
    assert_eq!(exposed.len(), documented.len(), "metrics");
    for (exposed, documented) in exposed.iter().zip(&documented) {
        assert_eq!(exposed, documented);
    }
}

#[test]
fn both_forms_have_the_same_samples() {
    let (metrics, _lane) = complete();
    let samples = |form| {
        let text = metrics.expose(form);
        let is_sample = |line: &&str| !line.starts_with('#') && !line.starts_with("process_");
        let mut samples: Vec<String> = text.lines().filter(is_sample).map(str::to_owned).collect();
        samples.sort();
        samples
    };
    assert_eq!(samples(Exposition::Text), samples(Exposition::OpenMetrics));
    let open = metrics.expose(Exposition::OpenMetrics);
    assert!(open.ends_with("# EOF\n"));
    assert!(open.contains("# UNIT pushpost_accept_seconds seconds\n"), "{open}");
    assert!(!metrics.expose(Exposition::Text).contains("# UNIT"));
}

#[test]
fn what_is_known_at_the_start_stands_at_zero() {
    let metrics = Metrics::new();
    let lane = metrics.lanes.lane("shop/apns-production");
    metrics.deliveries.name_lane(LaneId(1), "shop/apns-production");
    let app = metrics.accept.app("shop");
    let text = metrics.expose(Exposition::Text);
    for sample in [
        r#"pushpost_attempts_total{lane="shop/apns-production",outcome="token_doubtful"} 0"#,
        r#"pushpost_deliveries_total{lane="shop/apns-production",status="unknown"} 0"#,
        r#"pushpost_lane_state{lane="shop/apns-production",state="suspended"} 0"#,
        r#"pushpost_notifications_total{app="shop",audience="scheduled"} 0"#,
        r#"pushpost_post_to_provider_seconds_count{priority="high",audience="broadcast"} 0"#,
        r#"pushpost_postgres_errors_total{class="serialization"} 0"#,
        r#"pushpost_log_lines_total{level="error"} "#,
    ] {
        assert!(text.contains(sample), "{sample} in\n{text}");
    }
    assert!(!text.contains(r#"status="pending""#), "it is no final status");
    drop((lane, app));
}

#[test]
fn a_lane_takes_its_series_with_it() {
    let metrics = Metrics::new();
    let lanes = [metrics.lanes.lane("shop/fcm"), metrics.lanes.lane("shop/fcm")];
    lanes[0].attempt_reasons("UNREGISTERED").inc();
    lanes[1].attempt_reasons("UNREGISTERED").inc();
    lanes[1].pruned("UNREGISTERED").inc();
    lanes[0].set_quota_remaining(1.0);
    lanes[0].set_state(LaneState::Throttled);
    lanes[0].set_stop_reason(Some("503"));
    lanes[0].set_stop_reason(Some("RESOURCE_EXHAUSTED"));
    let [last, other] = lanes;
    drop(other);
    let text = metrics.expose(Exposition::Text);
    assert!(text.contains(r#"reasons_total{lane="shop/fcm",reason="UNREGISTERED"} 2"#), "{text}");
    assert!(text.contains(r#"lane_state{lane="shop/fcm",state="throttled"} 1"#), "{text}");
    assert!(text.contains(r#"stop_reason{lane="shop/fcm",reason="RESOURCE_EXHAUSTED"} 1"#), "{text}");
    assert!(!text.contains(r#"reason="503""#), "one reason at a time: {text}");
    drop(last);
    assert!(!metrics.expose(Exposition::Text).contains("shop/fcm"));
}

#[test]
fn invented_reasons_make_no_series_without_limit() {
    let metrics = Metrics::new();
    let lane = metrics.lanes.lane("shop/fcm");
    for n in 0..100 {
        lane.attempt_reasons(&format!("REASON_{n}")).inc();
    }
    let text = metrics.expose(Exposition::Text);
    let reasons = text.lines().filter(|line| line.starts_with("pushpost_attempt_reasons_total{"));
    assert_eq!(reasons.count(), 41);
    assert!(text.contains(r#"reason="other"} 60"#), "{text}");
}

#[test]
fn figures_of_the_database_end_with_the_leadership() {
    let metrics = Metrics::new();
    assert!(!metrics.expose(Exposition::Text).contains("pushpost_nodes"));
    metrics.database.publish(figures(), || true);
    let text = metrics.expose(Exposition::Text);
    assert!(text.contains(r#"pushpost_queue_devices{lane="shop/fcm",priority="high"} 3"#), "{text}");
    metrics.database.withdraw();
    assert!(!metrics.expose(Exposition::Text).contains("pushpost_queue_devices"));
    let leads = Arc::new(AtomicBool::new(true));
    let leads_still = Arc::clone(&leads);
    metrics.database.publish(figures(), move || leads_still.load(Ordering::Acquire));
    assert!(metrics.expose(Exposition::Text).contains("pushpost_queue_devices"));
    leads.store(false, Ordering::Release);
    assert!(!metrics.expose(Exposition::Text).contains("pushpost_queue_devices"), "the scrape asks");
}

#[test]
fn a_refresh_runs_before_each_scrape_until_its_guard_is_dropped() {
    let metrics = Metrics::new();
    let leader = metrics.node.leader.clone();
    let guard = metrics.before_scrape(move || {
        leader.inc();
    });
    assert!(metrics.expose(Exposition::Text).contains("pushpost_leader 1\n"));
    assert!(metrics.expose(Exposition::Text).contains("pushpost_leader 2\n"));
    drop(guard);
    assert!(metrics.expose(Exposition::Text).contains("pushpost_leader 2\n"));
}

#[test]
fn a_traced_push_is_the_exemplar_of_its_bucket_in_openmetrics_alone() {
    let metrics = Metrics::new();
    let trace =
        TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").expect("it is valid");
    for wait in [Duration::from_secs(40), Duration::from_secs(4_000)] {
        metrics.lanes.post_to_provider_seconds(Priority::High, Class::Direct).observe(wait);
        metrics.lanes.note_exemplar(Priority::High, Class::Direct, wait, trace);
    }
    let text = metrics.expose(Exposition::OpenMetrics);
    for (bound, count, wait) in [("60.0", 1, "40.0"), ("+Inf", 2, "4000.0")] {
        let line = format!(
            "pushpost_post_to_provider_seconds_bucket{{le=\"{bound}\",priority=\"high\",audience=\"direct\"}} {count} \
             # {{trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"}} {wait}\n"
        );
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert_eq!(text.matches("trace_id").count(), 2, "{text}");
    assert!(text.ends_with("# EOF\n"));
    assert!(!metrics.expose(Exposition::Text).contains("trace_id"));
}

#[test]
fn waits_are_kept_apart_by_priority_and_class() {
    let metrics = Metrics::new();
    let wait = Duration::from_secs(40);
    metrics.lanes.post_to_provider_seconds(Priority::Low, Class::Bulk).observe(wait);
    metrics.lanes.post_to_provider_seconds(Priority::High, Class::Direct).observe(wait);
    let text = metrics.expose(Exposition::Text);
    for labels in [r#"priority="low",audience="broadcast""#, r#"priority="high",audience="direct""#] {
        assert!(
            text.contains(&format!("pushpost_post_to_provider_seconds_sum{{{labels}}} 40.0\n")),
            "{text}"
        );
        let bucket = format!("pushpost_post_to_provider_seconds_bucket{{le=\"60.0\",{labels}}} 1\n");
        assert!(text.contains(&bucket), "{text}");
    }
}
