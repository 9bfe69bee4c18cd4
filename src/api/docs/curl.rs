//! Examples of requests as commands of `curl`, which can be pasted into a shell that has `PUSHPOST_URL` and `PUSHPOST_KEY`.

use serde_json::Value;

/// A request of which the reference has an example.
pub(super) struct Request<'a> {
    /// In upper case, as `curl -X` takes it.
    pub(super) method: &'a str,
    /// With the example of each parameter in its place.
    pub(super) path: String,
    /// Does the request need a key?
    pub(super) has_key: bool,
    /// The media type and the example of the body.
    pub(super) body: Option<(&'a str, &'a Value)>,
}

impl Request<'_> {
    /// The command, over several lines.
    pub(super) fn command(&self) -> String {
        let mut lines = vec![match self.method {
            "GET" => format!("curl \"$PUSHPOST_URL{}\"", self.path),
            method => format!("curl -X {method} \"$PUSHPOST_URL{}\"", self.path),
        }];
        if self.has_key {
            lines.push("-H \"Authorization: Bearer $PUSHPOST_KEY\"".to_owned());
        }
        if let Some((media_type, example)) = self.body {
            lines.push(format!("-H \"Content-Type: {media_type}\""));
            // A line of NDJSON must stay one line.
            let body =
                if media_type == "application/json" { format!("{example:#}") } else { example.to_string() };
            lines.push(format!("--data-binary {}", quoted(&body)));
        }
        lines.join(" \\\n  ")
    }
}

/// A word of a shell with this content.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_quotation_mark_in_a_body_ends_no_word() {
        let body = json!({"title": "It's here"});
        let request = Request {
            method: "POST",
            path: "/v1/notifications".to_owned(),
            has_key: true,
            body: Some(("application/x-ndjson", &body)),
        };
        let expected = r#"curl -X POST "$PUSHPOST_URL/v1/notifications" \
  -H "Authorization: Bearer $PUSHPOST_KEY" \
  -H "Content-Type: application/x-ndjson" \
  --data-binary '{"title":"It'\''s here"}'"#;
        assert_eq!(request.command(), expected);
    }
}
