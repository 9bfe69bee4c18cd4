//! Documents of the folder `docs`, from Markdown to HTML: headings get the anchors that GitHub gives them, and links to
//! other documents lead to their pages.

use std::collections::HashMap;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use super::document;
use super::page::{Article, Escaped, Heading};

/// A whole document.
pub(super) fn article(markdown: &str) -> Article {
    let mut events = events(markdown);
    let headings = add_anchors(&mut events);
    Article { html: write(events), headings }
}

/// A piece of text without headings, such as a description in the OpenAPI document.
pub(super) fn fragment(markdown: &str) -> String {
    write(events(markdown))
}

/// The parts of the text, with links to pages, and without markup that the source has as HTML.
fn events(markdown: &str) -> Vec<Event<'_>> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut links = Vec::new();
    let events = Parser::new_ext(markdown, options).flat_map(|event| match event {
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let target = target(&dest_url);
            links.push(target.is_some());
            target
                .map(|to| Event::Start(Tag::Link { link_type, dest_url: to.into(), title, id }))
                .into_iter()
                .collect()
        }
        // The text of a link to what is not served stays.
        Event::End(TagEnd::Link) => match links.pop() {
            Some(true) => vec![event],
            _ => Vec::new(),
        },
        // Pictures are not served. What they show is said instead.
        Event::Start(Tag::Image { .. }) => vec![Event::Start(Tag::Emphasis)],
        Event::End(TagEnd::Image) => vec![Event::End(TagEnd::Emphasis)],
        // Alignments are inline styles, which the policy forbids.
        Event::Start(Tag::Table(alignments)) => vec![
            Event::Html("<div class=\"table\" tabindex=\"0\">".into()),
            Event::Start(Tag::Table(vec![pulldown_cmark::Alignment::None; alignments.len()])),
        ],
        Event::End(TagEnd::Table) => vec![event, Event::Html("</div>\n".into())],
        Event::Html(text) | Event::InlineHtml(text) if text.trim_start().starts_with("<!--") => Vec::new(),
        Event::Html(text) | Event::InlineHtml(text) => vec![Event::Text(text)],
        event => vec![event],
    });
    events.collect()
}

/// Where a link of a document leads. None: to a file that is not served.
fn target(link: &str) -> Option<String> {
    if link.starts_with('#') || link.contains("://") {
        return Some(link.to_owned());
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    if file == "openapi.json" {
        return Some("/openapi.json".to_owned());
    }
    let page = document(file.strip_suffix(".md")?)?.name;
    Some(anchor.map_or_else(|| format!("/docs/{page}"), |anchor| format!("/docs/{page}#{anchor}")))
}

/// Gives each heading its anchor and a link to itself.
fn add_anchors(events: &mut Vec<Event<'_>>) -> Vec<Heading> {
    let (mut headings, mut counts) = (Vec::new(), HashMap::new());
    let mut at = 0;
    while at < events.len() {
        let Event::Start(Tag::Heading { level, .. }) = events[at] else {
            at += 1;
            continue;
        };
        let end = at + events[at..].iter().position(ends_heading).expect("a heading ends");
        let text: String = events[at..end].iter().filter_map(text).collect();
        let anchor = unused(anchor(&text), &mut counts);
        if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
            *id = Some(anchor.clone().into());
        }
        if level != HeadingLevel::H1 {
            let link = format!(
                " <a class=\"self\" href=\"#{0}\" aria-label=\"Link to this part\">#</a>",
                Escaped(&anchor)
            );
            events.insert(end, Event::InlineHtml(link.into()));
        }
        if matches!(level, HeadingLevel::H2 | HeadingLevel::H3) {
            headings.push(Heading { level: level as u8, anchor, text });
        }
        at = end;
    }
    headings
}

fn ends_heading(event: &Event<'_>) -> bool {
    matches!(event, Event::End(TagEnd::Heading(_)))
}

fn text<'e>(event: &'e Event<'_>) -> Option<&'e str> {
    match event {
        Event::Text(text) | Event::Code(text) => Some(text),
        _ => None,
    }
}

/// The anchor of a heading, as GitHub makes it.
pub(super) fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The second `name` of a page is `name-1`.
fn unused(anchor: String, counts: &mut HashMap<String, u32>) -> String {
    let count = counts.entry(anchor.clone()).and_modify(|count| *count += 1).or_default();
    if *count == 0 { anchor } else { format!("{anchor}-{count}") }
}

fn write(events: Vec<Event<'_>>) -> String {
    let mut out = String::new();
    html::push_html(&mut out, events.into_iter());
    out
}
