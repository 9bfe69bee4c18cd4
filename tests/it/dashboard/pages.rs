//! The files, their headers, and where they are served.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::processes::free_port;
use pushpost_testkit::request::service_without_workers;
use pushpost_testkit::service::TestService;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Browser;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let service = service_without_workers(&[]).await;
    let admin = service.key("admin").await;
    let browser = Browser::with_key(&service, &admin).await;
    for (path, status, cached) in [
        ("/dashboard", 308, "no-store"),
        ("/dashboard/", 200, "no-cache"),
        ("/dashboard/style.css", 200, "no-cache"),
        ("/dashboard/main.js", 200, "no-cache"),
        ("/dashboard/none.js", 404, "no-store"),
        ("/dashboard/session", 200, "no-store"),
        ("/dashboard/api/admin/lanes", 200, "no-store"),
        ("/dashboard/api/nothing", 404, "no-store"),
        ("/dashboard/api", 404, "no-store"),
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        for (name, value) in [
            ("content-security-policy", POLICY),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", cached),
        ] {
            assert_eq!(answer.headers[name], value, "{path}: {name}");
        }
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{path}");
    }
    assert_eq!(browser.get("/dashboard").await.headers["location"], "/dashboard/");
    let refused = browser.sends("origin", "").post("/dashboard/api/admin/lanes/fcm/pause").await;
    assert_eq!(
        (refused.status.as_u16(), &refused.headers["content-security-policy"]),
        (403, &POLICY.parse().unwrap())
    );
    let elsewhere = browser.get("/v1/admin/lanes").await;
    assert!(!elsewhere.headers.contains_key("content-security-policy"), "the API is as it was");
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_sent_once_and_a_path_of_a_page_is_the_page() {
    let service = service_without_workers(&[]).await;
    let browser = Browser::of(&service);
    let page = browser.get("/dashboard/").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(page.bytes.starts_with(b"<!DOCTYPE html>"), "{page:?}");
    for (path, content_type) in [
        ("/dashboard/style.css", "text/css; charset=utf-8"),
        ("/dashboard/main.js", "text/javascript; charset=utf-8"),
        ("/dashboard/icon.svg", "image/svg+xml"),
    ] {
        let first = browser.get(path).await;
        assert_eq!(
            (first.status.as_u16(), &first.headers["content-type"]),
            (200, &content_type.parse().unwrap())
        );
        let etag = first.headers["etag"].to_str().unwrap().to_owned();
        let again = browser.sends("if-none-match", &etag).get(path).await;
        assert_eq!((again.status.as_u16(), again.bytes.len()), (304, 0), "{path}");
        assert_eq!(again.headers["etag"], etag.as_str());
        let other = browser.sends("if-none-match", "\"other\"").get(path).await;
        assert_eq!((other.status.as_u16(), &other.bytes), (200, &first.bytes));
        let head = browser.ask(Method::HEAD, path, None).await;
        assert_eq!((head.status.as_u16(), head.bytes.len()), (200, 0));
    }
    // Nothing but the table of files is read, whatever the path says.
    for path in [
        "/dashboard/lanes",
        "/dashboard/notifications/ntf_0",
        "/dashboard/lanes/x.js",
        "/dashboard/..%2f..%2f..%2fetc%2fpasswd",
        "/dashboard/files/%5c..%5cmod.rs",
        "/dashboard//etc/passwd",
    ] {
        let answer = browser.get(path).await;
        assert_eq!((answer.status.as_u16(), &answer.bytes), (200, &page.bytes), "{path}");
    }
    // Clients other than browsers may send what a browser resolves.
    let address = browser.origin.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = "GET /dashboard/../../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(&page.bytes),
        "{}",
        answer.escape_ascii()
    );
    let posted = browser.post("/dashboard/lanes").await;
    assert_eq!((posted.status.as_u16(), &posted.body["code"]), (405, &"method_not_allowed".into()));
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_is_where_operators_are_and_nowhere_else() {
    let internal = format!("127.0.0.1:{}", free_port());
    let builder = TestService::builder().config("SERVER__INTERNAL_LISTEN", &internal);
    let service = builder.node(Role::Api).build().await;
    let admin = service.key("admin").await;
    let mut inside = Browser::at(format!("http://{internal}"));
    assert_eq!(inside.log_in(&admin).await.status, 200);
    let mut outside = Browser::of(&service);
    assert_eq!(outside.log_in(&admin).await.status, 404);
    outside.cookie = inside.cookie.clone();
    for path in
        ["/dashboard", "/dashboard/", "/dashboard/style.css", "/dashboard/session", "/dashboard/api/devices"]
    {
        assert_eq!(outside.get(path).await.status, 404, "{path}");
        assert!([200, 308].contains(&inside.get(path).await.status.as_u16()), "{path}");
    }
    service.stop_undecided().await;
}
