//! The frame of a page: head, list of pages, table of contents. Knows nothing of what a page is about.

use std::fmt::{self, Write as _};

use super::DOCUMENTS;

/// What a page has to say.
pub(super) struct Article {
    /// The text of the page, as HTML.
    pub(super) html: String,
    /// The headings below the title, in order.
    pub(super) headings: Vec<Heading>,
}

/// A heading that the table of contents lists.
pub(super) struct Heading {
    /// 2 for a part of the page, 3 for a part of a part.
    pub(super) level: u8,
    /// The value of the `id` that the heading has.
    pub(super) anchor: String,
    /// The words of the heading, without markup.
    pub(super) text: String,
}

/// A page. `name` is the last part of its path, empty for `/docs` itself.
pub(super) fn page(name: &str, title: &str, article: &Article) -> String {
    let mut page = String::with_capacity(article.html.len() + 8192);
    let title = Escaped(title);
    page += "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n";
    page += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n";
    page += "<meta name=\"color-scheme\" content=\"light dark\" />\n";
    push(&mut page, format_args!("<title>{title} · Pushpost</title>\n"));
    page += "<link rel=\"icon\" href=\"data:,\" />\n<link rel=\"stylesheet\" href=\"/docs/style.css\" />\n</head>\n<body>\n";
    page += "<a class=\"skip\" href=\"#text\">Skip to the text</a>\n<header>\n";
    push(&mut page, format_args!("<p>Pushpost {}</p>\n", env!("CARGO_PKG_VERSION")));
    write_pages(&mut page, name);
    page += "</header>\n<div class=\"columns\">\n";
    write_contents(&mut page, &article.headings);
    push(&mut page, format_args!("<main id=\"text\">\n{}</main>\n</div>\n</body>\n</html>\n", article.html));
    page
}

/// The list of all pages.
fn write_pages(page: &mut String, current: &str) {
    page.push_str("<nav aria-label=\"Pages\"><ul>\n");
    let documents = DOCUMENTS.iter().map(|document| (document.name, document.title));
    for (name, title) in [("", "Reference")].into_iter().chain(documents) {
        let mark = if name == current { " aria-current=\"page\"" } else { "" };
        let slash = if name.is_empty() { "" } else { "/" };
        push(page, format_args!("<li><a href=\"/docs{slash}{name}\"{mark}>{}</a></li>\n", Escaped(title)));
    }
    page.push_str("</ul></nav>\n");
}

/// The table of contents. Levels are told by classes, because a list in a list helps no reader here.
fn write_contents(page: &mut String, headings: &[Heading]) {
    page.push_str("<nav class=\"contents\" aria-label=\"On this page\"><ul>\n");
    for Heading { level, anchor, text } in headings {
        let (anchor, text) = (Escaped(anchor), Escaped(text));
        push(page, format_args!("<li class=\"level{level}\"><a href=\"#{anchor}\">{text}</a></li>\n"));
    }
    page.push_str("</ul></nav>\n");
}

/// Appends to a page. A `String` takes everything.
pub(super) fn push(page: &mut String, text: fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a string takes everything");
}

/// A text as it stands in HTML, between tags or in a quoted attribute.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                _ => "&quot;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}
