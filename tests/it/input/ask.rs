//! Asking the service exactly as a test wants to, and what a refusal must look like.

use http::{HeaderMap, Method};
use pushpost::domain::Scopes;
use pushpost::registry::keys;
use pushpost::runtime::Role;
use pushpost_simulator::Settings;
use serde_json::{Value, json};

use crate::service::Answer;
use crate::whole::stage::Stage;

pub(crate) const SEND: &str = "/v1/notifications";
pub(crate) const DEVICES: &str = "/v1/devices";

/// A service that takes everything and sends nothing, so that what is stored stays as it is.
pub(crate) async fn deaf(overrides: &[(&str, &str)]) -> Stage {
    let mut stage = Stage::set(Settings::default()).await;
    for (key, value) in overrides {
        stage.configure(key, value);
    }
    stage.node(Role::Api).await;
    stage
}

/// A new key of `shop`.
pub(crate) async fn key(stage: &Stage, scopes: &str) -> String {
    key_of(stage, "shop", scopes).await
}

pub(crate) async fn key_of(stage: &Stage, app: &str, scopes: &str) -> String {
    let mut conn = stage.database.pool.acquire().await.unwrap();
    keys::create(&mut conn, app, Scopes::parse(scopes).unwrap(), None).await.unwrap().1
}

/// One request, to be changed before it is sent.
pub(crate) struct Ask {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Ask {
    pub(crate) fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: None }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    /// With a body that is said to be JSON.
    pub(crate) fn json(method: Method, path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..Self::new(method, path) }.header("content-type", "application/json")
    }

    pub(crate) fn post(path: &str, body: &Value) -> Self {
        Self::json(Method::POST, path, body.to_string())
    }

    pub(crate) fn put(path: &str, body: &Value) -> Self {
        Self::json(Method::PUT, path, body.to_string())
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(given, _)| given != name);
        self
    }

    pub(crate) fn key(self, secret: &str) -> Self {
        self.header("authorization", &format!("Bearer {secret}"))
    }

    pub(crate) async fn of(self, stage: &Stage) -> Answer {
        let mut request = stage.http.request(self.method, stage.url(&self.path));
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers): (_, HeaderMap) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status, headers, body }
    }
}

/// A problem document with these faults, in this order, each with these members.
#[track_caller]
pub(crate) fn assert_problem(answer: &Answer, status: u16, code: &str, errors: &Value) {
    let body = &answer.body;
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{answer:?}");
    assert_eq!(body["request_id"], answer.headers["request-id"].to_str().unwrap());
    assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)), "{body}");
    assert_eq!(body["type"], format!("/docs/errors#{code}"));
    for text in ["title", "detail"] {
        assert!(body[text].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    }
    let none = json!([]);
    let found = body.get("errors").unwrap_or(&none).as_array().unwrap();
    let expected = errors.as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{body}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found["detail"].as_str().is_some_and(|text| !text.is_empty()), "{found}");
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(found.get(name), Some(value), "{name} of {found}");
        }
    }
}

/// All that a request could leave behind.
pub(crate) async fn stored(stage: &Stage) -> String {
    let sql = "select concat_ws(' ', (select count(*) from notifications), (select count(*) from targets),
        (select count(*) from jobs), (select count(*) from receipts), (select count(*) from subscriptions),
        (select md5(string_agg(d::text, ' ' order by device_id)) from devices d))";
    sqlx::query_scalar(sql).fetch_one(&stage.database.pool).await.unwrap()
}

/// 64 hexadecimal digits of two.
pub(crate) fn hex(two: &str) -> String {
    two.repeat(32)
}
