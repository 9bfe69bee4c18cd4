//! The loop that commits: as many requests as arrived during the previous commit, in one statement.

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

/// Most requests, and about the most devices, of one commit.
const MOST_REQUESTS: usize = 256;
const MOST_DEVICES: usize = 20_000;

pub(super) async fn run(mut committer: Committer, stop: CancellationToken) {
    let mut waiting: Vec<Request> = Vec::new();
    let mut kept: Option<CommitSession> = None;
    loop {
        if waiting.is_empty() {
            tokio::select! {
                biased;
                taken = committer.requests.recv_many(&mut waiting, MOST_REQUESTS) => {
                    if taken == 0 {
                        // Whoever could hand in more is gone: the API ends before this task is told to.
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
        first || devices <= MOST_DEVICES
    });
    within.count()
}

/// Commits a batch; a poisoned request is found by halving and fails alone (docs/queue.md#poisoned-values).
async fn commit(committer: &Committer, kept: &mut Option<CommitSession>, requests: Vec<Request>) {
    let mut parts = vec![requests];
    let mut may_repeat = true;
    while let Some(mut part) = parts.pop() {
        let Err(error) = commit_part(committer, kept, &mut part).await else { continue };
        if error.is_poison() && part.len() > 1 {
            let right = part.split_off(part.len() / 2);
            parts.extend([right, part]);
        } else if error.is_lost_answer() && std::mem::take(&mut may_repeat) {
            // Nothing of it is stored, and a new connection may work.
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
        // A caller that has gone away needs no answer.
        let _gone = request.reply.send(Err(answer));
    }
}

/// A job that is to be handed over once it is stored.
struct HandOver {
    slot: Reservation,
    devices: Vec<DeviceId>,
    known: HandoffPayload,
    priority: Priority,
}

type JobName = (NotificationId, LaneId, DeviceId);

struct Part {
    ids: Vec<NotificationId>,
    lease: NodeId,
    batch: AcceptBatch,
    slots: HashMap<JobName, HandOver>,
}

/// Stores and answers a part of a batch. On an error nothing of it is stored and the requests are still there, except
/// those that turn out to be stored after all.
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
            hand_over(committer, part.slots, part.lease, jobs);
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
            tracing::warn!(%error, requests = requests.len(), "the answer to a commit was lost; asking what became of it");
            let session = open.discard();
            if !answer_found(&committer.pool, &session, requests, &part.ids).await {
                return Err(store::Error::OutcomeUnknown);
            }
            if requests.is_empty() { Ok(()) } else { Err(error) }
        }
    }
}

/// The answer to a COMMIT may have been lost, not the commit. The session is ended first, so that what is not found is not
/// stored later either. Requests that are found were accepted; their jobs are leased to this node without its knowledge, and
/// the node's reconciliation releases them. False: it could not be found out.
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
    let lease = committer.node_lease.id();
    let now = committer.node_lease.clock().now();
    let mut part = Part {
        ids: Vec::with_capacity(requests.len()),
        lease,
        batch: AcceptBatch::default(),
        slots: HashMap::new(),
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
        life_secs: new.ttl.as_secs(),
        once: new.ttl.is_once(),
        by_user,
        targets: new.fan_out.is_none().then_some(new.targets.len()),
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
            targets: new.targets.len(),
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
    let known = HandoffPayload { content, once: new.ttl.is_once(), by_user, loaded };
    for (lane, mut devices) in lanes {
        devices.sort_unstable();
        for devices in devices.chunks(JOB_DEVICES_MAX) {
            let slot = reserve(committer, lane, priority, devices.len());
            let node = slot.is_some().then_some(part.lease);
            part.batch.job(id, lane, priority, window_secs, node, devices);
            if let Some(slot) = slot {
                let hand_over = HandOver { slot, devices: devices.to_vec(), known: known.clone(), priority };
                part.slots.insert((id, lane, devices[0]), hand_over);
            }
        }
    }
}

/// Room in the lane here, reserved before the insert: only while this node lives well and records are not behind.
fn reserve(committer: &Committer, lane: LaneId, priority: Priority, devices: usize) -> Option<Reservation> {
    let able = committer.recorder.as_ref().is_some_and(|recorder| recorder.has_room())
        && committer.node_lease.may_start(committer.node_lease.id());
    if !able {
        return None;
    }
    committer.intakes.get(lane)?.reserve(priority, devices)
}

fn hand_over(
    committer: &Committer,
    mut slots: HashMap<JobName, HandOver>,
    lease: NodeId,
    jobs: Vec<StoredJob>,
) {
    for stored in jobs {
        match slots.remove(&(stored.notification, stored.lane, stored.first_device)) {
            Some(HandOver { slot, devices, known, priority }) => {
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
                let held = LeasedJob { job, node: lease, known: Some(known) };
                let Some(recorder) = &committer.recorder else { continue };
                recorder.expect(&held);
                if let Err(held) = slot.hand_over(held) {
                    // Its tickets are dropped, which releases the job.
                    drop(recorder.open(*held));
                }
            }
            None => committer.notifier.notify_waiting(stored.lane, Class::Direct, stored.priority),
        }
    }
}
