//! Reports of nodes about their lanes, and the summaries that operators see.

use chrono::{DateTime, Utc};

use super::{Error, StoredLaneState, StoredPruningGuard};
use crate::domain::{AppId, LaneId, LaneState, NodeId, Priority};
use crate::store::Session;

/// What a node reports about one of its lanes.
#[derive(Clone, PartialEq, Debug)]
pub struct LaneReport {
    /// The lane's number.
    pub lane: LaneId,
    /// Whether the node sends in this lane.
    pub state: LaneState,
    /// The provider's reason for the state.
    pub why: Option<String>,
    /// Milliseconds since the lane entered this state on the node.
    pub since_ms: i64,
    /// Number of attempts under way.
    pub in_flight: i32,
    /// Number of attempts that the node allows itself now.
    pub in_flight_max: i32,
    /// Answers per second since the report before.
    pub rate: f32,
    /// Number of open connections.
    pub connections: i32,
    /// Fingerprint of the credential in use.
    pub credential: Vec<u8>,
    /// The provider's last answer about the credential. None: no answer yet.
    pub credential_ok: Option<bool>,
    /// Milliseconds since that answer.
    pub checked_ms: Option<i64>,
}

/// Stores a node's reports, and returns the stored state of these lanes. One statement, because each node runs it every
/// few seconds.
///
/// If the worst state that living nodes report has changed, it is stored as the lane's state, and with it the lane's history
/// (`lane_changes`). A node that is throttled or broken does not count while another one runs. Nodes that have not read a
/// lane yet report nothing about it.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn report(
    conn: &mut Session,
    node: NodeId,
    reports: &[LaneReport],
) -> Result<Vec<StoredLaneState>, Error> {
    let lanes: Vec<i32> = reports.iter().map(|report| report.lane.0).collect();
    let states: Vec<i16> = reports.iter().map(|report| report.state.code()).collect();
    let whys: Vec<Option<String>> = reports.iter().map(|report| report.why.clone()).collect();
    let since: Vec<i64> = reports.iter().map(|report| report.since_ms).collect();
    let in_flight: Vec<i32> = reports.iter().map(|report| report.in_flight).collect();
    let in_flight_max: Vec<i32> = reports.iter().map(|report| report.in_flight_max).collect();
    let rates: Vec<f32> = reports.iter().map(|report| report.rate).collect();
    let connections: Vec<i32> = reports.iter().map(|report| report.connections).collect();
    let credentials: Vec<Vec<u8>> = reports.iter().map(|report| report.credential.clone()).collect();
    let oks: Vec<Option<bool>> = reports.iter().map(|report| report.credential_ok).collect();
    let checked: Vec<Option<i64>> = reports.iter().map(|report| report.checked_ms).collect();
    let rows = sqlx::query_as!(
        StoredLaneRow,
        r#"
        with new_reports as (
          insert into lane_reports (lane_id, node_id, state, reason, since, in_flight, answers_per_second, connections,
                                    credential, credential_ok, checked_at, in_flight_max, reported_at)
          select lane, $1, state, reason, now() - make_interval(secs => since_ms / 1000.0), in_flight,
                 answers_per_second, connections, credential, ok, now() - make_interval(secs => checked_ms / 1000.0),
                 in_flight_max, now()
          from unnest($2::int[], $3::smallint[], $4::text[], $5::bigint[], $6::int[], $7::real[], $8::int[],
                      $9::bytea[], $10::boolean[], $11::bigint[], $16::int[])
            as incoming(lane, state, reason, since_ms, in_flight, answers_per_second, connections, credential, ok,
                        checked_ms, in_flight_max)
          on conflict (lane_id, node_id) do update set
            state = excluded.state, reason = excluded.reason, since = excluded.since, in_flight = excluded.in_flight,
            answers_per_second = excluded.answers_per_second, connections = excluded.connections,
            credential = excluded.credential, credential_ok = excluded.credential_ok,
            checked_at = excluded.checked_at, in_flight_max = excluded.in_flight_max,
            reported_at = excluded.reported_at),
        own as (
          select * from unnest($2::int[], $3::smallint[], $4::text[], $5::bigint[], $9::bytea[])
            as own(lane_id, state, reason, since_ms, credential)),
        -- The worst state that this node and the other living nodes report; throttled and broken do not count while a
        -- node runs. The new reports are not visible to this statement yet, so this node's own come from the parameters.
        -- The row decides who is suspended: a node with the rejected credential is, or will be once it has read the row, and
        -- with an empty row no node stays suspended.
        worst as materialized (
          select l.lane_id, l.state as stored_state, own.since_ms, own.state as own_state, s.state, s.reason
          from lanes l join own using (lane_id)
          left join lateral (
            select e.state, e.reason
            from (select case when a.credential = l.suspended_fingerprint then greatest(a.state, $15)
                              when a.state = $15 and l.suspended_at is null then $12 else a.state end as state, a.reason
                  from (select own.state, own.reason, own.credential
                        union all
                        select r.state, r.reason, r.credential from lane_reports r join nodes n using (node_id)
                        where r.lane_id = l.lane_id and r.node_id <> $1 and n.dead_at is null) a) e
            where e.state >= $12
            order by e.state in ($13, $14) and bool_or(e.state = $12) over (), e.state desc limit 1) s on true
          where l.lane_id = any($2)),
        locked_lanes as materialized (
          select lane_id from lanes
          where lane_id = any(array(
            select lane_id from worst where state is distinct from stored_state and state is not null))
          order by lane_id for update),
        changed_lanes as (
          update lanes l
          set state = w.state, state_reason = w.reason,
              state_since = case when w.own_state = w.state then now() - make_interval(secs => w.since_ms / 1000.0)
                                 else now() end
          from worst w
          where l.lane_id = any(array(select lane_id from locked_lanes)) and w.lane_id = l.lane_id
            and l.state is distinct from w.state)
        select l.lane_id, l.paused_at, l.suspended_fingerprint, l.suspended_reason, l.retry_requested_at,
               l.guard_engaged_at is not null as "is_guarded!", l.guard_reason, l.guard_covers_certain,
               coalesce(l.guard_confirmed_at <= now() - interval '10 minutes', true) as "is_quiet!",
               (select count(*) from lane_reports r join nodes n using (node_id)
                where r.lane_id = l.lane_id and n.dead_at is null)::int as "nodes!",
               exists (select from told_lanes t
                       where t.lane_id = l.lane_id and t.is_pending and t.told_at <= now() - interval '5 seconds')
                 as "is_change_due!"
        from lanes l where l.lane_id = any($2)
        "#,
        node.0,
        &lanes,
        &states,
        &whys as &[Option<String>],
        &since,
        &in_flight,
        &rates,
        &connections,
        &credentials,
        &oks as &[Option<bool>],
        &checked as &[Option<i64>],
        LaneState::Running.code(),
        LaneState::Throttled.code(),
        LaneState::Broken.code(),
        LaneState::Suspended.code(),
        &in_flight_max,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(StoredLaneRow::into_state).collect())
}

