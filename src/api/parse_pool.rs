//! Long bodies are read on threads of their own, a few at a time: the threads that answer stay free, `/healthz` among
//! their work, and the memory that reading takes is bounded.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Longest body that is read where it arrived: less than a millisecond of work, in which handing it over would be felt.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// Permits to read long bodies.
#[derive(Clone, Debug)]
pub struct ParsePool(Arc<Semaphore>);

impl Default for ParsePool {
    /// One core is left to all else, where there are several.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))))
    }
}

impl ParsePool {
    /// Runs `parse`, which reads a body of so many bytes. Long bodies wait for their turn, in the order in which they came.
    /// A request that is given up keeps its permit until its body is read, since nothing can stop that.
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
                // The runtime is going down, and this task with it.
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
    async fn a_short_body_is_read_where_it_arrived_and_a_long_one_elsewhere() {
        let pool = ParsePool::default();
        let here = thread::current().id();
        assert_eq!(pool.run(INLINE_BYTES_MAX, || thread::current().id()).await, here);
        assert_ne!(pool.run(INLINE_BYTES_MAX + 1, || thread::current().id()).await, here);
    }

    #[tokio::test]
    async fn long_bodies_wait_for_a_permit_while_short_ones_are_read() {
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
    async fn a_panic_reaches_the_request() {
        ParsePool::default().run(usize::MAX, || panic!("of the reader")).await;
    }
}
