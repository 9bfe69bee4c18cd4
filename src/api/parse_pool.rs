//! Parses long bodies on separate threads, a few at a time. So the threads that answer requests, `/healthz` among them,
//! are not blocked, and the memory for parsing is bounded.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Bytes of the longest body that is parsed on the request's own thread. It takes less than a millisecond, for which a
/// change of thread would be slower.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// Permits to parse long bodies.
#[derive(Clone, Debug)]
pub struct ParsePool(Arc<Semaphore>);

impl Default for ParsePool {
    /// As many permits as cores, less one for everything else.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))))
    }
}

impl ParsePool {
    /// Runs `parse` for a body of `bytes`. Long bodies wait for a permit in the order of their arrival. A cancelled
    /// request keeps its permit until `parse` ends, because a blocking thread can't be stopped.
    pub async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        parse: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if bytes <= INLINE_BYTES_MAX {
            return parse();
        }
        let permit = Arc::clone(&self.0).acquire_owned().await.expect("the semaphore is never closed");
        let parsed = spawn_blocking(move || {
            let parsed = parse();
            drop(permit);
            parsed
        });
        match parsed.await {
            Ok(parsed) => parsed,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down, and ends this task.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn long_bodies_are_parsed_on_another_thread() {
        let pool = ParsePool::default();
        let here = thread::current().id();
        assert_eq!(pool.run(INLINE_BYTES_MAX, || thread::current().id()).await, here);
        assert_ne!(pool.run(INLINE_BYTES_MAX + 1, || thread::current().id()).await, here);
    }

    #[tokio::test]
    async fn long_bodies_wait_for_a_permit_and_short_ones_do_not() {
        let pool = ParsePool(Arc::new(Semaphore::new(1)));
        let (end, ended) = mpsc::channel::<()>();
        let reading = Arc::new(AtomicUsize::new(0));
        let (count, most) = (Arc::clone(&reading), Arc::new(AtomicUsize::new(0)));
        let first = pool.run(usize::MAX, move || {
            count.fetch_add(1, Ordering::SeqCst);
            ended.recv().expect("the sender lives");
            count.fetch_sub(1, Ordering::SeqCst);
        });
        let (count, seen) = (Arc::clone(&reading), Arc::clone(&most));
        let second =
            pool.run(usize::MAX, move || seen.store(count.load(Ordering::SeqCst) + 1, Ordering::SeqCst));
        let short = async {
            while reading.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(pool.run(1, || 7).await, 7, "read although a long body is being read");
            end.send(()).expect("it waits");
        };
        tokio::join!(first, second, short);
        assert_eq!(most.load(Ordering::SeqCst), 1, "one at a time");
    }

    #[tokio::test]
    #[should_panic(expected = "of the reader")]
    async fn panics_of_the_parser_reach_the_request() {
        ParsePool::default().run(usize::MAX, || panic!("of the reader")).await;
    }
}