struct StoredLaneRow {
    lane_id: i32,
    paused_at: Option<DateTime<Utc>>,
    suspended_fingerprint: Option<Vec<u8>>,
    suspended_reason: Option<String>,
    retry_requested_at: Option<DateTime<Utc>>,
    is_guarded: bool,
    guard_reason: Option<String>,
    guard_covers_certain: bool,
    is_quiet: bool,
    nodes: i32,
    is_change_due: bool,
}

impl StoredLaneRow {
    fn into_state(self) -> StoredLaneState {
        StoredLaneState {
            lane: LaneId(self.lane_id),
            paused_at: self.paused_at,
            suspended_fingerprint: self.suspended_fingerprint,
            suspended_reason: self.suspended_reason,
            retry_requested_at: self.retry_requested_at,
            nodes: self.nodes.unsigned_abs(),
            pruning_guard: self.is_guarded.then(|| StoredPruningGuard {
                reason: self.guard_reason.unwrap_or_default(),
                certain: self.guard_covers_certain,
                quiet: self.is_quiet,
            }),
            is_change_due: self.is_change_due,
        }
    }
}

/// What waited in a lane when the leader counted (docs/metrics.md).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CountedLane {
    /// Number of devices that waited or were under way, also those that were due later.
    pub devices: i64,
    /// Number of those that were due.
    pub due_devices: i64,
    /// As `oldest_seconds`, of the devices with priority `high`.
    pub oldest_high_seconds: Option<f64>,
    /// Seconds that the device that waited longest had been due.
    pub oldest_seconds: Option<f64>,
    /// The number is an estimate. The seconds are exact.
    pub is_estimated: bool,
    /// Seconds since the leader counted.
    pub age_seconds: f64,
}

