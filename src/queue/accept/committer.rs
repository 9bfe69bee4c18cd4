//! The loop that commits: all requests that arrived during the commit before, in one statement.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::session::CommitSession;
use super::traced;
use super::{AcceptedNotification, CommitterParts, Error, NewNotification, Request};
use crate::domain::{
    Class, DeliveryStatus, DeviceId, FanOut, Job, LaneId, NodeId, NotificationId, Priority,
    ScheduledAudience, TraceContext,
};
use crate::queue::lane_intake::{HandoffPayload, LeasedJob, Reservation};
use crate::store;
use crate::store::SessionPool;
use crate::store::accept::{AcceptBatch, FanOutRow, JobTerms, NotificationRow, StoredJob};
use crate::store::commits::{self, ServerSession};
use crate::telemetry::metrics::{AudienceKind, Metrics};

/// Most notifications of one commit: two batches of the default size, which cost tens of milliseconds.
const NOTIFICATIONS_MAX: usize = 2_000;
/// Most requests that are taken from the channel at once. Each is one notification or a batch.
const REQUESTS_MAX: usize = 256;
/// Most devices of one commit, unless one request alone has more.
const DEVICES_MAX: usize = 20_000;

/// Commits what comes from `requests`, batch by batch.
pub(super) async fn run<C>(
    parts: &CommitterParts,
    mut requests: mpsc::Receiver<Vec<Request>>,
    commit: C,
    stop: &CancellationToken,
) where
    C: AsyncFn(&CommitterParts, &mut Option<CommitSession>, Vec<Request>),
{
    let (mut groups, mut waiting) = (Vec::new(), Vec::new());
    let mut kept: Option<CommitSession> = None;
    loop {
        if waiting.is_empty() {
            tokio::select! {
                biased;
                taken = requests.recv_many(&mut groups, REQUESTS_MAX) => {
                    if taken == 0 {
                        // No acceptor is left: the API ends before this task is told to stop.
                        stop.cancelled().await;
                        return;
                    }
                    waiting.extend(groups.drain(..).flatten());
                }
                () = stop.cancelled(), if !requests.is_closed() => requests.close(),
            }
            continue;
        }
        let rest = waiting.split_off(batch_len(&waiting));
        commit(parts, &mut kept, std::mem::replace(&mut waiting, rest)).await;
    }
}

fn batch_len(requests: &[Request]) -> usize {
    let mut devices = 0;
    let within = requests.iter().take(NOTIFICATIONS_MAX).take_while(|request| {
        let first = devices == 0;
        devices += request.new.targets.len();
        first || devices <= DEVICES_MAX
    });
    within.count()
}

/// Commits a batch. A poisoned request is found by halving the batch and fails alone (docs/queue.md#poisoned-values).
pub(super) async fn commit(parts: &CommitterParts, kept: &mut Option<CommitSession>, requests: Vec<Request>) {
    let mut waiting = vec![requests];
    let mut may_repeat = true;
    while let Some(mut part) = waiting.pop() {
        let Err(error) = commit_part(parts, kept, &mut part).await else { continue };
        if error.is_poison() && part.len() > 1 {
            let right = part.split_off(part.len() / 2);
            waiting.extend([right, part]);
        } else if error.is_lost_answer() && std::mem::take(&mut may_repeat) {
            // Nothing of the part is stored, and a new connection may work.
            waiting.push(part);
        } else {
            refuse(part, &error);
        }
    }
}

/// Answers requests that an error has failed.
pub(super) fn refuse(requests: Vec<Request>, error: &store::Error) {
    let poison = error.is_poison();
    if poison {
        tracing::error!(%error, "a notification can't be stored");
    } else {
        tracing::warn!(%error, requests = requests.len(), "notifications not accepted");
    }
    for request in requests {
        let answer = match error.sqlstate() {
            Some(state) if poison => Error::Poisoned(state),
            _ if poison => Error::Poisoned("unencodable".to_owned()),
            _ if matches!(error, store::Error::OutcomeUnknown) => Error::OutcomeUnknown,
            _ => Error::Unavailable,
        };
        // The caller may have gone away: a client that hung up.
        let _gone = request.reply.send(Err(answer));
    }
}

/// A job that is handed over once it is stored.
pub(super) struct HandOver {
    reservation: Reservation,
    devices: Vec<DeviceId>,
    payload: HandoffPayload,
    priority: Priority,
    trace: Option<TraceContext>,
}

/// Identifies a job before it has a number, by its first device.
pub(super) type JobName = (NotificationId, LaneId, DeviceId);

/// The part of a batch that one statement stores.
pub(super) struct Part {
    /// One id per request, in the same order.
    pub(super) ids: Vec<NotificationId>,
    pub(super) node: NodeId,
    pub(super) batch: AcceptBatch,
    pub(super) hand_overs: HashMap<JobName, HandOver>,
}

