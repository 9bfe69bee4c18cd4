//! So many requests a second, whether or not the last one was answered, each measured by itself.

use std::time::Duration;

use anyhow::bail;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use pushpost::domain::NotificationId;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::link::Link;
use super::push::Push;
use super::rush::answer_of;
use crate::clock;

/// Times of one request.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The notification's id, which the simulator has seen too.
    pub(crate) id: String,
    /// When it was handed to the connection, in microseconds since 1970.
    pub(crate) sent_us: i64,
    /// Until the whole answer was there.
    pub(crate) round_trip: Duration,
}

/// When each request of a connection is due.
#[derive(Clone, Copy)]
struct Schedule {
    begin: Instant,
    step: Duration,
    requests: u32,
}

/// `rate` requests a second over all connections.
pub(super) async fn run(
    links: Vec<Link>,
    push: &Push,
    rate: u64,
    time: Duration,
) -> anyhow::Result<Vec<Sample>> {
    let connections = u32::try_from(links.len())?;
    let between = Duration::from_secs_f64(1.0 / rate as f64);
    let step = between * connections;
    let requests = u32::try_from(time.as_nanos() / step.as_nanos())?;
    let mut tasks = JoinSet::new();
    for (number, link) in (0..connections).zip(links) {
        let begin = Instant::now() + between * number;
        tasks.spawn(drive(link, push.clone(), Schedule { begin, step, requests }));
    }
    let mut samples = Vec::new();
    while let Some(driven) = tasks.join_next().await {
        samples.extend(driven??);
    }
    Ok(samples)
}

async fn drive(link: Link, push: Push, schedule: Schedule) -> anyhow::Result<Vec<Sample>> {
    let Link { mut sender, connection } = link;
    let mut connection = connection.fuse();
    let (mut answers, mut samples, mut sent) = (FuturesUnordered::new(), Vec::new(), 0);
    while sent < schedule.requests || !answers.is_empty() {
        tokio::select! {
            biased;
            Some(sample) = answers.next() => samples.push(sample?),
            ended = &mut connection => bail!("the connection ended: {ended:?}"),
            () = sleep_until(schedule.begin + schedule.step * sent), if sent < schedule.requests => {
                let id = NotificationId::new(clock::now());
                let (head, body) = push.named(id).request(u64::from(sent));
                let (sent_us, begun) = (clock::now_us(), Instant::now());
                let (answer, mut stream) = sender.send_request(head, false)?;
                stream.send_data(body, true)?;
                answers.push(async move {
                    answer_of(answer).await?;
                    Ok::<_, anyhow::Error>(Sample { id: id.to_string(), sent_us, round_trip: begun.elapsed() })
                });
                sent += 1;
            }
        }
    }
    Ok(samples)
}
