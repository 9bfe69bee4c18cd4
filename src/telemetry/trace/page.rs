//! The page on which people see a trace, such as Grafana's.

use crate::domain::TraceId;

/// Stands for the trace's id in the URL.
const PLACE: &str = "{trace_id}";

/// The URL of the page. Without one, no trace has a page.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TracePage(Option<String>);

impl TracePage {
    /// Reads a URL that has `{trace_id}` once.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let is_page = url.starts_with("https://") || url.starts_with("http://");
        let is_usable = is_page && url.matches(PLACE).count() == 1;
        is_usable.then(|| Self(Some(url.to_owned()))).ok_or("must be a URL of a page with {trace_id} in it")
    }

    /// The URL of the page of a trace. None: no page is configured.
    pub fn url(&self, trace: TraceId) -> Option<String> {
        Some(self.0.as_ref()?.replace(PLACE, &trace.to_string()))
    }
}
