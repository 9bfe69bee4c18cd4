//! The reference: each operation of the OpenAPI document with its parameters, an example of the request as a command, and
//! examples of its answers. Its fields are in the page of `docs/api_fields.md`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::curl;
use super::markdown::{anchor, fragment};
use super::page::{Article, Escaped, Heading, push};
use crate::api::openapi;

/// The methods in the order of an operation list.
const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

/// What the page shows of the OpenAPI document.
#[derive(Deserialize)]
struct Document {
    info: Info,
    tags: Vec<Tag>,
    paths: Map<String, Value>,
}

#[derive(Deserialize)]
struct Info {
    description: String,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    description: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    tags: Vec<String>,
    operation_id: String,
    summary: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Vec<Parameter>,
    request_body: Option<Body>,
    responses: Map<String, Value>,
    security: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
    r#in: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    required: bool,
    example: Option<Value>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    description: String,
    content: Map<String, Value>,
}

/// The article of `/docs`.
pub(super) fn article() -> Article {
    let document: Document =
        serde_json::from_str(openapi::text()).expect("the document has all that it needs");
    let operations = document.operations();
    let mut article = Article { html: String::new(), headings: Vec::new() };
    article.write_opening(&document.info.description);
    for tag in &document.tags {
        article.write_part(tag);
        for (path, method, operation) in &operations {
            if operation.tags.contains(&tag.name) {
                article.write_operation(path, &method.to_uppercase(), operation);
            }
        }
    }
    article
}

impl Document {
    /// Path, method and operation, in the order of the document.
    fn operations(&self) -> Vec<(&str, &str, Operation)> {
        let mut operations = Vec::new();
        for (path, item) in &self.paths {
            for method in METHODS {
                if let Some(operation) = item.get(method) {
                    let operation =
                        Operation::deserialize(operation).expect("an operation has all that it needs");
                    operations.push((path.as_str(), method, operation));
                }
            }
        }
        operations
    }
}

impl Article {
    fn write_opening(&mut self, description: &str) {
        let page = &mut self.html;
        page.push_str("<h1>Reference</h1>\n");
        page.push_str(&fragment(description));
        page.push_str(
            "<p>The commands need two variables: <code>PUSHPOST_URL</code>, such as <code>http://localhost:8080</code>, and \
             <code>PUSHPOST_KEY</code> with a key of the named scope; <code>admin</code> is enough for all. The <a \
             href=\"/docs/guide\">guide</a> leads through a first hour, <a href=\"/docs/api\">API</a> explains the rules, <a \
             href=\"/docs/api_fields\">Fields</a> lists every field. All of it for programs: <a \
             href=\"/openapi.json\">openapi.json</a>.</p>\n",
        );
    }

    fn write_part(&mut self, tag: &Tag) {
        let mut letters = tag.name.chars();
        let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
        let title = format!("{first}{}", letters.as_str());
        push(&mut self.html, format_args!("<h2 id=\"{}\">{}</h2>\n", Escaped(&tag.name), Escaped(&title)));
        self.html.push_str(&fragment(&tag.description));
        self.headings.push(Heading { level: 2, anchor: tag.name.clone(), text: title });
    }

    fn write_operation(&mut self, path: &str, method: &str, operation: &Operation) {
        let (id, summary) = (Escaped(&operation.operation_id), Escaped(&operation.summary));
        let page = &mut self.html;
        push(page, format_args!("<section>\n<h3 id=\"{id}\">{summary} "));
        push(
            page,
            format_args!("<a class=\"self\" href=\"#{id}\" aria-label=\"Link to this part\">#</a></h3>\n"),
        );
        push(
            page,
            format_args!(
                "<p class=\"request\"><b class=\"{method}\">{method}</b> <code>{}</code>",
                Escaped(path)
            ),
        );
        push(page, format_args!(" <span>{}</span></p>\n", operation.scopes()));
        page.push_str(&fragment(&operation.description));
        write_parameters(page, &operation.parameters);
        write_request(page, path, method, operation);
        write_answers(page, &operation.responses);
        let fields = anchor(&operation.summary);
        push(page, format_args!("<p><a href=\"/docs/api_fields#{fields}\">All fields</a></p>\n</section>\n"));
        let (anchor, text) = (operation.operation_id.clone(), operation.summary.clone());
        self.headings.push(Heading { level: 3, anchor, text });
    }
}

