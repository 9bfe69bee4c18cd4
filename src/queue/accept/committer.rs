//! The loop that commits: all requests that arrived during the commit before, in one statement.

use std::collections::{BTreeMap, HashMap};

use tokio_util::sync::CancellationToken;

use super::session::CommitSession;
use super::{AcceptedNotification, Committer, Error, NewNotification, Request};
use crate::domain::{
    Class, DeviceId, JOB_DEVICES_MAX, Job, LaneId, NodeId, NotificationId, Priority, Reason,
};
use crate::queue::lane_intake::{HandoffPayload, LeasedJob, Reservation};
use crate::store;
use crate::store::SessionPool;
use crate::store::accept::{AcceptBatch, FanOutRow, NotificationRow, StoredJob};
use crate::store::commits::{self, ServerSession};

/// Most requests of one commit.
const REQUESTS_MAX: usize = 256;
/// Most devices of one commit, unless one request alone has more.
const DEVICES_MAX: usize = 20_000;

pub(super) async fn run(mut committer: Committer, stop: CancellationToken) {
    let mut waiting: Vec<Request> = Vec::new();
    let mut kept: Option<CommitSession> = None;
    loop {
        if waiting.is_empty() {
            tokio::select! {
                biased;
                taken = committer.requests.recv_many(&mut waiting, REQUESTS_MAX) => {
                    if taken == 0 {
                        // No acceptor is left: the API ends before this task is told to stop.
                        stop.cancelled().await;
                        return;
                    }
                }
                () = stop.cancelled(), if !committer.requests.is_closed() => committer.requests.close(),
            }
            continue;
        }
        let rest = waiting.split_off(batch_len(&waiting));
        commit(&committer, &mut kept, std::mem::replace(&mut waiting, rest)).await;
    }
}

fn batch_len(requests: &[Request]) -> usize {
    let mut devices = 0;
    let within = requests.iter().take_while(|request| {
        let first = devices == 0;
        devices += request.new.targets.len();
        first || devices <= DEVICES_MAX
    });
    within.count()
}

/// Commits a batch. A poisoned request is found by halving the batch and fails alone (docs/queue.md#poisoned-values).
async fn commit(committer: &Committer, kept: &mut Option<CommitSession>, requests: Vec<Request>) {
    let mut parts = vec![requests];
    let mut may_repeat = true;
    while let Some(mut part) = parts.pop() {
        let Err(error) = commit_part(committer, kept, &mut part).await else { continue };
        if error.is_poison() && part.len() > 1 {
            let right = part.split_off(part.len() / 2);
            parts.extend([right, part]);
        } else if error.is_lost_answer() && std::mem::take(&mut may_repeat) {
            // Nothing of the part is stored, and a new connection may work.
            parts.push(part);
        } else {
            refuse(part, &error);
        }
    }
}

