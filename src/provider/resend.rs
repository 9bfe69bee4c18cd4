//! Sends one attempt's request over a pool, and resends it while the provider can't have processed it.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::time::{Instant, sleep_until};

use super::Validity;
use super::transport::{Pool, Response, Sent, Stream, TransportError, TransportErrorKind};
use crate::domain::{LaneCause, Outcome, PushpostReason, Reason};

/// Most sends of a request that was certainly not processed, the first one included.
const TRIES_MAX: u32 = 5;

/// Pause before the first resend after a refused stream. It doubles with each resend.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// Sends a request until it is answered, `deadline` passes, or it may have been processed. Before each send `validity`
/// is checked. `head` makes the request head for the stream and so for the chosen connection.
///
/// # Errors
/// Returns the last failure. It is `NotSent` only if no send can have been processed.
pub async fn exchange<S: Default + Send + Sync + 'static>(
    pool: &Pool<S>,
    deadline: Instant,
    validity: Validity<'_>,
    mut head: impl FnMut(&Stream<S>) -> Request<()>,
    body: &Bytes,
) -> Result<Response<S>, TransportError> {
    let mut tried = 0;
    loop {
        let stream = pool.reserve(deadline).await?;
        if !validity.0() {
            return Err(TransportError { sent: Sent::NotSent, kind: TransportErrorKind::Withdrawn });
        }
        let request = head(&stream);
        let error = match stream.send_by(deadline, request, body.clone()).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        tried += 1;
        let over = tried == TRIES_MAX
            || Instant::now() >= deadline
            || matches!(error.kind, TransportErrorKind::Invalid(_));
        if over || error.sent == Sent::MaybeSent {
            return Err(error);
        }
        if error.kind == TransportErrorKind::Refused {
            sleep_until(deadline.min(Instant::now() + REFUSED_PAUSE * 2u32.pow(tried - 1))).await;
        }
    }
}

