//! The port: what a provider must state so that the rest of the service can send through it.
//!
//! A provider is a folder and one line in `registry.rs`. It states three things, each in a file of its own:
//!
//! | statement | asked by | for |
//! |---|---|---|
//! | [`PlatformFacts`](crate::domain::PlatformFacts) | domain, store, registry, audience, API | name and code, form of a target, kinds, environments and lanes |
//! | [`Provider`] | API, configuration | settings, limits of payloads, overrides of a request |
//! | [`ProviderClient`] | dispatch | rendering, requests, the meaning of answers, checks without a device |
//!
//! Where a request goes is the client's decision, per target. What an answer means is its outcome.

use std::any::Any;
use std::fmt;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::uri::Authority;
use tokio::time::Instant;

use super::transport::PoolStats;
use super::{Attempt, Fingerprint};
use crate::domain::{App, Content, NotificationId, Outcome, Platform, PushType, ValidationError};

/// What a provider says about the content of notifications. Pure: no request waits for it.
pub trait Provider: Send + Sync + fmt::Debug {
    /// What it states about its device tokens and lanes.
    fn platform(&self) -> Platform;

    /// The faults of the part of a request that is for this provider alone.
    fn check_overrides(&self, content: &Content, app: &App) -> Vec<ValidationError>;

    /// Does the part of a request that is for this provider alone bring something to see or hear?
    fn shows_something(&self, content: &Content) -> bool;

    /// Does the part of a request that is for this provider alone bring content that the common fields lack?
    fn supplies_content(&self, content: &Content) -> bool;

    /// Is there anything to send to a device of this provider? An override may bring content for another one alone.
    fn has_something_to_send(&self, content: &Content) -> bool;

    /// The faults of content that is larger than the provider takes, for a notification of the app.
    fn check_size(&self, content: &Content, app: &App) -> Vec<ValidationError>;

    /// Bytes that the provider takes at most of a message of this push type. Never less than
    /// [`PAYLOAD_LIMIT_MIN`](super::PAYLOAD_LIMIT_MIN).
    fn payload_limit(&self, push_type: PushType) -> usize;

    /// Bytes that the app's settings may add to each message.
    fn settings_bytes(&self, app: &App) -> usize {
        let _ = app;
        0
    }
}

/// A lane's connections to its provider, with the credential that they present. Shared by all attempts of the lane.
pub trait ProviderClient: Send + Sync + 'static {
    /// A notification, rendered as far as all targets share it.
    type Message: Send + Sync + 'static;

    /// What the provider says about content.
    fn provider(&self) -> &'static dyn Provider;

    /// Renders what all attempts at `content` share.
    fn prepare(&self, id: NotificationId, content: &Content) -> Self::Message;

    /// Did a header of the request's own take part in the topic or the credential that the message is sent with? Then
    /// the answer says nothing about those of the lane (docs/queue.md#topic-override).
    fn is_overridden(message: &Self::Message) -> bool {
        let _ = message;
        false
    }

    /// One attempt at one target, over by its deadline. Encodes the message for the target, chooses the origin of the
    /// request and says what the answer means. Dropping the future resets the request.
    fn send(&self, message: &Self::Message, attempt: &Attempt<'_>) -> impl Future<Output = Outcome> + Send;

    /// Goes as far as it gets without a device: to an open connection and an accepted credential.
    ///
    /// # Errors
    /// The outcome that an attempt would have had: [`Outcome::RetryLane`] or [`Outcome::Misconfigured`].
    fn reach(&self, deadline: Instant) -> impl Future<Output = Result<(), Outcome>> + Send;

    /// Names the credential in use, and where it is used. Equal on all nodes with the same configuration.
    fn fingerprint(&self) -> Fingerprint;

    /// Names what of the credential may be this node's own, and is no part of [`Self::fingerprint`].
    fn local_fingerprint(&self) -> Option<Fingerprint> {
        None
    }

    /// Host and port of each origin that targets of this lane are reached at.
    fn origins(&self) -> Vec<Authority>;

    /// Connections and streams now.
    fn stats(&self) -> PoolStats;

    /// Lets what is on its way end (a request time-out at most), then closes the connections.
    fn shutdown(&self) -> impl Future<Output = ()> + Send;
}

/// A [`ProviderClient`] of a provider that is not built in, behind boxes. See [`Sender::further`](super::Sender::further).
pub(super) trait BoxedClient: Send + Sync {
    fn provider(&self) -> &'static dyn Provider;
    fn prepare(&self, id: NotificationId, content: &Content) -> BoxedMessage;
    fn send<'a>(&'a self, message: &'a BoxedMessage, attempt: &'a Attempt<'_>) -> BoxFuture<'a, Outcome>;
    fn reach(&self, deadline: Instant) -> BoxFuture<'_, Result<(), Outcome>>;
    fn fingerprint(&self) -> Fingerprint;
    fn local_fingerprint(&self) -> Option<Fingerprint>;
    fn origins(&self) -> Vec<Authority>;
    fn stats(&self) -> PoolStats;
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// A message of a [`BoxedClient`].
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
            None => std::future::ready(super::registry::of_another_provider()).boxed(),
        }
    }

    fn reach(&self, deadline: Instant) -> BoxFuture<'_, Result<(), Outcome>> {
        ProviderClient::reach(self, deadline).boxed()
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

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        ProviderClient::shutdown(self).boxed()
    }
}
