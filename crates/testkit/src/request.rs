//! HTTP requests exactly as a test wants them: headers, raw bodies, any key.

use http::Method;
use pushpost::runtime::Role;
use serde_json::Value;

use crate::answer::Answer;
use crate::service::TestService;

pub const SEND: &str = "/v1/notifications";
pub const DEVICES: &str = "/v1/devices";

/// A service that accepts notifications and sends nothing, so that what is stored does not change.
pub async fn service_without_workers(overrides: &[(&str, &str)]) -> TestService {
    let builder = TestService::builder().node(Role::Api);
    overrides.iter().fold(builder, |builder, (key, value)| builder.config(key, value)).build().await
}

/// One request, which can be changed before it is sent.
#[derive(Clone)]
pub struct ApiRequest {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl ApiRequest {
    pub fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: None }
    }

    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    /// A request with a body of the media type JSON.
    pub fn json(method: Method, path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..Self::new(method, path) }.header("content-type", "application/json")
    }

    pub fn post(path: &str, body: &Value) -> Self {
        Self::json(Method::POST, path, body.to_string())
    }

    pub fn put(path: &str, body: &Value) -> Self {
        Self::json(Method::PUT, path, body.to_string())
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(given, _)| given != name);
        self
    }

    pub fn key(self, secret: &str) -> Self {
        self.header("authorization", &format!("Bearer {secret}"))
    }

    pub async fn of(self, service: &TestService) -> Answer {
        let url = service.url(&self.path);
        self.send(service, url).await
    }

    /// Sends it to one node; nodes are counted in the order of their starts.
    pub async fn of_node(self, service: &TestService, node: usize) -> Answer {
        let url = service.node_url(node, &self.path);
        self.send(service, url).await
    }

    async fn send(self, service: &TestService, url: String) -> Answer {
        let mut request = service.http.request(self.method.clone(), url);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = self.body {
            request = request.body(body);
        }
        Answer::read(&self.method, request.send().await.unwrap()).await.unwrap()
    }
}

/// A digest of all rows that a request could leave behind.
pub async fn stored(service: &TestService) -> String {
    let sql = "select concat_ws(' ', (select count(*) from notifications), (select count(*) from targets),
        (select count(*) from jobs), (select count(*) from receipts), (select count(*) from subscriptions),
        (select md5(string_agg(d::text, ' ' order by device_id)) from devices d))";
    sqlx::query_scalar(sql).fetch_one(&service.database.pool).await.unwrap()
}