/// The outcome of an attempt that got no answer.
pub fn unanswered(error: &TransportError) -> Outcome {
    if error.sent == Sent::MaybeSent {
        return Outcome::Unknown;
    }
    let cause = match error.kind {
        TransportErrorKind::Invalid(_) => {
            return Outcome::Rejected { reason: Reason::from(PushpostReason::Internal) };
        }
        TransportErrorKind::Withdrawn => return Outcome::Withdrawn,
        // There are connections, but they take no more streams.
        TransportErrorKind::Timeout | TransportErrorKind::Refused => LaneCause::Throttled,
        _ => LaneCause::Outage,
    };
    let text = error.kind.to_string();
    let reason = match error.kind {
        // The text comes from the provider.
        TransportErrorKind::GoAway { .. } => Reason::new(&text),
        _ => Reason::of_lane(&text),
    };
    Outcome::RetryLane { reason, cause, after: None }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use h2::Reason as Code;

    use super::*;
    use crate::provider::fake::{self, ConnectionFate, PATIENCE};
    use crate::provider::{setup, transport};
    use crate::settings::Endpoint;

    /// The answer's status or the error, and the number of requests that arrived.
    async fn tried(fates: &'static [ConnectionFate]) -> (Result<u16, TransportError>, usize) {
        tried_while_wanted(fates, usize::MAX).await
    }

    /// The same for a request that stays valid for `wanted` checks.
    async fn tried_while_wanted(
        fates: &'static [ConnectionFate],
        wanted: usize,
    ) -> (Result<u16, TransportError>, usize) {
        let fake = fake::serve_streams(fates).await;
        let endpoint = Endpoint::parse(&fake.url()).unwrap();
        let (origin, authority) = setup::origin(Some(&endpoint), "unused", Some(&fake::ca()), None).unwrap();
        let settings = transport::Settings {
            connections: 1,
            max_streams: 10,
            first_streams: 10,
            prove_first: false,
            connect_timeout: PATIENCE,
            request_timeout: PATIENCE,
            ping: None,
            idle_close: None,
            max_age: PATIENCE,
            evict_after_timeouts: 0,
        };
        let pool: Pool<()> = Pool::new(origin, settings);
        let head = |_: &Stream<()>| {
            let request = Request::post(format!("https://{authority}/x")).version(http::Version::HTTP_2);
            request.body(()).unwrap()
        };
        let asked = AtomicUsize::new(0);
        let validity = || asked.fetch_add(1, Ordering::Relaxed) < wanted;
        let deadline = Instant::now() + PATIENCE;
        let result = exchange(&pool, deadline, Validity(&validity), head, &Bytes::from_static(b"{}")).await;
        (result.map(|response| response.status.as_u16()), fake.seen().len())
    }

    #[tokio::test]
    async fn a_refused_stream_is_sent_again() {
        const REFUSED: ConnectionFate = ConnectionFate::Reset(Code::REFUSED_STREAM);
        let (result, requests) = tried(&[REFUSED, REFUSED, ConnectionFate::Answered]).await;
        assert_eq!((result.unwrap(), requests), (200, 3));
    }

    #[tokio::test]
    async fn a_stream_that_is_always_refused_fails_as_not_sent() {
        let (result, requests) = tried(&[ConnectionFate::Reset(Code::REFUSED_STREAM)]).await;
        let error = result.unwrap_err();
        assert_eq!((error.sent, error.kind, requests), (Sent::NotSent, TransportErrorKind::Refused, 5));
    }

    #[tokio::test]
    async fn a_request_that_may_have_been_processed_is_not_resent() {
        let (result, requests) =
            tried(&[ConnectionFate::Reset(Code::INTERNAL_ERROR), ConnectionFate::Answered]).await;
        assert_eq!((result.unwrap_err().sent, requests), (Sent::MaybeSent, 1));
    }

    #[tokio::test]
    async fn a_withdrawn_request_is_not_sent() {
        for (fates, requests) in [
            (&[ConnectionFate::Answered] as &[ConnectionFate], 0),
            (&[ConnectionFate::Reset(Code::REFUSED_STREAM), ConnectionFate::Answered], 1),
        ] {
            let (result, arrived) = tried_while_wanted(fates, requests).await;
            let error = result.unwrap_err();
            assert_eq!(
                (error.sent, &error.kind, arrived),
                (Sent::NotSent, &TransportErrorKind::Withdrawn, requests)
            );
            assert_eq!(unanswered(&error), Outcome::Withdrawn);
        }
    }

    #[test]
    fn a_failure_before_sending_concerns_the_lane_and_a_later_one_is_in_doubt() {
        let outcome = |sent, kind| unanswered(&TransportError { sent, kind });
        let lane = |text: &str, cause| Outcome::RetryLane { reason: Reason::new(text), cause, after: None };
        assert_eq!(outcome(Sent::MaybeSent, TransportErrorKind::Timeout), Outcome::Unknown);
        assert_eq!(outcome(Sent::MaybeSent, TransportErrorKind::Closed("eof".into())), Outcome::Unknown);
        assert_eq!(
            outcome(Sent::NotSent, TransportErrorKind::Connect("refused".into())),
            lane("connect failed: refused", LaneCause::Outage)
        );
        // The cause is at the end of the text, so only a provider's text is cut.
        let long = format!("{} refused", "x".repeat(150));
        let Outcome::RetryLane { reason, .. } =
            outcome(Sent::NotSent, TransportErrorKind::Connect(long.as_str().into()))
        else {
            panic!("it is the lane's");
        };
        assert_eq!(reason.as_str(), format!("connect failed: {long}"));
        let said = TransportErrorKind::GoAway { code: 0, debug: long };
        let Outcome::RetryLane { reason, .. } = outcome(Sent::NotSent, said) else {
            panic!("it is the lane's");
        };
        assert_eq!(reason.as_str().len(), Reason::MAX);
        assert_eq!(
            outcome(Sent::NotSent, TransportErrorKind::Timeout),
            lane("deadline passed", LaneCause::Throttled)
        );
        assert_eq!(
            outcome(Sent::NotSent, TransportErrorKind::Refused),
            lane("stream refused", LaneCause::Throttled)
        );
        let invalid = outcome(Sent::NotSent, TransportErrorKind::Invalid("x".into()));
        assert_eq!(invalid, Outcome::Rejected { reason: Reason::from(PushpostReason::Internal) });
    }
}