/// Stores a part of a batch and answers its requests. On an error nothing of it is stored and the requests are still in
/// `requests`, except those that turned out to be stored after all: they are answered.
async fn commit_part(
    parts: &CommitterParts,
    kept: &mut Option<CommitSession>,
    requests: &mut Vec<Request>,
) -> Result<(), store::Error> {
    let part = prepare(parts, requests);
    let mut open = CommitSession::take(kept, &parts.pool).await?;
    let began = Instant::now();
    match store::accept::insert(open.conn(), &part.batch).await {
        Ok(jobs) => {
            *kept = Some(open);
            let stored = requests.iter().zip(part.ids.iter().copied());
            traced::write_spans(parts, began, part.ids.len(), stored);
            hand_over(parts, part.hand_overs, part.node, jobs);
            if part.batch.has_due_fan_outs() {
                parts.notifier.notify_fan_out();
            }
            parts.metrics.accept.batch_notifications.observe_size(requests.len());
            for (request, id) in requests.drain(..).zip(part.ids) {
                accepted(&parts.metrics, request, id);
            }
            Ok(())
        }
        Err(error) => failed(parts, &parts.pool, kept, open, error, requests, &part.ids).await,
    }
}

/// Counts a notification that is stored, and answers its request. The caller may have gone away.
pub(super) fn accepted(metrics: &Metrics, request: Request, id: NotificationId) {
    let audience = match &request.new {
        NewNotification { scheduled: Some(_), .. } => AudienceKind::Scheduled,
        NewNotification { fan_out: Some(_), .. } => AudienceKind::Broadcast,
        _ => AudienceKind::Direct,
    };
    metrics.accept.app(&request.new.app.name).notifications(audience).inc();
    let _gone = request.reply.send(Ok(AcceptedNotification { id, replayed: None }));
}

/// Finds out what an error of a commit means for its requests, one of each id. Those that are stored all the same are
/// answered and taken from `requests`.
///
/// # Errors
/// Nothing is stored of the requests that are left, except perhaps after [`store::Error::OutcomeUnknown`].
pub(super) async fn failed(
    parts: &CommitterParts,
    pool: &SessionPool,
    kept: &mut Option<CommitSession>,
    open: CommitSession,
    error: store::Error,
    requests: &mut Vec<Request>,
    ids: &[NotificationId],
) -> Result<(), store::Error> {
    if !error.is_lost_answer() {
        if error.is_poison() || error.is_lock_timeout() {
            *kept = Some(open);
        }
        return Err(error);
    }
    let lost = requests.len();
    let detail = "the rows are looked up";
    tracing::warn!(%error, requests = lost, detail, "answer to a commit is lost");
    let session = open.discard();
    if !answer_found(parts, pool, &session, requests, ids).await {
        return Err(store::Error::OutcomeUnknown);
    }
    if requests.is_empty() { Ok(()) } else { Err(error) }
}

/// Finds out which requests of a commit are stored after its answer was lost, and answers them. False: this could not
/// be found out.
///
/// The session is ended first, so that what is not found is not stored later either. The jobs of the stored requests
/// are leased to this node, which does not have them in memory: the heartbeat's comparison releases them.
async fn answer_found(
    parts: &CommitterParts,
    pool: &SessionPool,
    session: &ServerSession,
    requests: &mut Vec<Request>,
    ids: &[NotificationId],
) -> bool {
    if !commits::end(pool, session).await {
        return false;
    }
    let ask = || {
        Box::pin(async move {
            let mut conn = pool.acquire().await?;
            Ok(Some(store::accept::find(&mut conn, ids).await?))
        }) as commits::Lookup<'_, Vec<_>>
    };
    let Some(found) = commits::find_out(ask).await else { return false };
    let found: HashSet<NotificationId> = found.into_iter().collect();
    let mut missing = Vec::new();
    for (request, id) in requests.drain(..).zip(ids) {
        if found.contains(id) {
            count_refused(pool, &request.new);
            accepted(&parts.metrics, request, *id);
        } else {
            missing.push(request);
        }
    }
    *requests = missing;
    true
}

/// Counts the devices of a stored notification that ended at once. Otherwise the statement does, but its answer is lost.
fn count_refused(pool: &SessionPool, new: &NewNotification) {
    let lanes = new.targets.iter().filter(|target| target.refused.is_some()).map(|target| target.lane);
    for lane in lanes.chain(new.rejected_tokens.iter().map(|_| LaneId::NONE)) {
        pool.count_delivery(lane, DeliveryStatus::Rejected, 1);
    }
}

/// Gives each request an id, and reserves room in the lanes of this node.
pub(super) fn prepare(parts: &CommitterParts, requests: &[Request]) -> Part {
    let node = parts.node_lease.id();
    let now = parts.node_lease.clock().now();
    let mut part = Part {
        ids: Vec::with_capacity(requests.len()),
        node,
        batch: AcceptBatch::default(),
        hand_overs: HashMap::new(),
    };
    for request in requests {
        let id = NotificationId::new(now);
        part.ids.push(id);
        add(parts, &mut part, id, &request.new);
    }
    part
}

