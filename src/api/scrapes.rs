//! One text for all scrapes of the same moment: a thousand clients of `/metrics`, which takes no key, make one text after the
//! other and hold one in memory, instead of a thousand at a time.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::error::ApiError;
use crate::telemetry::metrics::{Exposition, Metrics};

/// The last text of each form.
#[derive(Debug, Default)]
pub(super) struct Scrapes {
    text: Mutex<Option<Scrape>>,
    open_metrics: Mutex<Option<Scrape>>,
}

#[derive(Clone, Debug)]
struct Scrape {
    begun: Instant,
    text: Bytes,
}

impl Scrapes {
    /// The metrics as of a moment after the call.
    ///
    /// # Errors
    /// The text can't be made.
    pub(super) async fn text(&self, form: Exposition, metrics: Arc<Metrics>) -> Result<Bytes, ApiError> {
        let called = Instant::now();
        let slot = match form {
            Exposition::Text => &self.text,
            Exposition::OpenMetrics => &self.open_metrics,
        };
        let mut slot = slot.lock().await;
        if let Some(last) = slot.as_ref().filter(|last| last.begun > called) {
            return Ok(last.text.clone());
        }
        let begun = Instant::now();
        // It reads /proc and writes a thousand lines, for which no other request should wait.
        let text = spawn_blocking(move || metrics.expose(form)).await.map_err(ApiError::internal)?;
        let text = Bytes::from(text);
        *slot = Some(Scrape { begun, text: text.clone() });
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn scrapes_of_one_moment_share_a_text_and_a_later_one_is_anew() {
        let (scrapes, metrics) = (Scrapes::default(), Metrics::new());
        let scrape = || scrapes.text(Exposition::Text, Arc::clone(&metrics));
        let all = join_all((0..50).map(|_| scrape())).await;
        let all: Vec<Bytes> = all.into_iter().map(|text| text.expect("a text")).collect();
        // The first one may have begun in the instant in which the second one was asked for.
        let shared = all.iter().filter(|text| text.as_ptr() == all[49].as_ptr()).count();
        assert!(shared >= 48, "{shared}");
        let app = metrics.accept.app("shop");
        let later = scrape().await.expect("a text");
        assert!(String::from_utf8_lossy(&later).contains(r#"app="shop""#), "as of after the call");
        drop(app);
    }
}
