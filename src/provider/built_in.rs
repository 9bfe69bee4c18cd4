//! The built-in providers, one line each, and the types over all providers that a lane holds.
//!
//! A line makes a variant of [`Sender`] and of [`Prepared`]. So an attempt calls its provider's client directly,
//! without a boxed future. Tests add further providers through [`Sender::further`].

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::uri::Authority;
use tokio::time::Instant;

use super::port::{self, BoxedMessage, Provider, ProviderClient};
use super::transport::PoolStats;
use super::{Attempt, Fingerprint, SenderMetrics, apns, fcm};
use crate::domain::{Content, Kind, NotificationId, Outcome, Platform, Platforms, PushpostReason};

/// Generates the enums over all providers. Each provider is a line `Variant: client => provider`.
macro_rules! providers {
    ($($(#[$doc:meta])* $variant:ident: $client:ty => $provider:expr;)*) => {
        /// The providers that are built in.
        const BUILT_IN: &[&dyn Provider] = &[$($provider),*];

        #[expect(clippy::large_enum_variant, reason = "there is one per lane, behind an Arc")]
        enum AnyClient {
            $($(#[$doc])* $variant($client),)*
            Further(Box<dyn port::BoxedClient>),
        }

        #[derive(Clone)]
        enum AnyMessage {
            $($variant(Arc<<$client as ProviderClient>::Message>),)*
            Further(Arc<BoxedMessage>),
        }

        $(impl From<$client> for Sender {
            fn from(client: $client) -> Self {
                Self(AnyClient::$variant(client))
            }
        })*

        /// Calls the same method on the client of any variant.
        macro_rules! each {
            ($sender:expr, $name:ident => $call:expr) => {
                match &$sender.0 {
                    $(AnyClient::$variant($name) => $call,)*
                    AnyClient::Further($name) => $call,
                }
            };
        }

        impl Sender {
            /// Renders the part that all attempts at `content` in this lane share.
            pub fn prepare(&self, id: NotificationId, content: &Content) -> Prepared {
                Prepared(match &self.0 {
                    $(AnyClient::$variant(client) => AnyMessage::$variant(Arc::new(client.prepare(id, content))),)*
                    AnyClient::Further(client) => AnyMessage::Further(Arc::new(client.prepare(id, content))),
                })
            }

            /// Makes one attempt at one device and ends by its deadline. Dropping the future resets the request.
            pub async fn send(&self, prepared: &Prepared, attempt: &Attempt<'_>) -> Outcome {
                match (&self.0, &prepared.0) {
                    $((AnyClient::$variant(client), AnyMessage::$variant(message)) => {
                        client.send(message, attempt).await
                    })*
                    (AnyClient::Further(client), AnyMessage::Further(message)) => {
                        client.send(message, attempt).await
                    }
                    _ => of_another_provider(),
                }
            }
        }

        impl Prepared {
            /// Whether a header of the request changed the topic or the key of the message. Then the answer says
            /// nothing about the lane's topic and key (docs/queue.md#topic-override).
            pub fn is_overridden(&self) -> bool {
                match &self.0 {
                    $(AnyMessage::$variant(message) => <$client as ProviderClient>::is_overridden(message),)*
                    AnyMessage::Further(message) => message.is_overridden,
                }
            }
        }
    };
}

providers! {
    /// Apple Push Notification service, in one environment.
    Apns: apns::ApnsClient => &apns::Apns;
    /// Firebase Cloud Messaging.
    Fcm: fcm::FcmClient => &fcm::Fcm;
}

/// A lane's client of its provider. All attempts of the lane share it.
pub struct Sender(AnyClient);

/// A notification, rendered for all devices of one lane. Cheap to clone.
#[derive(Clone)]
pub struct Prepared(AnyMessage);

impl fmt::Debug for Prepared {
    /// Shows no fields, because the content is private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

const HTTPS: u16 = 443;

impl Sender {
    /// A sender of a provider that is not built in. Each attempt allocates a boxed future.
    pub fn further(client: impl ProviderClient) -> Self {
        Self(AnyClient::Further(Box::new(client)))
    }

    /// The provider that this sender sends to.
    pub fn provider(&self) -> &'static dyn Provider {
        each!(self, client => client.provider())
    }

    /// Checks the lane without a device: opens a connection and, for FCM, fetches an access token. `now` is
    /// Postgres's time.
    ///
    /// # Errors
    /// Returns the outcome that an attempt would have: [`Outcome::RetryLane`] or [`Outcome::Misconfigured`].
    pub async fn reach(&self, now: DateTime<Utc>, deadline: Instant) -> Result<(), Outcome> {
        each!(self, client => client.reach(now, deadline).await)
    }

    /// Has the provider judge the credential by one request that reaches no device ([`ProviderClient::try_credential`]).
    pub async fn try_credential(&self, now: DateTime<Utc>, deadline: Instant) -> Outcome {
        each!(self, client => client.try_credential(now, deadline).await)
    }

    /// Identifies the credential and the endpoint in use.
    pub fn fingerprint(&self) -> Fingerprint {
        each!(self, client => client.fingerprint())
    }

    /// Whether `other` sends with the same credential to the same endpoint. The subject token is compared too; it may
    /// differ between nodes, so the fingerprint leaves it out.
    pub fn is_same(&self, other: &Self) -> bool {
        let local = |sender: &Self| each!(sender, client => client.local_fingerprint());
        self.fingerprint() == other.fingerprint() && local(self) == local(other)
    }

    /// Whether both send to the same origins. Then answers to one also hold for the other.
    pub fn shares_place_with(&self, other: &Self) -> bool {
        let place = |authority: &Authority| {
            (authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(HTTPS))
        };
        let places = |sender: &Self| -> Vec<_> {
            let origins: Vec<Authority> = each!(sender, client => client.origins());
            origins.iter().map(place).collect()
        };
        places(self) == places(other)
    }

    /// The present numbers of connections and streams.
    pub fn stats(&self) -> PoolStats {
        each!(self, client => client.stats())
    }

    /// Counts connections, and the age of the tokens in use, from now on.
    pub fn count_in(&self, metrics: &Arc<SenderMetrics>) {
        each!(self, client => client.count_in(metrics));
    }

    /// Waits for requests in flight, for a request time-out at most, then closes the connections.
    pub async fn shutdown(&self) {
        each!(self, client => client.shutdown().await);
    }
}

/// The outcome for a message of another provider. Only a bug in Pushpost can cause it, so the device is not blamed.
pub(super) fn of_another_provider() -> Outcome {
    Outcome::Rejected { reason: PushpostReason::Internal.into() }
}

/// The providers of a service: the built-in ones and, in tests, further ones. Cheap to clone. Two services in one
/// process may have different lists.
#[derive(Clone)]
pub struct Providers(Arc<[&'static dyn Provider]>);

impl Providers {
    /// The built-in providers and the given ones.
    pub fn with(further: &[&'static dyn Provider]) -> Self {
        let mut all: Vec<&'static dyn Provider> = BUILT_IN.iter().chain(further).copied().collect();
        all.sort_by_key(|provider| provider.platform());
        Self(all.into())
    }

    /// The providers in the order of their platforms' numbers.
    pub fn iter(&self) -> impl Iterator<Item = &'static dyn Provider> + '_ {
        self.0.iter().copied()
    }

    /// The provider of a platform, if the service has it.
    pub fn of(&self, platform: Platform) -> Option<&'static dyn Provider> {
        self.iter().find(|provider| provider.platform() == platform)
    }

    /// The kind of token that the content needs where a platform has several kinds. Of such platforms the first decides,
    /// because an audience is narrowed to one kind.
    pub fn kind(&self, content: &Content) -> Kind {
        let with_kinds = self.iter().find(|provider| provider.platform().has_kinds());
        with_kinds.map_or(Kind::Alert, |provider| provider.kind(content))
    }

    /// The platforms of all providers, with the facts about their device tokens and lanes.
    pub fn platforms(&self) -> Platforms {
        Platforms::new(self.iter().map(Provider::platform))
    }
}

impl Default for Providers {
    fn default() -> Self {
        Self::with(&[])
    }
}

impl PartialEq for Providers {
    fn eq(&self, other: &Self) -> bool {
        self.platforms() == other.platforms()
    }
}

impl Eq for Providers {}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|provider| provider.platform())).finish()
    }
}

/// The platforms of the built-in providers, with the facts about their device tokens and lanes.
pub fn built_in_platforms() -> Platforms {
    Providers::default().platforms()
}