fn add(parts: &CommitterParts, part: &mut Part, id: NotificationId, new: &NewNotification) {
    let priority = new.content.priority;
    let by_user = new.targets.iter().any(|target| target.user.is_some());
    part.batch.notification(NotificationRow {
        id,
        app: new.app.id.0,
        priority,
        send_at: new.send_at.named(),
        ttl_secs: new.ttl.as_secs(),
        once: new.ttl.is_once(),
        by_user,
        target_count: new.target_count(),
        label: new.label.as_deref(),
        metadata: new.metadata.as_deref(),
        unmatched: new.unmatched.as_deref(),
        content: serde_json::to_vec(&*new.content).unwrap_or_default(),
        trace_id: new.trace.map(|trace| trace.trace_id()),
    });
    let trace = new.job_trace(id);
    let window_secs = u32::try_from(new.ttl.window().as_secs()).unwrap_or(u32::MAX);
    if let Some(LaterAudience { send_at, format, stored }) = later_audience(new) {
        part.batch.fan_out(FanOutRow {
            id,
            app: new.app.id.0,
            priority,
            send_at,
            window_secs,
            target_count: new.known_target_count(),
            format,
            audience: stored.unwrap_or_default(),
            trace,
        });
    }
    let (content, loaded) = (new.content.clone(), new.loaded.clone());
    let payload = HandoffPayload { content, once: new.ttl.is_once(), by_user, loaded };
    let terms = JobTerms { priority, due_at: None, window_secs, trace };
    let Part { node, batch, hand_overs, .. } = part;
    batch.targets(id, terms, &new.targets, &new.rejected_tokens, |lane, devices| {
        let reservation = reserve(parts, lane, priority, devices.len())?;
        let (name, devices) = ((id, lane, devices[0]), devices.to_vec());
        hand_overs.insert(name, HandOver { reservation, devices, payload: payload.clone(), priority, trace });
        Some(*node)
    });
}

/// The part of an audience that is resolved after the answer.
struct LaterAudience {
    /// None: it is resolved now, page by page.
    send_at: Option<DateTime<Utc>>,
    format: i16,
    stored: serde_json::Result<Vec<u8>>,
}

fn later_audience(new: &NewNotification) -> Option<LaterAudience> {
    if let Some(audience) = &new.scheduled {
        let (send_at, format) = (new.send_at.later(), ScheduledAudience::FORMAT);
        return Some(LaterAudience { send_at, format, stored: serde_json::to_vec(audience) });
    }
    let fan_out = new.fan_out.as_ref()?;
    Some(LaterAudience { send_at: None, format: FanOut::FORMAT, stored: serde_json::to_vec(fan_out) })
}

/// Reserves room in the lane of this node, before the insert. None also if this node may be declared dead soon, or if
/// its records are behind.
fn reserve(parts: &CommitterParts, lane: LaneId, priority: Priority, devices: usize) -> Option<Reservation> {
    let may_send = parts.recorder.as_ref().is_some_and(|recorder| recorder.has_room())
        && parts.node_lease.may_start(parts.node_lease.id());
    if !may_send {
        return None;
    }
    parts.intakes.get(lane)?.reserve(priority, devices)
}

/// Hands stored jobs over to the lanes of this node, and announces the others. What was reserved for jobs that are not
/// stored is free again.
pub(super) fn hand_over(
    parts: &CommitterParts,
    mut hand_overs: HashMap<JobName, HandOver>,
    node: NodeId,
    jobs: Vec<StoredJob>,
) {
    for stored in jobs {
        match hand_overs.remove(&(stored.notification, stored.lane, stored.first_device)) {
            Some(HandOver { reservation, devices, payload, priority, trace }) => {
                let job = Job {
                    id: stored.id,
                    notification: stored.notification,
                    lane: stored.lane,
                    priority,
                    class: Class::Direct,
                    version: 0,
                    attempt: 1,
                    unanswered: 0,
                    in_doubt: false,
                    node_deaths: 0,
                    due_at: stored.due_at,
                    expires_at: stored.expires_at,
                    last_reason: None,
                    environment_probe_since: None,
                    trace,
                    devices,
                    done: None,
                };
                let leased_job = LeasedJob::new(job, node, Some(payload));
                let Some(recorder) = &parts.recorder else { continue };
                recorder.expect(&leased_job);
                if let Err(leased_job) = reservation.hand_over(leased_job) {
                    // The lane has stopped. Dropping the tickets releases the job.
                    drop(recorder.open(*leased_job));
                }
            }
            None => parts.notifier.notify_waiting(stored.lane, Class::Direct, stored.priority),
        }
    }
}