/// A lane as operators see it: the reports of all living nodes together, and what waits.
#[derive(Clone, PartialEq, Debug)]
pub struct LaneSummary {
    /// The lane's number.
    pub lane: LaneId,
    /// The worst of what operators decided and nodes report.
    pub state: LaneState,
    /// The provider's reason for the state.
    pub why: Option<String>,
    /// When the lane entered this state.
    pub since: Option<DateTime<Utc>>,
    /// What the leader counted last. None: no leader has counted since the lane was added.
    pub waiting: Option<CountedLane>,
    /// Number of attempts under way.
    pub in_flight: i64,
    /// Number of attempts that all nodes allow themselves now. None: no node has reported it.
    pub in_flight_max: Option<i64>,
    /// Answers per second.
    pub rate: f64,
    /// Number of open connections.
    pub connections: i64,
    /// Fingerprint of the credential in use. If nodes differ: of the rejected one.
    pub credential: Option<Vec<u8>>,
    /// The provider's last answer about the credential, the worst of all nodes. None: no answer yet.
    pub credential_ok: Option<bool>,
    /// When the provider gave that answer.
    pub checked_at: Option<DateTime<Utc>>,
    /// Some: the pruning guard is engaged, for this reason.
    pub braked: Option<String>,
    /// When the pruning guard was engaged.
    pub braked_at: Option<DateTime<Utc>>,
}

