//! The traits that a provider implements so that the rest of the service can send through it.
//!
//! A provider is a folder and one line in `built_in.rs`. It has four parts, each in a file of its own:
//!
//! | part | used by | for |
//! |---|---|---|
//! | [`PlatformFacts`](crate::domain::PlatformFacts) | domain, store, registry, audience, API | name and code, form of a target, kinds, environments and lanes |
//! | [`Provider`] | API, configuration | its section, limits of payloads, overrides of a request |
//! | [`ProviderSettings`](super::ProviderSettings) | configuration, runtime | what its section says, and the client of a lane |
//! | [`ProviderClient`] | dispatch | rendering, requests, the meaning of answers, checks without a device |
//!
//! The client decides per target which host a request goes to, and returns the meaning of the answer as an outcome.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::uri::Authority;
use tokio::time::Instant;

use super::provider_settings::AnySettings;
use super::transport::PoolStats;
use super::{Attempt, Expiry, Fingerprint, PAYLOAD_LIMIT_MIN, SenderMetrics};
use crate::domain::{App, Content, Kind, NotificationId, Outcome, Platform, ValidationError};
use crate::settings::Section;

/// A provider's checks of a notification's content, and the reader of its settings. Checks are pure: none waits or reads
/// anything else.
pub trait Provider: Send + Sync + fmt::Debug {
    /// The provider's platform, with the facts about its device tokens and lanes.
    fn platform(&self) -> Platform;

    /// Reads an app's section of this provider. The section has the name of the platform. None: it has faults, which
    /// `section` has noted.
    ///
    /// Every key is looked up whether the others are right or not, because environment variables may set the keys that
    /// are looked up in an empty section.
    fn read_settings(&self, section: Section<'_>) -> Option<AnySettings>;

    /// The members of the part of a request that only this provider uses: each is an object, and no other is read. None:
    /// every member is read, of any type, and [`Self::check_overrides`] checks them. By default there are no members.
    ///
    /// The part is the field with the platform's name. [`Content::overrides`] has it.
    fn override_members(&self) -> Option<&'static [&'static str]> {
        Some(&[])
    }

    /// The faults of the part of a request that only this provider uses.
    fn check_overrides(&self, content: &Content, app: &App) -> Vec<ValidationError> {
        let _ = (content, app);
        Vec::new()
    }

    /// Whether the part of a request that only this provider uses has something to see or hear.
    fn shows_something(&self, content: &Content) -> bool {
        let _ = content;
        false
    }

    /// Whether the part of a request that only this provider uses has content, so that the common fields may be empty.
    fn supplies_content(&self, content: &Content) -> bool {
        let _ = content;
        false
    }

    /// Whether there is anything to send to a device of this provider. An override may have content for another
    /// provider only.
    fn has_something_to_send(&self, content: &Content) -> bool {
        content.silent || content.shows_something()
    }

    /// The faults of content that is larger than the provider takes, with the app's settings added.
    fn check_size(&self, content: &Content, app: &App) -> Vec<ValidationError>;

    /// Most bytes of a message, at least [`PAYLOAD_LIMIT_MIN`]. Asked for content that is too large to be read. So
    /// `text_at` finds only the text at a path within the part of the request that this provider uses.
    fn payload_limit<'a>(&self, text_at: &dyn Fn(&[&str]) -> Option<&'a str>) -> usize {
        let _ = text_at;
        PAYLOAD_LIMIT_MIN
    }

    /// The kind of token that the content needs. Asked where the platform has several kinds.
    fn kind(&self, content: &Content) -> Kind {
        let _ = content;
        Kind::Alert
    }

    /// Renders the content as a client of the app does for sending, for a device with [`PREVIEW_TOKEN`] as token. None: this
    /// provider shows no previews.
    fn preview(&self, id: NotificationId, content: &Content, app: &App, expiry: Expiry) -> Option<Preview> {
        let _ = (id, content, app, expiry);
        None
    }

    /// The reasons that the provider is known to give: metrics have a series for each. Other reasons share one.
    fn reasons(&self) -> &'static [&'static str] {
        &[]
    }

    /// Most bytes that the app's settings add to each message.
    fn settings_bytes(&self, app: &App) -> usize {
        let _ = app;
        0
    }
}

/// Stands for the token of a device in previews.
pub const PREVIEW_TOKEN: &str = "TOKEN";

/// A request to a provider, as a preview shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Preview {
    /// The headers without the credential and the id of the message, in no particular order.
    pub headers: Vec<(String, String)>,
    /// The body as it is sent.
    pub body: String,
    /// The bytes of the body that count towards the limit.
    pub size: usize,
    /// Most bytes that the provider takes.
    pub limit: usize,
}

impl fmt::Debug for Preview {
    /// Shows the size only, because the content is private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preview").field("size", &self.size).finish_non_exhaustive()
    }
}

