//! A single-flight cache of access tokens: at most one fetch is in flight, for any number of callers. While the old
//! token is valid, no caller waits for the new one (docs/providers.md#google-access-tokens).

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderValue;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::Reason;

/// Longest duration of one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed fetch. Meanwhile callers get its error, unless the old token is still valid.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);
/// A token is refreshed after a random part of its life within these bounds, so that nodes do not refresh together.
const REFRESH_AFTER: std::ops::Range<f64> = 0.75..0.9;
/// A token counts as expired this long before its end, or a tenth of its life before it if that is shorter.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum TokenError {
    /// The credential was refused or could not be read.
    #[error("the credential can't be used: {0}")]
    Rejected(Reason),
    /// The token endpoint can't be reached or fails.
    #[error("no answer of use: {0}")]
    Unavailable(Reason),
}

/// The result of a successful fetch.
pub(super) struct Fetched {
    /// The access token.
    pub(super) token: String,
    /// How long the token is valid, counted from now.
    pub(super) life: Duration,
}

/// Fetches a new token at a time of Postgres's clock. The cache never runs two fetches at the same time.
pub(super) type Fetch = Box<
    dyn Fn(DateTime<Utc>) -> Pin<Box<dyn Future<Output = Result<Fetched, TokenError>> + Send>> + Send + Sync,
>;

/// An access token in the form of a request header.
pub(super) struct AccessToken {
    /// `Bearer <token>`, marked as sensitive.
    pub(super) header: HeaderValue,
    fetched_at: Instant,
    refresh_at: Instant,
    expires_at: Instant,
}