/// The lanes of an app. No job is counted: what waits is what the leader counted last.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn summaries(conn: &mut Session, app: AppId) -> Result<Vec<LaneSummary>, Error> {
    let rows = sqlx::query!(
        r#"
        with app_lanes as materialized (select * from lanes where app_id = $1),
        waiting as (
          select lane_id, sum(due_devices + scheduled_devices + backoff_devices)::bigint as devices,
                 sum(due_devices)::bigint as due_devices,
                 extract(epoch from max(read_at - oldest_due_at) filter (where priority = $5))::float8
                   as oldest_high_seconds,
                 extract(epoch from max(read_at - oldest_due_at))::float8 as oldest_seconds,
                 bool_or(is_estimated) as is_estimated,
                 extract(epoch from now() - min(read_at))::float8 as age_seconds
          from lane_figures where lane_id in (select lane_id from app_lanes) group by lane_id),
        reports as (
          select lane_id, r.state, r.reason, r.since, r.in_flight, r.in_flight_max, r.answers_per_second, r.connections, r.credential,
                 r.credential_ok, r.checked_at
          from lane_reports r join nodes n using (node_id) where n.dead_at is null)
        select l.lane_id, l.paused_at, l.suspended_at, l.suspended_fingerprint, l.suspended_reason,
               l.retry_requested_at, l.guard_engaged_at, l.guard_reason, l.state as stored_state, l.state_since,
               waiting.devices as "waiting_devices?", waiting.oldest_seconds as "oldest_seconds?",
               waiting.due_devices as "due_devices?", waiting.oldest_high_seconds as "oldest_high_seconds?",
               waiting.is_estimated as "is_estimated?", waiting.age_seconds as "age_seconds?",
               (select coalesce(sum(in_flight), 0) from reports r where r.lane_id = l.lane_id) as "in_flight!",
               (select sum(in_flight_max) from reports r where r.lane_id = l.lane_id) as in_flight_max,
               (select coalesce(sum(answers_per_second), 0) from reports r where r.lane_id = l.lane_id)::float8 as "rate!",
               (select coalesce(sum(connections), 0) from reports r where r.lane_id = l.lane_id) as "connections!",
               worst.state as "worst_state?", worst.reason as "worst_reason?", worst.since as "worst_since?",
               known.credential as "credential?", known.credential_ok as "credential_ok?",
               known.checked_at as "checked_at?"
        from app_lanes l
        left join waiting on waiting.lane_id = l.lane_id
        left join lateral (select state, reason, since from reports r where r.lane_id = l.lane_id
                           order by state in ($2, $3) and bool_or(state = $4) over (), state desc, since limit 1)
          worst on true
        -- Where nodes differ: the credential that was rejected.
        left join lateral (select credential, credential_ok, checked_at from reports r where r.lane_id = l.lane_id
                           order by credential_ok nulls last, checked_at desc nulls last limit 1) known on true
        order by l.lane_id
        "#,
        app.0,
        LaneState::Throttled.code(),
        LaneState::Broken.code(),
        LaneState::Running.code(),
        Priority::High.code(),
    )
    .fetch_all(conn)
    .await?;
    let seen = rows.into_iter().map(|row| {
        let said = row.worst_state.and_then(LaneState::from_code).unwrap_or(LaneState::Unknown);
        let entered = row.stored_state.and_then(LaneState::from_code);
        let (state, why, since) = if row.paused_at.is_some() {
            (LaneState::Paused, None, row.paused_at)
        } else if said == LaneState::Paused {
            // An operator has just resumed the lane, and a node does not know it yet.
            (LaneState::Running, None, row.retry_requested_at)
        } else if row.suspended_fingerprint.is_some() && row.worst_state.is_none() {
            (LaneState::Suspended, row.suspended_reason, row.suspended_at)
        } else if entered == Some(said) {
            (said, row.worst_reason, row.state_since)
        } else {
            (said, row.worst_reason, row.worst_since)
        };
        LaneSummary {
            lane: LaneId(row.lane_id),
            state,
            why,
            since,
            waiting: row.waiting_devices.zip(row.age_seconds).map(|(devices, age_seconds)| CountedLane {
                devices,
                due_devices: row.due_devices.unwrap_or_default(),
                oldest_high_seconds: row.oldest_high_seconds,
                oldest_seconds: row.oldest_seconds,
                is_estimated: row.is_estimated == Some(true),
                age_seconds,
            }),
            in_flight: row.in_flight,
            in_flight_max: row.in_flight_max,
            rate: row.rate,
            connections: row.connections,
            credential: row.credential,
            credential_ok: row.credential_ok,
            checked_at: row.checked_at,
            braked: row.guard_engaged_at.map(|_| row.guard_reason.unwrap_or_default()),
            braked_at: row.guard_engaged_at,
        }
    });
    Ok(seen.collect())
}

/// True if all living nodes with this lane have reported it paused since the pause began. Also true if no node has the
/// lane.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn is_paused_everywhere(conn: &mut Session, lane: LaneId) -> Result<bool, Error> {
    let paused = LaneState::Paused.code();
    let all = sqlx::query_scalar!(
        r#"
        select coalesce(bool_and(r.state = $2 and r.reported_at >= l.paused_at), true) as "all!"
        from lane_reports r join nodes n using (node_id) join lanes l using (lane_id)
        where r.lane_id = $1 and n.dead_at is null
        "#,
        lane.0,
        paused
    )
    .fetch_one(conn)
    .await?;
    Ok(all)
}
