//! Answers that come line by line, and may stay open.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderName, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{ANSWER_BYTES_MAX, HttpClient, ServiceAnswer, ServiceClient, TIMEOUT, failures};
use crate::cli::command_error::CommandError;

/// A stream gives a sign of life each 15 s. One that is silent for so long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Largest line that is read. An event of 500 devices has about 200 KB.
const LINE_BYTES_MAX: usize = 16 << 20;

/// The lines of an answer, as they come.
#[derive(Debug)]
pub(in crate::cli) struct LineStream {
    body: Incoming,
    read: Vec<u8>,
    base: String,
}

impl ServiceClient {
    /// Asks for a path and returns the lines of the answer. Nothing is repeated.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(in crate::cli) async fn lines(
        &self,
        path: &str,
        accept: &'static str,
        header: Option<(HeaderName, String)>,
    ) -> Result<LineStream, CommandError> {
        let request = Request::builder().method(Method::GET).uri(format!("{}{path}", self.base));
        let request = request.header(ACCEPT, accept).header(AUTHORIZATION, &self.authorization);
        let request = header.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let request = request.body(Full::default()).map_err(CommandError::usage)?;
        let unreachable = |error| failures::unreachable(&self.base, error);
        let answered = async {
            match &self.http {
                HttpClient::Plain(http) => http.request(request).await,
                HttpClient::Tls(http) => http.request(request).await,
            }
        };
        let answered =
            timeout(TIMEOUT, answered).await.map_err(|_| failures::overdue(&self.base, TIMEOUT))?;
        let (parts, body) = answered.map_err(|error| unreachable(error.into()))?.into_parts();
        if parts.status.is_success() {
            return Ok(LineStream { body, read: Vec::new(), base: self.base.clone() });
        }
        let read = timeout(TIMEOUT, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
        let read = read.map_err(|_| failures::overdue(&self.base, TIMEOUT))?.map_err(unreachable)?;
        let answer = ServiceAnswer { status: parts.status, headers: parts.headers, body: read.to_bytes() };
        Err(failures::refusal(&self.base, path, &answer))
    }
}

impl LineStream {
    /// The next line without its end. None: the answer has ended.
    ///
    /// # Errors
    /// The connection ended before the answer did, or gave no sign of life.
    pub(in crate::cli) async fn next(&mut self) -> Result<Option<String>, CommandError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            if self.read.len() > LINE_BYTES_MAX {
                return Err(CommandError::failed(format_args!("{} sends a line without an end", self.base)));
            }
            let Ok(frame) = timeout(SILENCE_MAX, self.body.frame()).await else {
                return Err(CommandError::unavailable(format_args!("{} is silent", self.base)));
            };
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => self.read.extend(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Err(failures::unreachable(&self.base, error.into())),
            }
        }
    }
}