/// The cache. Fetches run in separate tasks, so that a caller that gives up does not stop the fetch of the others.
pub(super) struct AccessTokens {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Shared {
    fetch: Fetch,
    state: Mutex<State>,
    fetched: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    bearer: Option<Arc<AccessToken>>,
    fetching: bool,
    /// The failure of the last fetch, and the end of the pause after it.
    failure: Option<(TokenError, Instant)>,
}

impl AccessTokens {
    pub(super) fn new(fetch: Fetch) -> Self {
        let shared = Shared { fetch, state: Mutex::default(), fetched: watch::Sender::new(()) };
        Self { shared: Arc::new(shared), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Returns a valid token, and waits for a fetch only if there is none. `now` is Postgres's time.
    pub(super) async fn bearer(
        &self,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> Result<Arc<AccessToken>, TokenError> {
        let mut fetched = self.shared.fetched.subscribe();
        loop {
            if let Some(answer) = self.token_or_failure(now) {
                return answer;
            }
            if !matches!(timeout_at(deadline, fetched.changed()).await, Ok(Ok(()))) {
                return Err(TokenError::Unavailable(Reason::new("token endpoint: deadline passed")));
            }
        }
    }

    /// Drops a token that the provider refused. It does nothing if the token was replaced already.
    pub(super) fn discard_refused(&self, refused: &Arc<AccessToken>) {
        let mut state = self.shared.lock();
        if state.bearer.as_ref().is_some_and(|current| Arc::ptr_eq(current, refused)) {
            state.bearer = None;
        }
    }

    /// Ends a fetch in flight. Afterwards only the present token is returned, until it expires.
    pub(super) async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The present token or failure. Starts a fetch if one is due. `None` means that the caller waits for the fetch.
    fn token_or_failure(&self, postgres_now: DateTime<Utc>) -> Option<Result<Arc<AccessToken>, TokenError>> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let pausing = state.failure.as_ref().is_some_and(|(_, until)| now < *until);
        let due = state.bearer.as_ref().is_none_or(|bearer| now >= bearer.refresh_at);
        if due && !state.fetching && !pausing && !self.stop.is_cancelled() {
            state.fetching = true;
            self.start_fetch(postgres_now);
        }
        if let Some(bearer) = state.bearer.as_ref().filter(|bearer| now < bearer.expires_at) {
            return Some(Ok(bearer.clone()));
        }
        if state.fetching {
            return None;
        }
        let failure = state.failure.as_ref().map(|(error, _)| error.clone());
        Some(Err(failure.unwrap_or_else(|| TokenError::Unavailable(Reason::new("shut down")))))
    }

    fn start_fetch(&self, now: DateTime<Utc>) {
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let result = tokio::select! {
                () = stop.cancelled() => Err(TokenError::Unavailable(Reason::new("shut down"))),
                result = timeout(FETCH_TIMEOUT, (shared.fetch)(now)) => result.unwrap_or_else(|_| {
                    Err(TokenError::Unavailable(Reason::new("token endpoint: no answer")))
                }),
            };
            shared.store_result(result.and_then(AccessToken::new));
        });
    }
}

impl Shared {
    fn store_result(&self, result: Result<AccessToken, TokenError>) {
        let mut state = self.lock();
        state.fetching = false;
        match result {
            Ok(bearer) => {
                state.bearer = Some(Arc::new(bearer));
                state.failure = None;
            }
            Err(error) => {
                tracing::warn!(%error, "no new FCM access token");
                state.failure = Some((error, Instant::now() + FAILURE_PAUSE));
            }
        }
        drop(state);
        self.fetched.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessToken {
    fn new(fetched: Fetched) -> Result<Self, TokenError> {
        let unusable = |text| TokenError::Unavailable(Reason::new(text));
        if fetched.life.is_zero() {
            return Err(unusable("token endpoint: expired token"));
        }
        let mut header = HeaderValue::try_from(format!("Bearer {}", fetched.token))
            .map_err(|_| unusable("token endpoint: unusable token"))?;
        header.set_sensitive(true);
        let now = Instant::now();
        let refresh_at = now + fetched.life.mul_f64(rand::random_range(REFRESH_AFTER));
        let expires_at = now + fetched.life - EXPIRY_MARGIN.min(fetched.life / 10);
        Ok(Self { header, fetched_at: now, refresh_at: refresh_at.min(expires_at), expires_at })
    }

    /// Time since the token was fetched.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.fetched_at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(120);

    /// A token endpoint that answers once per permit. `answer` gets the number of the call.
    struct Endpoint {
        bearers: Arc<AccessTokens>,
        calls: Arc<AtomicUsize>,
        permits: Arc<Semaphore>,
    }

    fn endpoint(
        answer: impl Fn(usize) -> Result<Duration, TokenError> + Clone + Send + Sync + 'static,
    ) -> Endpoint {
        let (calls, permits) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (counter, gate) = (calls.clone(), permits.clone());
        let fetch: Fetch = Box::new(move |_| {
            let (number, gate, answer) =
                (counter.fetch_add(1, Ordering::SeqCst), gate.clone(), answer.clone());
            Box::pin(async move {
                gate.acquire().await.expect("never closed").forget();
                answer(number).map(|life| Fetched { token: format!("t{number}"), life })
            })
        });
        Endpoint { bearers: Arc::new(AccessTokens::new(fetch)), calls, permits }
    }

    fn hour(_: usize) -> Result<Duration, TokenError> {
        Ok(Duration::from_secs(3600))
    }

    impl Endpoint {
        async fn ask(&self) -> Result<String, TokenError> {
            let bearer = self.bearers.bearer(DateTime::UNIX_EPOCH, Instant::now() + PATIENCE).await?;
            Ok(bearer.header.to_str().expect("ASCII").to_owned())
        }

        fn age(&self, change: impl FnOnce(&mut AccessToken)) {
            let mut state = self.bearers.shared.lock();
            let old = state.bearer.as_ref().expect("a token");
            let mut bearer = AccessToken {
                header: old.header.clone(),
                fetched_at: old.fetched_at,
                refresh_at: old.refresh_at,
                expires_at: old.expires_at,
            };
            change(&mut bearer);
            state.bearer = Some(Arc::new(bearer));
        }
    }

    #[tokio::test]
    async fn many_callers_share_one_fetch() {
        let endpoint = endpoint(hour);
        let asked = futures_util::future::join_all((0..50).map(|_| endpoint.ask()));
        let (answers, ()) = tokio::join!(asked, async { endpoint.permits.add_permits(1) });
        assert!(answers.iter().all(|answer| answer == &Ok("Bearer t0".to_owned())));
        assert_eq!(endpoint.calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_does_not_stop_the_fetch() {
        let endpoint = endpoint(hour);
        let late = endpoint.bearers.bearer(DateTime::UNIX_EPOCH, Instant::now()).await.err();
        assert!(matches!(late, Some(TokenError::Unavailable(_))));
        endpoint.permits.add_permits(1);
        assert_eq!(endpoint.ask().await, Ok("Bearer t0".to_owned()));
        assert_eq!(endpoint.calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_valid_token_is_served_during_a_fetch_and_after_its_failure() {
        let endpoint = endpoint(|number| match number {
            1 => Err(TokenError::Unavailable(Reason::new("down"))),
            _ => hour(number),
        });
        endpoint.permits.add_permits(1);
        assert_eq!(endpoint.ask().await, Ok("Bearer t0".to_owned()));
        endpoint.age(|bearer| bearer.refresh_at = Instant::now());
        assert_eq!(endpoint.ask().await, Ok("Bearer t0".to_owned()), "the fetch has no permit yet");
        let mut fetched = endpoint.bearers.shared.fetched.subscribe();
        endpoint.permits.add_permits(1);
        timeout(PATIENCE, fetched.changed()).await.expect("in time").expect("open");
        assert_eq!(endpoint.ask().await, Ok("Bearer t0".to_owned()), "the fetch failed");
        assert_eq!(endpoint.calls.load(Ordering::SeqCst), 2, "and there is a pause before the next");
        endpoint.bearers.shared.lock().failure = None;
        endpoint.age(|bearer| bearer.expires_at = Instant::now());
        endpoint.permits.add_permits(1);
        assert_eq!(endpoint.ask().await, Ok("Bearer t2".to_owned()));
    }

    #[tokio::test]
    async fn without_a_token_the_failure_is_the_answer_until_the_pause_is_over() {
        let refused = TokenError::Rejected(Reason::new("invalid_grant"));
        let answer = refused.clone();
        let endpoint = endpoint(move |_| Err(answer.clone()));
        endpoint.permits.add_permits(10);
        for _ in 0..3 {
            assert_eq!(endpoint.ask().await, Err(refused.clone()));
        }
        assert_eq!(endpoint.calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once() {
        let endpoint = endpoint(hour);
        endpoint.permits.add_permits(10);
        let first =
            endpoint.bearers.bearer(DateTime::UNIX_EPOCH, Instant::now() + PATIENCE).await.expect("a token");
        endpoint.bearers.discard_refused(&first);
        assert_eq!(endpoint.ask().await, Ok("Bearer t1".to_owned()));
        endpoint.bearers.discard_refused(&first);
        assert_eq!(endpoint.ask().await, Ok("Bearer t1".to_owned()), "the refused one was replaced already");
    }

    #[tokio::test]
    async fn an_expired_or_malformed_token_is_refused() {
        let endpoint = endpoint(|_| Ok(Duration::ZERO));
        endpoint.permits.add_permits(1);
        assert!(matches!(endpoint.ask().await, Err(TokenError::Unavailable(_))));
        assert!(
            AccessToken::new(Fetched { token: "a\nb".to_owned(), life: Duration::from_secs(9) }).is_err()
        );
    }

    #[tokio::test]
    async fn shutdown_ends_a_fetch_in_flight() {
        let endpoint = endpoint(hour);
        let (asked, ()) = tokio::join!(endpoint.ask(), endpoint.bearers.shutdown());
        assert!(matches!(asked, Err(TokenError::Unavailable(_))));
        assert!(matches!(endpoint.ask().await, Err(TokenError::Unavailable(_))));
    }
}
