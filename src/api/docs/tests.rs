//! What every page holds: well-formed HTML, links that lead somewhere, and nothing that is loaded but the style sheet.

mod html;

use std::collections::{HashMap, HashSet};
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::api::error::ProblemCode;
use crate::api::health::Health;
use crate::api::{ListenerRouter, Surface, openapi};
use crate::domain::InputCode;
use crate::telemetry::metrics::Metrics;
use html::{Element, elements};

/// All pages by their paths.
fn pages() -> HashMap<String, &'static str> {
    let documents = DOCUMENTS.iter().map(|document| (format!("/docs/{}", document.name), document.html()));
    documents.chain([("/docs".to_owned(), reference())]).collect()
}

fn ids(elements: &[Element]) -> Vec<&str> {
    elements.iter().filter_map(|element| element.attribute("id")).collect()
}

#[test]
fn pages_are_well_formed_and_their_links_lead_somewhere() {
    let pages = pages();
    let parsed: HashMap<&str, Vec<Element>> = pages
        .iter()
        .map(|(path, html)| (path.as_str(), elements(html).unwrap_or_else(|fault| panic!("{path}: {fault}"))))
        .collect();
    let anchors: HashMap<&str, HashSet<&str>> =
        parsed.iter().map(|(path, elements)| (*path, ids(elements).into_iter().collect())).collect();
    for (path, elements) in &parsed {
        assert_eq!(ids(elements).len(), anchors[path].len(), "{path}: an id occurs twice");
        for link in elements.iter().filter(|element| element.name == "a") {
            let to = link.attribute("href").expect("a link leads somewhere");
            let (page, anchor) = to.split_once('#').map_or((to, None), |(page, anchor)| (page, Some(anchor)));
            let page = if page.is_empty() { path } else { page };
            if page.starts_with("https://") || page.starts_with("http://") || page == "/openapi.json" {
                continue;
            }
            let known = anchors.get(page).unwrap_or_else(|| panic!("{path}: {to} leads nowhere"));
            assert!(anchor.is_none_or(|anchor| known.contains(anchor)), "{path}: {to} leads to no heading");
        }
    }
}

#[test]
fn pages_load_nothing_but_the_style_sheet() {
    for (path, html) in pages() {
        for element in elements(html).unwrap() {
            let is_loading = ["script", "img", "iframe", "object", "embed", "style", "base", "form", "video"];
            assert!(!is_loading.contains(&element.name.as_str()), "{path}: {element:?}");
            for (name, value) in &element.attributes {
                assert!(!name.starts_with("on") && name != "style" && name != "src", "{path}: {element:?}");
                if element.name == "link" && name == "href" {
                    assert!(["/docs/style.css", "data:,"].contains(&value.as_str()), "{path}: {element:?}");
                }
            }
        }
    }
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import"), "the style sheet loads something");
}

#[test]
fn each_operation_has_an_anchor_and_a_command_that_a_shell_can_read() {
    let document: Value = serde_json::from_str(openapi::text()).unwrap();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let operations: Vec<_> = operations.filter_map(|operation| operation["operationId"].as_str()).collect();
    let elements = elements(reference()).unwrap();
    let anchors = ids(&elements);
    assert!(operations.len() > 30, "{operations:?}");
    for operation in &operations {
        assert!(anchors.contains(operation), "{operation} has no anchor");
    }
    let texts = elements.iter().filter(|element| element.name == "code").map(|element| element.text.as_str());
    let commands: Vec<_> = texts.filter(|text| text.starts_with("curl ")).collect();
    assert!(commands.len() >= operations.len(), "{} commands", commands.len());
    let script = commands.join("\n");
    assert!(!script.contains('{') || !script.contains("/{"), "a parameter is not filled in: {script}");
    let mut shell = Command::new("bash").args(["-n", "-c", &script]).stdout(Stdio::null()).spawn().unwrap();
    assert!(shell.wait().unwrap().success(), "{script}");
}

#[test]
fn the_type_of_each_problem_and_fault_is_a_part_of_the_page_of_errors() {
    let elements = elements(document("errors").unwrap().html()).unwrap();
    let anchors = ids(&elements);
    let problems = ProblemCode::ALL.iter().map(|code| code.as_str());
    for code in problems.chain(InputCode::ALL.iter().map(|code| code.as_str())) {
        assert!(anchors.contains(&code), "{code}");
    }
}

async fn ask(surface: Surface, path: &str) -> Response {
    let router =
        ListenerRouter::new(&Arc::new(Health::default()), &Arc::from([]), &Metrics::new(), surface).service();
    router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_node_that_waits_for_its_database_serves_the_pages_to_operators() {
    for surface in [Surface::All, Surface::Internal, Surface::Health, Surface::InternalHealth] {
        for path in ["/docs", "/docs/runbook", "/docs/errors"] {
            let answer = ask(surface, path).await;
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()[CONTENT_TYPE]),
                (200, &"text/html; charset=utf-8".parse().unwrap()),
                "{path}"
            );
            let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(
                policy.starts_with("default-src 'none'; style-src 'self';") && !policy.contains("script"),
                "{policy}"
            );
        }
        assert_eq!(ask(surface, "/docs/style.css").await.headers()[CONTENT_TYPE], "text/css; charset=utf-8");
        assert_eq!(ask(surface, "/docs/secret").await.status(), 404);
    }
    assert_eq!(ask(Surface::Public, "/docs/runbook").await.status(), 503, "clients have no pages");
}

#[test]
fn every_document_is_served() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).expect("a folder");
    let names = files.filter_map(|file| {
        let name = file.expect("a file").file_name().into_string().expect("a plain name");
        name.strip_suffix(".md").map(str::to_owned)
    });
    let unserved: Vec<String> = names.filter(|name| document(name).is_none()).collect();
    assert!(unserved.is_empty(), "not in the list of documents: {unserved:?}");
}

#[test]
fn headings_of_the_same_words_have_anchors_of_their_own() {
    let article = markdown::article(
        "# A\n## B `c` & D\ntext <!-- mark -->\n## B c D\n| x |\n|:-:|\n| [y](queue.md#claim) [z](../z.sh) |\n",
    );
    let anchors: Vec<_> = article.headings.iter().map(|heading| heading.anchor.as_str()).collect();
    assert_eq!(anchors, ["b-c--d", "b-c-d"]);
    assert!(article.html.contains(r#"<a href="/docs/queue#claim">y</a> z"#), "{}", article.html);
    assert!(!article.html.contains("mark") && !article.html.contains("style="), "{}", article.html);
    let twice = markdown::article("## B\n## B\n");
    assert_eq!(twice.headings[1].anchor, "b-1");
}
