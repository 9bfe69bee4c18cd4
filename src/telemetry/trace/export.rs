//! The thread that exports spans, batch by batch. It has a runtime of its own, so that nothing else waits for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::collector::{Collector, PostError};
use super::span::Span;
use super::{SpanCounts, TraceClock, TraceSettings, message};

/// Spans of one post at most, as OpenTelemetry's SDKs have it.
const BATCH_SPANS: usize = 512;
/// A span waits this long for others of its post. What a killed process held that long is lost.
const BATCH_TIME: Duration = Duration::from_secs(1);
/// Waits before the repeats of a post that was not taken. After them its spans are dropped.
const REPEAT_PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
/// At the shutdown: how long the last posts may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The exporter's thread. Dropping it ends the thread without the spans that wait.
#[derive(Debug)]
pub struct TraceExporter {
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
}

impl TraceExporter {
    /// Starts the thread.
    pub(super) fn start(settings: TraceSettings, waiting: mpsc::Receiver<Span>) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (done, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stopped = stop.clone();
        let work = move || {
            runtime.block_on(Worker::new(settings, waiting).run(stopped));
            // The service may not wait for it any more.
            let _ignored = done.send(());
        };
        std::thread::Builder::new().name("traces".to_owned()).spawn(work)?;
        Ok(Self { stop, ended })
    }

    /// Exports what waits, and ends the thread. Takes 2 s at most; what is left then is dropped.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        let _late = timeout(SHUTDOWN_TIMEOUT, &mut self.ended).await;
    }
}

impl Drop for TraceExporter {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Worker {
    collector: Collector,
    resource: Vec<(String, String)>,
    instance: Arc<dyn Fn() -> String + Send + Sync>,
    clock: TraceClock,
    waiting: mpsc::Receiver<Span>,
    counts: SpanCounts,
    /// The last post failed, and a warning says so.
    is_failing: bool,
}

impl Worker {
    fn new(settings: TraceSettings, waiting: mpsc::Receiver<Span>) -> Self {
        let TraceSettings { endpoint, headers, timeout, resource, instance, tls, clock, counts, .. } =
            settings;
        let collector = Collector::new(endpoint, headers, timeout, tls.as_deref());
        Self { collector, resource, instance, clock, waiting, counts, is_failing: false }
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH_SPANS);
        loop {
            let is_open = tokio::select! {
                () = stop.cancelled() => break,
                is_open = self.collect(&mut batch) => is_open,
            };
            if !is_open && batch.is_empty() {
                return;
            }
            tokio::select! {
                // The last posts have a time limit, which this one shares.
                () = async { stop.cancelled().await; sleep(SHUTDOWN_TIMEOUT).await } => {
                    self.counts.dropped.inc_by(count(&batch));
                }
                () = self.export(&batch) => {}
            }
            batch.clear();
        }
        let last = async {
            loop {
                while batch.len() < BATCH_SPANS
                    && let Ok(span) = self.waiting.try_recv()
                {
                    batch.push(span);
                }
                if batch.is_empty() {
                    return;
                }
                self.export(&batch).await;
                batch.clear();
            }
        };
        let _late = timeout(SHUTDOWN_TIMEOUT, last).await;
    }

    /// Waits for a span, and then for others until the batch is full or [`BATCH_TIME`] is over. False: no more spans come.
    async fn collect(&mut self, batch: &mut Vec<Span>) -> bool {
        if batch.is_empty() {
            match self.waiting.recv().await {
                Some(first) => batch.push(first),
                None => return false,
            }
        }
        let until = Instant::now() + BATCH_TIME;
        while batch.len() < BATCH_SPANS {
            let room = BATCH_SPANS - batch.len();
            tokio::select! {
                () = sleep_until(until) => return true,
                taken = self.waiting.recv_many(batch, room) => if taken == 0 { return false },
            }
        }
        true
    }

    /// Posts a batch, with repeats if that may help.
    async fn export(&mut self, batch: &[Span]) {
        let mut resource = self.resource.clone();
        resource.push(("service.instance.id".to_owned(), (self.instance)()));
        let body = Bytes::from(message::encode(&resource, batch, &self.clock));
        let mut pauses = REPEAT_PAUSES.into_iter();
        loop {
            let error = match self.collector.post(body.clone()).await {
                Ok(refused) => return self.note_taken(count(batch), refused),
                Err(error) => error,
            };
            let asked = match &error {
                PostError::Refused(_) | PostError::TimedOut => None,
                PostError::NoAnswer(_) => Some(Duration::ZERO),
                PostError::Busy(_, wait) => Some(wait.unwrap_or_default()),
            };
            match asked.and_then(|asked| Some(asked.max(pauses.next()?))) {
                Some(pause) => sleep(pause).await,
                None => return self.note_lost(count(batch), &error),
            }
        }
    }

    fn note_taken(&mut self, spans: u64, refused: u64) {
        let refused = refused.min(spans);
        self.counts.exported.inc_by(spans - refused);
        self.counts.dropped.inc_by(refused);
        if refused > 0 {
            tracing::debug!(refused, "the collector refuses spans of a post that it takes");
        }
        if std::mem::take(&mut self.is_failing) {
            tracing::info!("spans are exported again");
        }
    }

    fn note_lost(&mut self, spans: u64, error: &PostError) {
        self.counts.dropped.inc_by(spans);
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                %error,
                detail = "spans are dropped and counted; pushes go on",
                hint = "check telemetry.otlp_endpoint: OTLP over HTTP, mostly port 4318",
                "the collector does not take spans"
            );
        }
    }
}

fn count(batch: &[Span]) -> u64 {
    u64::try_from(batch.len()).unwrap_or(u64::MAX)
}
