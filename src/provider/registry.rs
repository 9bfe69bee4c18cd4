//! The registry: the providers that are built in, one line each.
//!
//! A line makes a variant of [`Sender`] and of [`Prepared`], so that an attempt calls its provider's client directly: no
//! attempt pays for a boxed future. Tests hand the service further providers, which go through [`Sender::further`].

use std::fmt;
use std::sync::Arc;

use http::uri::Authority;
use tokio::time::Instant;

use super::port::{self, BoxedMessage, Provider, ProviderClient};
use super::transport::PoolStats;
use super::{Attempt, Fingerprint, apns, fcm};
use crate::domain::{Content, NotificationId, Outcome, Platform, Platforms, PushpostReason};

/// Makes the types over all providers from a line for each: `Variant: client => provider`.
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

        /// Calls the same method of whichever client it is.
        macro_rules! each {
            ($sender:expr, $name:ident => $call:expr) => {
                match &$sender.0 {
                    $(AnyClient::$variant($name) => $call,)*
                    AnyClient::Further($name) => $call,
                }
            };
        }

        impl Sender {
            /// Renders what all attempts at `content` in this lane share.
            pub fn prepare(&self, id: NotificationId, content: &Content) -> Prepared {
                Prepared(match &self.0 {
                    $(AnyClient::$variant(client) => AnyMessage::$variant(Arc::new(client.prepare(id, content))),)*
                    AnyClient::Further(client) => AnyMessage::Further(Arc::new(client.prepare(id, content))),
                })
            }

            /// One attempt at one device, over by its deadline. Dropping the future resets the request.
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
            /// Did a header of the request's own take part in the topic or the key that it is sent with? Then its answer
            /// says nothing about the lane's (docs/queue.md#topic-override).
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

/// A lane's way to its provider. Shared by all of the lane's attempts.
pub struct Sender(AnyClient);

/// A notification, ready to go to any device of one lane. Cheap to clone.
#[derive(Clone)]
pub struct Prepared(AnyMessage);

impl fmt::Debug for Prepared {
    /// Nothing of what the notification says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

const HTTPS: u16 = 443;

impl Sender {
    /// Of a provider that is not built in. Each attempt pays for a boxed future.
    pub fn further(client: impl ProviderClient) -> Self {
        Self(AnyClient::Further(Box::new(client)))
    }

    /// What the provider says about content.
    pub fn provider(&self) -> &'static dyn Provider {
        each!(self, client => client.provider())
    }

    /// Goes as far as it gets without a device: to an open connection and, for FCM, an access token.
    ///
    /// # Errors
    /// The outcome that an attempt would have had: [`Outcome::RetryLane`] or [`Outcome::Misconfigured`].
    pub async fn reach(&self, deadline: Instant) -> Result<(), Outcome> {
        each!(self, client => client.reach(deadline).await)
    }

    /// Names the credential in use, and where it is used.
    pub fn fingerprint(&self) -> Fingerprint {
        each!(self, client => client.fingerprint())
    }

    /// Does `other` send just as this one does? A subject token may be this node's own, so it is no part of the
    /// fingerprint, by which nodes agree about a lane.
    pub fn is_same(&self, other: &Self) -> bool {
        let local = |sender: &Self| each!(sender, client => client.local_fingerprint());
        self.fingerprint() == other.fingerprint() && local(self) == local(other)
    }

    /// Do both reach the same places? Then what one answers, the other would.
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

    /// Connections and streams now.
    pub fn stats(&self) -> PoolStats {
        each!(self, client => client.stats())
    }

    /// Lets what is on its way end (a request time-out at most), then closes the connections.
    pub async fn shutdown(&self) {
        each!(self, client => client.shutdown().await);
    }
}

/// Only a fault of ours could bring another provider's message to a client; the device is not to blame for it.
pub(super) fn of_another_provider() -> Outcome {
    Outcome::Rejected { reason: PushpostReason::Internal.into() }
}

/// The providers of a service: those that are built in, and in tests further ones. Cheap to clone. Nothing of it is
/// shared by two services in one process.
#[derive(Clone)]
pub struct Providers(Arc<[&'static dyn Provider]>);

impl Providers {
    /// The providers that are built in, and these.
    pub fn with(further: &[&'static dyn Provider]) -> Self {
        let mut all: Vec<&'static dyn Provider> = BUILT_IN.iter().chain(further).copied().collect();
        all.sort_by_key(|provider| provider.platform());
        Self(all.into())
    }

    /// In the order of their platforms' numbers.
    pub fn iter(&self) -> impl Iterator<Item = &'static dyn Provider> + '_ {
        self.0.iter().copied()
    }

    /// The provider of a platform.
    pub fn of(&self, platform: Platform) -> Option<&'static dyn Provider> {
        self.iter().find(|provider| provider.platform() == platform)
    }

    /// What the providers state about their device tokens and lanes.
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

/// What the providers that are built in state about their device tokens and lanes.
pub fn built_in_platforms() -> Platforms {
    Providers::default().platforms()
}
