//! Requests to a [`TestService`] over HTTP, with the keys that it has made.

use http::Method;
use serde_json::Value;

use super::TestService;
use crate::answer::Answer;
use crate::documented::assert_documented;
use crate::scrape::Scrape;

impl TestService {
    pub(super) async fn ask_as_backend(&self, method: Method, path: &str) -> Answer {
        self.ask(&self.backend, method, path, None).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(&self.backend, Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(&self.backend, Method::POST, path, Some(body)).await
    }

    /// Posts a text as it is.
    pub async fn post_text(&self, path: &str, body: String) -> Answer {
        self.ask_with(&self.backend, Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(&self.backend, Method::PUT, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask(&self.backend, Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(&self.backend, Method::DELETE, path, None).await
    }

    /// Asks with an operator's key.
    pub async fn by_admin(&self, method: Method, path: &str) -> Answer {
        self.ask(&self.admin, method, path, None).await
    }

    /// Posts with an operator's key.
    pub async fn post_by_admin(&self, path: &str, body: Value) -> Answer {
        self.ask(&self.admin, Method::POST, path, Some(body)).await
    }

    /// Asks with the key that phones have.
    pub async fn ask_by_admin(&self, method: Method, path: &str, body: Value) -> Answer {
        self.ask(&self.admin, method, path, Some(body)).await
    }

    pub async fn put_by_phone(&self, path: &str, body: Value) -> Answer {
        self.ask(&self.phone, Method::PUT, path, Some(body)).await
    }

    /// The text of an answer to another media type.
    pub async fn get_as(&self, path: &str, accept: &str) -> String {
        let request = self.http.get(self.url(path)).bearer_auth(&self.backend).header("accept", accept);
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], accept);
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        assert_documented(&Method::GET, path, status, &headers, text.as_bytes());
        text
    }

    pub(super) fn has_api(&self) -> bool {
        self.nodes.iter().any(|node| node.address.is_some())
    }

    pub fn url(&self, path: &str) -> String {
        let address = self.nodes.iter().find_map(|node| node.address).expect("a node with an API");
        format!("http://{address}{path}")
    }

    async fn ask(&self, secret: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.ask_with(secret, method, path, body.map(|body| body.to_string())).await
    }

    /// Asks one node with any key.
    pub async fn ask_node(
        &self,
        node: usize,
        secret: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        self.ask_url(self.node_url(node, path), secret, method, body.map(|body| body.to_string())).await
    }

    pub fn node_url(&self, node: usize, path: &str) -> String {
        let address = self.nodes[node].address.expect("it has an API");
        format!("http://{address}{path}")
    }

    /// Where a node answers its probes and `/metrics`.
    pub fn health_url(&self, node: usize, path: &str) -> String {
        format!("http://{}{path}", self.nodes[node].health_address)
    }

    /// The metrics of one node.
    pub async fn scrape(&self, node: usize) -> Scrape {
        let answer = self.http.get(self.health_url(node, "/metrics")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Scrape::read(answer.text().await.unwrap())
    }

    async fn ask_with(&self, secret: &str, method: Method, path: &str, body: Option<String>) -> Answer {
        self.ask_url(self.url(path), secret, method, body).await
    }

    async fn ask_url(&self, url: String, secret: &str, method: Method, body: Option<String>) -> Answer {
        let mut request = self.http.request(method.clone(), url).bearer_auth(secret);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        Answer::read(&method, request.send().await.unwrap()).await.unwrap()
    }
}
