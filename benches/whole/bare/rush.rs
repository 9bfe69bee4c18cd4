//! As many requests as a few connections bear.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{anyhow, ensure};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use h2::client::ResponseFuture;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::link::Link;
use super::push::Push;

/// What is to be done by all connections together.
struct Work {
    next: AtomicU64,
    requests: u64,
}

impl Work {
    /// The number of another request, if there is one to be made.
    fn take(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.requests).then_some(number)
    }

    fn is_over(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.requests
    }
}

/// Makes so many requests, `in_flight` at once on each connection. From the first to the last answer.
pub(super) async fn run(
    links: Vec<Link>,
    push: &Push,
    requests: u64,
    in_flight: usize,
) -> anyhow::Result<(Vec<Link>, Duration)> {
    let work = Arc::new(Work { next: AtomicU64::new(0), requests });
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for link in links {
        tasks.spawn(drive(link, push.clone(), work.clone(), in_flight));
    }
    let mut links = Vec::new();
    while let Some(driven) = tasks.join_next().await {
        links.push(driven??);
    }
    Ok((links, begun.elapsed()))
}

async fn drive(mut link: Link, push: Push, work: Arc<Work>, in_flight: usize) -> anyhow::Result<Link> {
    let mut answers = FuturesUnordered::new();
    poll_fn(|cx| {
        loop {
            // New answers are polled once here too, so that they know which task to wake.
            while let Poll::Ready(Some(answer)) = answers.poll_next_unpin(cx) {
                answer?;
            }
            let before = answers.len();
            while answers.len() < in_flight
                && let Some(answer) = send(&mut link, &push, &work, cx)?
            {
                answers.push(answer_of(answer));
            }
            if answers.len() == before {
                break;
            }
        }
        if answers.is_empty() && work.is_over() {
            return Poll::Ready(Ok(()));
        }
        match link.connection.poll_unpin(cx) {
            Poll::Ready(ended) => Poll::Ready(Err(anyhow!("the connection ended: {ended:?}"))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    drop(answers);
    Ok(link)
}

/// Begins another request, if the peer allows one and there is one.
fn send(
    link: &mut Link,
    push: &Push,
    work: &Work,
    cx: &mut Context<'_>,
) -> anyhow::Result<Option<ResponseFuture>> {
    match link.sender.poll_ready(cx) {
        Poll::Ready(ready) => ready?,
        Poll::Pending => return Ok(None),
    }
    let Some(number) = work.take() else { return Ok(None) };
    let (head, body) = push.request(number);
    let (answer, mut stream) = link.sender.send_request(head, false)?;
    stream.send_data(body, true)?;
    Ok(Some(answer))
}

/// The whole answer, which must be an acceptance.
pub(super) async fn answer_of(answer: ResponseFuture) -> anyhow::Result<()> {
    let response = answer.await?;
    ensure!(response.status() == 200, "the simulator answered {}", response.status());
    let mut body = response.into_body();
    while !body.is_end_stream() {
        let Some(chunk) = body.data().await else { break };
        let length = chunk?.len();
        body.flow_control().release_capacity(length)?;
    }
    Ok(())
}