/// A lane's connections to its provider and the credential for them. All attempts of the lane share it.
pub trait ProviderClient: Send + Sync + 'static {
    /// The part of a rendered notification that all targets share.
    type Message: Send + Sync + 'static;

    /// The provider that this client sends to.
    fn provider(&self) -> &'static dyn Provider;

    /// Renders the part that all attempts at `content` share.
    fn prepare(&self, id: NotificationId, content: &Content) -> Self::Message;

    /// Whether a header of the request changed the topic or the credential of the message. Then the answer says
    /// nothing about the lane's topic and credential (docs/queue.md#topic-override).
    fn is_overridden(message: &Self::Message) -> bool {
        let _ = message;
        false
    }

    /// Makes one attempt at one target and ends by its deadline. Encodes the message for the target, chooses the
    /// origin and classifies the answer. Dropping the future resets the request.
    fn send(&self, message: &Self::Message, attempt: &Attempt<'_>) -> impl Future<Output = Outcome> + Send;

    /// Checks the lane without a device: opens a connection and, where the provider allows it, has the credential
    /// accepted. `now` is Postgres's time.
    ///
    /// # Errors
    /// Returns the outcome that an attempt would have: [`Outcome::RetryLane`] or [`Outcome::Misconfigured`].
    fn reach(
        &self,
        now: DateTime<Utc>,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), Outcome>> + Send;

    /// Has the provider judge the credential by one request that reaches no device. The outcome is that of an attempt at a
    /// device that does not exist: any but [`Outcome::Misconfigured`] and [`Outcome::RetryLane`] shows that the provider takes
    /// the credential. `now` is Postgres's time. By default only the connection is tried.
    fn try_credential(&self, now: DateTime<Utc>, deadline: Instant) -> impl Future<Output = Outcome> + Send {
        async move {
            match self.reach(now, deadline).await {
                Ok(()) => Outcome::Accepted { provider_id: None },
                Err(outcome) => outcome,
            }
        }
    }

    /// Identifies the credential and the endpoint in use. Equal on all nodes with the same configuration.
    fn fingerprint(&self) -> Fingerprint;

    /// Identifies the part of the credential that may differ between nodes. [`Self::fingerprint`] leaves it out.
    fn local_fingerprint(&self) -> Option<Fingerprint> {
        None
    }

    /// Host and port of each origin that this lane sends to.
    fn origins(&self) -> Vec<Authority>;

    /// The present numbers of connections and streams.
    fn stats(&self) -> PoolStats;

    /// Counts connections, and the age of the tokens in use, from now on. By default nothing is counted.
    fn count_in(&self, metrics: &Arc<SenderMetrics>) {
        let _ = metrics;
    }

    /// Waits for requests in flight, for a request time-out at most, then closes the connections.
    fn shutdown(&self) -> impl Future<Output = ()> + Send;
}

/// An object-safe [`ProviderClient`], for providers that are not built in. Used by
/// [`Sender::further`](super::Sender::further).
pub(super) trait BoxedClient: Send + Sync {
    fn provider(&self) -> &'static dyn Provider;
    fn prepare(&self, id: NotificationId, content: &Content) -> BoxedMessage;
    fn send<'a>(&'a self, message: &'a BoxedMessage, attempt: &'a Attempt<'_>) -> BoxFuture<'a, Outcome>;
    fn reach(&self, now: DateTime<Utc>, deadline: Instant) -> BoxFuture<'_, Result<(), Outcome>>;
    fn try_credential(&self, now: DateTime<Utc>, deadline: Instant) -> BoxFuture<'_, Outcome>;
    fn fingerprint(&self) -> Fingerprint;
    fn local_fingerprint(&self) -> Option<Fingerprint>;
    fn origins(&self) -> Vec<Authority>;
    fn stats(&self) -> PoolStats;
    fn count_in(&self, metrics: &Arc<SenderMetrics>);
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// A rendered notification of a [`BoxedClient`].
pub(super) struct BoxedMessage {
    message: Box<dyn Any + Send + Sync>,
    pub(super) is_overridden: bool,
}

impl<C: ProviderClient> BoxedClient for C {
    fn provider(&self) -> &'static dyn Provider {
        ProviderClient::provider(self)
    }

    fn prepare(&self, id: NotificationId, content: &Content) -> BoxedMessage {
        let message = ProviderClient::prepare(self, id, content);
        BoxedMessage { is_overridden: C::is_overridden(&message), message: Box::new(message) }
    }

    fn send<'a>(&'a self, message: &'a BoxedMessage, attempt: &'a Attempt<'_>) -> BoxFuture<'a, Outcome> {
        match message.message.downcast_ref() {
            Some(message) => ProviderClient::send(self, message, attempt).boxed(),
            None => std::future::ready(super::built_in::of_another_provider()).boxed(),
        }
    }

    fn reach(&self, now: DateTime<Utc>, deadline: Instant) -> BoxFuture<'_, Result<(), Outcome>> {
        ProviderClient::reach(self, now, deadline).boxed()
    }

    fn try_credential(&self, now: DateTime<Utc>, deadline: Instant) -> BoxFuture<'_, Outcome> {
        ProviderClient::try_credential(self, now, deadline).boxed()
    }

    fn fingerprint(&self) -> Fingerprint {
        ProviderClient::fingerprint(self)
    }

    fn local_fingerprint(&self) -> Option<Fingerprint> {
        ProviderClient::local_fingerprint(self)
    }

    fn origins(&self) -> Vec<Authority> {
        ProviderClient::origins(self)
    }

    fn stats(&self) -> PoolStats {
        ProviderClient::stats(self)
    }

    fn count_in(&self, metrics: &Arc<SenderMetrics>) {
        ProviderClient::count_in(self, metrics);
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        ProviderClient::shutdown(self).boxed()
    }
}
