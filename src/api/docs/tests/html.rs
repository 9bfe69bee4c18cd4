//! Reads HTML as strictly as XML: each tag is closed, in order, and each attribute is quoted.

/// The elements that have no end tag.
const VOID: &[&str] = &["meta", "link", "br", "hr"];

/// An element with its attributes and the text in it.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) text: String,
}

impl Element {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The start tag without its brackets.
    fn read(tag: &str) -> Result<Self, String> {
        let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut element = Self { name: name.to_owned(), ..Self::default() };
        while !rest.trim().is_empty() {
            let (name, after) = rest.trim_start().split_once("=\"").ok_or(format!("no value in <{tag}>"))?;
            let (value, after) = after.split_once('"').ok_or(format!("no end of a value in <{tag}>"))?;
            element.attributes.push((name.to_owned(), plain(value)?));
            rest = after;
        }
        Ok(element)
    }
}

/// The elements in the order of their end tags.
///
/// # Errors
/// The first place that is not well-formed.
pub(super) fn elements(html: &str) -> Result<Vec<Element>, String> {
    let (mut open, mut closed) = (Vec::<Element>::new(), Vec::new());
    let mut rest = html.strip_prefix("<!DOCTYPE html>\n").ok_or("no document type")?;
    while let Some(at) = rest.find('<') {
        let text = plain(&rest[..at])?;
        open.iter_mut().for_each(|element| element.text += &text);
        let (tag, after) = rest[at + 1..].split_once('>').ok_or("a tag has no end")?;
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            let element = open.pop().filter(|element| element.name == name);
            closed.push(element.ok_or(format!("</{name}> closes another element"))?);
        } else if let Some(tag) = tag.strip_suffix(" /") {
            let element = Element::read(tag)?;
            if !VOID.contains(&element.name.as_str()) {
                return Err(format!("<{}> needs an end tag", element.name));
            }
            closed.push(element);
        } else {
            open.push(Element::read(tag)?);
        }
    }
    match open.pop() {
        Some(element) => Err(format!("<{}> is not closed", element.name)),
        None => Ok(closed),
    }
}

/// A text without its escapes.
fn plain(text: &str) -> Result<String, String> {
    let mut parts = text.split('&');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, after) = part.split_once(';').ok_or(format!("a bare & in {text:?}"))?;
        plain.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "#39" | "#x27" => '\'',
            _ => return Err(format!("unknown escape &{name};")),
        });
        plain += after;
    }
    if plain.is_empty() || !text.contains('>') { Ok(plain) } else { Err(format!("a bare > in {text:?}")) }
}

#[test]
fn faults_of_form_are_found() {
    let faults = ["<p>", "<p><b></p></b>", "<p>a & b</p>", "<p id=a></p>", "<p>a > b</p>", "<p />"];
    for html in faults {
        assert!(elements(&format!("<!DOCTYPE html>\n{html}")).is_err(), "{html}");
    }
    let read = elements("<!DOCTYPE html>\n<p id=\"a\">1 &lt; <b>2</b><br /></p>").unwrap();
    assert_eq!((read[2].text.as_str(), read[2].attribute("id")), ("1 < 2", Some("a")));
}
