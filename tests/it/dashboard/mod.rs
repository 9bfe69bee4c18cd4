//! `/dashboard`: its pages, its session, and what pages may ask.

mod access;
mod cross_site;
mod demo;
mod lane_minutes;
mod live;
mod pages;
mod session;
mod webhook_needs;

use http::Method;
use pushpost_testkit::answer::Answer;
use pushpost_testkit::service::TestService;
use reqwest::redirect::Policy;
use serde_json::{Value, json};

const SESSION: &str = "/dashboard/session";

/// A browser with the dashboard of one node, and its cookie. It sends what the pages send.
struct Browser {
    http: reqwest::Client,
    /// What it sends as `Origin`, as `http://127.0.0.1:4711`.
    origin: String,
    cookie: Option<String>,
    /// Headers instead of those that the pages send; an empty value: none of them.
    headers: Vec<(&'static str, String)>,
}

impl Browser {
    fn at(origin: String) -> Self {
        let http = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        Self { http, origin, cookie: None, headers: Vec::new() }
    }

    fn of(service: &TestService) -> Self {
        Self::at(service.url(""))
    }

    /// A browser that has logged in.
    async fn with_key(service: &TestService, secret: &str) -> Self {
        let mut browser = Self::of(service);
        let answer = browser.log_in(secret).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        browser
    }

    /// The same browser with another header than that of the pages. An empty value: without the header.
    fn sends(&self, name: &'static str, value: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.push((name, value.to_owned()));
        let (http, origin, cookie) = (self.http.clone(), self.origin.clone(), self.cookie.clone());
        Self { http, origin, cookie, headers }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    /// Opens the live stream of an app.
    async fn look(&self, app: &str, last: Option<&str>) -> reqwest::Response {
        let url = format!("{}/dashboard/api/live?app={app}", self.origin);
        let request = self.http.get(url).header("accept", "text/event-stream");
        let request = request.header("cookie", self.cookie.clone().unwrap_or_default());
        let request = last.into_iter().fold(request, |request, id| request.header("last-event-id", id));
        request.send().await.unwrap()
    }

    async fn post(&self, path: &str) -> Answer {
        self.ask(Method::POST, path, None).await
    }

    async fn log_in(&mut self, secret: &str) -> Answer {
        let answer = self.ask(Method::POST, SESSION, Some(json!({"key": secret}))).await;
        if let Some(set) = answer.headers.get("set-cookie") {
            self.cookie = Some(set.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        answer
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut headers = vec![("origin", self.origin.clone()), ("x-pushpost-dashboard", "1".to_owned())];
        headers.extend(self.cookie.iter().map(|cookie| ("cookie", cookie.clone())));
        for (name, value) in &self.headers {
            headers.retain(|(known, _)| known != name);
            headers.push((name, value.clone()));
        }
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.origin));
        for (name, value) in headers.into_iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::read(&method, request.send().await.unwrap()).await.unwrap()
    }
}

/// What `GET /dashboard/session` says, without what differs from run to run.
fn apps_of(session: &Value) -> Vec<(&str, bool)> {
    let apps = session["apps"].as_array().unwrap().iter();
    apps.map(|app| (app["app"].as_str().unwrap(), app["admin"].as_bool().unwrap())).collect()
}
