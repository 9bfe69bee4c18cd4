//! One attempt's request over a pool, resent for as long as nobody can have seen it.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::transport::{Kind, Pool, Response, Sent, TransportError};
use crate::domain::{LaneCause, Outcome, Reason};

/// How often a request that was certainly not processed is sent in all.
const TRIES: u32 = 5;

/// Pause before a refused stream is tried again; doubles each time.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// Sends until there is an answer, `deadline` passes, or it may have been processed. `head` makes the request's head
/// for the connection that it goes to.
///
/// # Errors
/// The last failure. `NotSent` only if no try can have been processed.
pub(super) async fn exchange<S: Default + Send + Sync + 'static>(
    pool: &Pool<S>,
    deadline: Instant,
    mut head: impl FnMut(&S) -> Request<()>,
    body: &Bytes,
) -> Result<Response<S>, TransportError> {
    let mut tried = 0;
    loop {
        let stream = pool.reserve(deadline).await?;
        let request = head(stream.state());
        let sent = timeout_at(deadline, stream.send(request, body.clone()));
        // Dropped in mid-flight: the request may have arrived.
        let late = TransportError { sent: Sent::MaybeSent, kind: Kind::Timeout };
        let error = match sent.await.unwrap_or(Err(late)) {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        tried += 1;
        let over = tried == TRIES || Instant::now() >= deadline || matches!(error.kind, Kind::Invalid(_));
        if over || error.sent == Sent::MaybeSent {
            return Err(error);
        }
        if error.kind == Kind::Refused {
            sleep_until(deadline.min(Instant::now() + REFUSED_PAUSE * 2u32.pow(tried - 1))).await;
        }
    }
}

/// What an attempt without an answer came to.
pub(super) fn unanswered(error: &TransportError) -> Outcome {
    if error.sent == Sent::MaybeSent {
        return Outcome::Unknown;
    }
    let cause = match error.kind {
        Kind::Invalid(_) => return Outcome::Rejected { reason: Reason::new("internal") },
        // There are connections, but they take no more.
        Kind::Timeout | Kind::Refused => LaneCause::Throttled,
        _ => LaneCause::Outage,
    };
    Outcome::RetryLane { reason: Reason::new(&error.kind.to_string()), cause, after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_before_anything_was_sent_is_the_lane_s_and_one_after_is_in_doubt() {
        let outcome = |sent, kind| unanswered(&TransportError { sent, kind });
        let lane = |text: &str, cause| Outcome::RetryLane { reason: Reason::new(text), cause, after: None };
        assert_eq!(outcome(Sent::MaybeSent, Kind::Timeout), Outcome::Unknown);
        assert_eq!(outcome(Sent::MaybeSent, Kind::Closed("eof".into())), Outcome::Unknown);
        assert_eq!(
            outcome(Sent::NotSent, Kind::Connect("refused".into())),
            lane("connect failed: refused", LaneCause::Outage)
        );
        assert_eq!(outcome(Sent::NotSent, Kind::Timeout), lane("deadline passed", LaneCause::Throttled));
        assert_eq!(outcome(Sent::NotSent, Kind::Refused), lane("stream refused", LaneCause::Throttled));
        let invalid = outcome(Sent::NotSent, Kind::Invalid("x".into()));
        assert_eq!(invalid, Outcome::Rejected { reason: Reason::new("internal") });
    }
}
