//! Connections to receivers. Each address is judged right before it is connected to, so that a name which resolves to
//! another address at each question reaches nothing that is not allowed.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tower::{BoxError, Service};

use super::answer_limit::AnswerLimit;
use crate::domain::{AddressGuard, RefusedAddress};

/// Longest duration of one connect: the name and TCP, over all addresses.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Resolves names, and leaves out the addresses that may not be reached.
#[derive(Clone, Debug)]
pub(super) struct GuardedResolver {
    guard: Arc<AddressGuard>,
    is_encrypted: bool,
}

/// No address of the name may be reached.
#[derive(Debug)]
pub(super) struct Blocked(pub(super) RefusedAddress);

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Blocked {}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (guard, is_encrypted) = (Arc::clone(&self.guard), self.is_encrypted);
        Box::pin(async move {
            let found: Vec<_> = lookup_host((name.as_str(), 0)).await?.collect();
            let judged = found.iter().map(|address| (address, guard.judge(address.ip(), is_encrypted)));
            let (allowed, refused): (Vec<_>, Vec<_>) = judged.partition(|(_, judged)| judged.is_ok());
            match (allowed.is_empty(), refused.into_iter().find_map(|(_, judged)| judged.err())) {
                (true, Some(refused)) => Err(Blocked(refused).into()),
                _ => Ok(allowed.into_iter().map(|(address, _)| *address).collect::<Vec<_>>().into_iter()),
            }
        })
    }
}

/// Connects by TCP to what [`AddressGuard`] allows. A host that is written as an address is never resolved, so it is
/// judged here.
#[derive(Clone, Debug)]
pub(super) struct GuardedConnector {
    tcp: HttpConnector<GuardedResolver>,
    guard: Arc<AddressGuard>,
    is_encrypted: bool,
}

impl GuardedConnector {
    pub(super) fn new(guard: Arc<AddressGuard>, is_encrypted: bool) -> Self {
        let resolver = GuardedResolver { guard: Arc::clone(&guard), is_encrypted };
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self { tcp, guard, is_encrypted }
    }
}

impl Service<Uri> for GuardedConnector {
    type Response = AnswerLimit<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let host = target.host().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if let Ok(address) = literal
            && let Err(refused) = self.guard.judge(address, self.is_encrypted)
        {
            return Box::pin(async move { Err(Blocked(refused).into()) });
        }
        let connect = self.tcp.call(target);
        Box::pin(async move { connect.await.map(AnswerLimit::new).map_err(Into::into) })
    }
}