impl Operation {
    /// The scopes of which one is enough, as HTML.
    fn scopes(&self) -> String {
        let scopes =
            self.security.iter().flat_map(|need| need.values()).filter_map(Value::as_array).flatten();
        let scopes: Vec<_> = scopes
            .filter_map(Value::as_str)
            .map(|scope| format!("<code>{}</code>", Escaped(scope)))
            .collect();
        if scopes.is_empty() { "without a key".to_owned() } else { format!("scope {}", scopes.join(" or ")) }
    }
}

fn write_parameters(page: &mut String, parameters: &[Parameter]) {
    if parameters.is_empty() {
        return;
    }
    page.push_str("<div class=\"table\" tabindex=\"0\"><table><thead><tr><th>parameter</th><th>in</th><th>meaning</th></tr></thead>\n<tbody>\n");
    for parameter in parameters {
        let (name, place) = (Escaped(&parameter.name), Escaped(&parameter.r#in));
        push(page, format_args!("<tr><td><code>{name}</code></td><td>{place}</td><td>"));
        page.push_str(&fragment(&parameter.description));
        page.push_str("</td></tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

/// The example of the request as a command. A body of several media types is shown in each of them.
fn write_request(page: &mut String, path: &str, method: &str, operation: &Operation) {
    let mut filled = path.to_owned();
    let mut query = Vec::new();
    for parameter in &operation.parameters {
        let example = parameter.example.as_ref().map(plain).unwrap_or_default();
        match parameter.r#in.as_str() {
            "path" => filled = filled.replace(&format!("{{{}}}", parameter.name), &example),
            "query" if parameter.required => query.push(format!("{}={example}", parameter.name)),
            _ => {}
        }
    }
    if !query.is_empty() {
        filled = format!("{filled}?{}", query.join("&"));
    }
    let has_key = operation.security.iter().any(|need| !need.is_empty());
    let request = |body| curl::Request { method, path: filled.clone(), has_key, body }.command();
    let mut write =
        |command: String| push(page, format_args!("<pre><code>{}</code></pre>\n", Escaped(&command)));
    match &operation.request_body {
        None => write(request(None)),
        Some(body) => {
            for (media_type, content) in &body.content {
                write(request(content.get("example").map(|example| (media_type.as_str(), example))));
            }
        }
    }
    if let Some(body) = &operation.request_body {
        page.push_str(&fragment(&body.description));
    }
}

/// The examples of success, then the codes of all problems, which link to the page of errors.
fn write_answers(page: &mut String, responses: &Map<String, Value>) {
    let mut problems = Vec::new();
    for (status, response) in responses {
        if !status.starts_with('2') {
            let contents = response["content"].as_object().into_iter().flat_map(Map::values);
            let codes = contents.filter_map(|content| content["examples"].as_object()).flat_map(Map::keys);
            let link = |code| format!("<a href=\"/docs/errors#{0}\">{0}</a>", Escaped(code));
            let codes: Vec<_> = codes.map(|code| link(code)).collect();
            problems.push(format!("{} {}", Escaped(status), codes.join(", ")));
            continue;
        }
        let description = fragment(response["description"].as_str().unwrap_or_default());
        push(page, format_args!("<div class=\"answer\"><b>{}</b> {description}</div>\n", Escaped(status)));
        for (media_type, content) in response["content"].as_object().into_iter().flatten() {
            let Some(example) = content.get("example") else { continue };
            let shown = shown(media_type, example);
            push(page, format_args!("<pre><code>{}</code></pre>\n", Escaped(&shown)));
        }
    }
    if !problems.is_empty() {
        push(page, format_args!("<p class=\"problems\"><b>Problems:</b> {}</p>\n", problems.join(" · ")));
    }
}

/// An example of an answer: JSON over several lines, a line of NDJSON in one, and text as it stands.
fn shown(media_type: &str, example: &Value) -> String {
    match (media_type, example) {
        ("application/json", _) => format!("{example:#}"),
        (_, Value::String(text)) => text.clone(),
        _ => example.to_string(),
    }
}

/// An example of a parameter as it stands in a URL.
fn plain(example: &Value) -> String {
    example.as_str().map_or_else(|| example.to_string(), str::to_owned)
}
