//! One address for several nodes: a TCP forwarder, as a load balancer in front of them.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Forwards each connection to the first node that takes it. A connection ends with its node.
pub(super) struct SharedAddress {
    url: String,
    /// Ends with it.
    _forwarding: JoinSet<()>,
}

impl SharedAddress {
    /// `nodes`: `host:port` of each.
    pub(super) async fn of(nodes: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut forwarding = JoinSet::new();
        forwarding.spawn(forward(listener, nodes.iter().map(|node| (*node).to_owned()).collect()));
        Self { url, _forwarding: forwarding }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

async fn forward(listener: TcpListener, nodes: Vec<String>) {
    let mut connections = JoinSet::new();
    loop {
        let (mut from, _) = listener.accept().await.unwrap();
        let nodes = nodes.clone();
        connections.spawn(async move {
            for node in nodes {
                let Ok(mut to) = TcpStream::connect(&node).await else { continue };
                // An error is the end of the connection, as it is for the node and the browser.
                let _ = copy_bidirectional(&mut from, &mut to).await;
                return;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