fn refuse(requests: Vec<Request>, error: &store::Error) {
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
struct HandOver {
    reservation: Reservation,
    devices: Vec<DeviceId>,
    payload: HandoffPayload,
    priority: Priority,
}

/// Identifies a job before it has a number, by its first device.
type JobName = (NotificationId, LaneId, DeviceId);

/// The part of a batch that one statement stores.
struct Part {
    /// One id per request, in the same order.
    ids: Vec<NotificationId>,
    node: NodeId,
    batch: AcceptBatch,
    hand_overs: HashMap<JobName, HandOver>,
}

/// Stores a part of a batch and answers its requests. On an error nothing of it is stored and the requests are still in
/// `requests`, except those that turned out to be stored after all: they are answered.
async fn commit_part(
    committer: &Committer,
    kept: &mut Option<CommitSession>,
    requests: &mut Vec<Request>,
) -> Result<(), store::Error> {
    let part = prepare(committer, requests);
    let mut open = CommitSession::take(kept, &committer.pool).await?;
    match store::accept::insert(open.conn(), &part.batch).await {
        Ok((now, jobs)) => {
            *kept = Some(open);
            hand_over(committer, part.hand_overs, part.node, jobs);
            if part.batch.has_fan_outs() {
                committer.notifier.notify_fan_out();
            }
            for (request, id) in requests.drain(..).zip(part.ids) {
                let _gone = request.reply.send(Ok(AcceptedNotification { id, created_at: now }));
            }
            Ok(())
        }
        Err(error) if !error.is_lost_answer() => {
            if error.is_poison() {
                *kept = Some(open);
            }
            Err(error)
        }
        Err(error) => {
            let lost = requests.len();
            let detail = "the rows are looked up";
            tracing::warn!(%error, requests = lost, detail, "answer to a commit is lost");
            let session = open.discard();
            if !answer_found(&committer.pool, &session, requests, &part.ids).await {
                return Err(store::Error::OutcomeUnknown);
            }
            if requests.is_empty() { Ok(()) } else { Err(error) }
        }
    }
}

/// Finds out which requests of a commit are stored after its answer was lost, and answers them. False: this could not
/// be found out.
///
/// The session is ended first, so that what is not found is not stored later either. The jobs of the stored requests
/// are leased to this node, which does not have them in memory: the heartbeat's comparison releases them.
async fn answer_found(
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
    let found: HashMap<NotificationId, _> = found.into_iter().collect();
    let mut missing = Vec::new();
    for (request, id) in requests.drain(..).zip(ids) {
        match found.get(id) {
            Some(created_at) => {
                let _gone = request.reply.send(Ok(AcceptedNotification { id: *id, created_at: *created_at }));
            }
            None => missing.push(request),
        }
    }
    *requests = missing;
    true
}

fn prepare(committer: &Committer, requests: &[Request]) -> Part {
    let node = committer.node_lease.id();
    let now = committer.node_lease.clock().now();
    let mut part = Part {
        ids: Vec::with_capacity(requests.len()),
        node,
        batch: AcceptBatch::default(),
        hand_overs: HashMap::new(),
    };
    for request in requests {
        let id = NotificationId::new(now);
        part.ids.push(id);
        add(committer, &mut part, id, &request.new);
    }
    part
}

fn add(committer: &Committer, part: &mut Part, id: NotificationId, new: &NewNotification) {
    let priority = new.content.priority;
    let by_user = new.targets.iter().any(|target| target.user.is_some());
    part.batch.notification(NotificationRow {
        id,
        app: new.app.id.0,
        priority,
        ttl_secs: new.ttl.as_secs(),
        once: new.ttl.is_once(),
        by_user,
        target_count: new.fan_out.is_none().then_some(new.targets.len()),
        label: new.label.as_deref(),
        metadata: new.metadata.as_deref(),
        unmatched: new.unmatched.as_deref(),
        content: serde_json::to_vec(&*new.content).unwrap_or_default(),
    });
    let window_secs = u32::try_from(new.ttl.window().as_secs()).unwrap_or(u32::MAX);
    if let Some(fan_out) = &new.fan_out {
        part.batch.fan_out(FanOutRow {
            id,
            app: new.app.id.0,
            priority,
            window_secs,
            target_count: new.targets.len(),
            audience: serde_json::to_vec(fan_out).unwrap_or_default(),
        });
    }
    let mut lanes: BTreeMap<LaneId, Vec<DeviceId>> = BTreeMap::new();
    let mut refused: BTreeMap<(LaneId, &str), (&Reason, Vec<DeviceId>)> = BTreeMap::new();
    for target in &new.targets {
        if target.user.is_some() || target.reference.is_some() {
            let user = target.user.as_ref().map(|user| user.as_str());
            part.batch.target(id, target.device, user, target.reference.as_deref());
        }
        match &target.refused {
            Some(reason) => {
                let key = (target.lane, reason.as_str());
                refused.entry(key).or_insert((reason, Vec::new())).1.push(target.device);
            }
            None => lanes.entry(target.lane).or_default().push(target.device),
        }
    }
    for ((lane, _), (reason, mut devices)) in refused {
        devices.sort_unstable();
        for devices in devices.chunks(JOB_DEVICES_MAX) {
            part.batch.refused(id, lane, reason, devices);
        }
    }
    let (content, loaded) = (new.content.clone(), new.loaded.clone());
    let payload = HandoffPayload { content, once: new.ttl.is_once(), by_user, loaded };
    for (lane, mut devices) in lanes {
        devices.sort_unstable();
        for devices in devices.chunks(JOB_DEVICES_MAX) {
            let reservation = reserve(committer, lane, priority, devices.len());
            let node = reservation.is_some().then_some(part.node);
            part.batch.job(id, lane, priority, window_secs, node, devices);
            if let Some(reservation) = reservation {
                let (devices, payload) = (devices.to_vec(), payload.clone());
                let name = (id, lane, devices[0]);
                part.hand_overs.insert(name, HandOver { reservation, devices, payload, priority });
            }
        }
    }
}

/// Reserves room in the lane of this node, before the insert. None also if this node may be declared dead soon, or if
/// its records are behind.
fn reserve(committer: &Committer, lane: LaneId, priority: Priority, devices: usize) -> Option<Reservation> {
    let may_send = committer.recorder.as_ref().is_some_and(|recorder| recorder.has_room())
        && committer.node_lease.may_start(committer.node_lease.id());
    if !may_send {
        return None;
    }
    committer.intakes.get(lane)?.reserve(priority, devices)
}

fn hand_over(
    committer: &Committer,
    mut hand_overs: HashMap<JobName, HandOver>,
    node: NodeId,
    jobs: Vec<StoredJob>,
) {
    for stored in jobs {
        match hand_overs.remove(&(stored.notification, stored.lane, stored.first_device)) {
            Some(HandOver { reservation, devices, payload, priority }) => {
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
                    devices,
                    done: None,
                };
                let leased_job = LeasedJob { job, node, payload: Some(payload) };
                let Some(recorder) = &committer.recorder else { continue };
                recorder.expect(&leased_job);
                if let Err(leased_job) = reservation.hand_over(leased_job) {
                    // The lane has stopped. Dropping the tickets releases the job.
                    drop(recorder.open(*leased_job));
                }
            }
            None => committer.notifier.notify_waiting(stored.lane, Class::Direct, stored.priority),
        }
    }
}
