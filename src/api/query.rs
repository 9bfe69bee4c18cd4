//! Reads query parameters. Unknown ones are refused, because a misspelt filter must not return everything.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query};
use chrono::{DateTime, Utc};
use http::request::Parts;
use serde_json::Map;

use super::State;
use super::error::ApiError;
use super::json::unknown_name;
use crate::domain::{
    AppId, ErrorLocation, InputCode, InstallationKey, ValidationError, nearest, parse_whole_number,
};

/// Items of a page if the request names no `limit`.
const PAGE_DEFAULT: usize = 100;
/// The most items of a page.
const PAGE_MAX: usize = 1000;

/// The parameters of a request. A handler takes those that it knows and then calls [`Self::finish`], also if it knows none.
#[derive(Debug)]
#[must_use = "finish() reports unknown parameters"]
pub struct Parameters {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    faults: Vec<ValidationError>,
    /// Faults of the body, which come after those of the parameters.
    of_body: Vec<ValidationError>,
}

/// Which part of a list is asked for.
#[derive(Debug)]
pub struct PageRequest {
    /// The most items, 1 to 1,000.
    pub limit: usize,
    /// The bytes that [`Self::cursor`] was given for the page before.
    pub after: Option<Vec<u8>>,
    purpose: Vec<u8>,
}

impl PageRequest {
    /// The opaque cursor for the next page. It can be opened only for the same app, list and filters.
    pub fn cursor(&self, key: &InstallationKey, last: &[u8]) -> String {
        key.encode_cursor_token(&self.purpose, last)
    }
}

impl FromRequestParts<State> for Parameters {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Infallible> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let mut parameters = Self::new(pairs.map(|Query(pairs)| pairs).unwrap_or_default());
        parameters.refuse_what_is_no_text(parts.uri.query().unwrap_or_default());
        Ok(parameters)
    }
}

impl Parameters {
    /// The names that were asked for so far, for tests that compare them with the OpenAPI document.
    #[cfg(test)]
    pub(super) fn asked(&self) -> std::collections::BTreeSet<String> {
        self.known.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Decoded pairs of name and value.
    pub fn new(pairs: Vec<(String, String)>) -> Self {
        Self { pairs, known: Vec::new(), faults: Vec::new(), of_body: Vec::new() }
    }

    /// Adds a fault of a parameter.
    pub fn fault(&mut self, name: &str, code: InputCode, detail: impl Into<String>) -> &mut ValidationError {
        let place = ErrorLocation::parameter(name);
        self.faults.push(ValidationError { place, code, detail: detail.into(), facts: Map::new() });
        self.faults.last_mut().expect("one was just pushed")
    }

    /// Adds a fault of another part of the request, such as a header.
    pub fn add(&mut self, fault: ValidationError) {
        self.faults.push(fault);
    }

    /// Adds faults of the body of a call that takes none.
    pub fn add_of_body(&mut self, faults: Vec<ValidationError>) {
        self.of_body.extend(faults);
    }

    /// Every value of a filter. A filter given twice means either.
    pub fn texts(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        self.pairs.iter().filter(|(given, _)| given == name).map(|(_, value)| value.clone()).collect()
    }

    /// The value of a parameter that may be given only once.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let mut values = self.texts(name);
        if values.len() > 1 {
            self.fault(name, InputCode::OutOfRange, "this parameter may be given only once");
        }
        values.pop()
    }

    /// A parameter that is `true` or `false`; left out it is `false`.
    pub fn flag(&mut self, name: &'static str) -> bool {
        let text = self.text(name);
        if !matches!(text.as_deref(), None | Some("true" | "false")) {
            let fault = self.fault(name, InputCode::OutOfRange, "this must be true or false");
            fault.facts.insert("supported".to_owned(), vec!["true", "false"].into());
        }
        text.as_deref() == Some("true")
    }

    /// Every value of a filter over an enumeration.
    pub fn choices<T: Copy>(
        &mut self,
        name: &'static str,
        all: &[T],
        text_of: fn(T) -> &'static str,
    ) -> Vec<T> {
        let mut chosen = Vec::new();
        for value in self.texts(name) {
            match all.iter().find(|candidate| text_of(**candidate) == value) {
                Some(found) => chosen.push(*found),
                None => {
                    let names: Vec<_> = all.iter().map(|candidate| text_of(*candidate)).collect();
                    let detail = format!("this must be one of {}", names.join(", "));
                    let fault = self.fault(name, InputCode::OutOfRange, detail);
                    fault.facts.insert("supported".to_owned(), names.into());
                }
            }
        }
        chosen
    }

    /// Every value of a filter that is parsed.
    pub fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: fn(&str) -> Option<T>,
        code: InputCode,
        detail: &str,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for text in self.texts(name) {
            match parse(&text) {
                Some(value) => values.push(value),
                None => drop(self.fault(name, code, detail)),
            }
        }
        values
    }

    /// Every value of a filter by time.
    pub fn times(&mut self, name: &'static str) -> Vec<DateTime<Utc>> {
        let parse = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc());
        let detail = "this must be a time (RFC 3339) with Z or an offset";
        self.parsed(name, parse, InputCode::OutOfRange, detail)
    }

    /// `limit` and `cursor`.
    pub fn page(&mut self, list: &str, app: AppId, key: &InstallationKey) -> PageRequest {
        let limit = self.limit();
        let purpose = self.purpose(list, app);
        let after = self.text("cursor").and_then(|text| {
            let opened = key.decode_cursor_token(&purpose, &text);
            if opened.is_none() {
                let detail = "this is no cursor of this list with these filters";
                self.fault("cursor", InputCode::InvalidCursor, detail);
            }
            opened
        });
        PageRequest { limit, after, purpose }
    }

    /// Reports every parameter that was not asked for.
    ///
    /// # Errors
    /// All faults of the parameters.
    pub fn finish(self) -> Result<(), ApiError> {
        let faults = self.into_faults();
        if faults.is_empty() { Ok(()) } else { Err(ApiError::Invalid(faults)) }
    }

    /// Is there nothing to report so far, and was every parameter asked for?
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
            && self.of_body.is_empty()
            && self.pairs.iter().all(|(name, _)| self.known.contains(&name.as_str()))
    }

    /// As [`Self::finish`], together with the faults of the body.
    ///
    /// # Errors
    /// All faults of both; if there are none, the error of the body.
    pub fn and<T>(self, read: Result<T, impl Into<ApiError>>) -> Result<T, ApiError> {
        let mut faults = self.into_faults();
        match read.map_err(Into::into) {
            Err(ApiError::Invalid(more)) => {
                faults.extend(more);
                Err(ApiError::Invalid(faults))
            }
            read if faults.is_empty() => read,
            _ => Err(ApiError::Invalid(faults)),
        }
    }

    /// As [`Self::finish`], for a caller that adds more faults.
    pub fn into_faults(mut self) -> Vec<ValidationError> {
        let known = std::mem::take(&mut self.known);
        for (name, _) in std::mem::take(&mut self.pairs) {
            if known.contains(&name.as_str()) {
                continue;
            }
            let suggestion = nearest(&name, known.iter().copied());
            let place = ErrorLocation::parameter(&name);
            self.add(unknown_name(place, InputCode::UnknownParameter, "parameter", &name, suggestion));
        }
        self.faults.append(&mut self.of_body);
        self.faults
    }

    /// Reports values that are not UTF-8, in which the decoder has put replacement characters.
    fn refuse_what_is_no_text(&mut self, raw: &str) {
        let raw = raw.split('&').filter(|pair| !pair.is_empty());
        let wrong: Vec<String> = raw
            .zip(&self.pairs)
            .filter(|(raw, _)| std::str::from_utf8(&decoded(raw)).is_err())
            .map(|(_, (name, _))| name.clone())
            .collect();
        for name in wrong {
            self.fault(&name, InputCode::WrongType, "this must be text in UTF-8");
        }
    }

    /// `limit`, of a list the cursor of which has a form of its own.
    pub(super) fn limit(&mut self) -> usize {
        let Some(text) = self.text("limit") else { return PAGE_DEFAULT };
        let limit = parse_whole_number(&text).ok().and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.filter(|limit| (1..=PAGE_MAX).contains(limit));
        limit.unwrap_or_else(|| {
            let detail = format!("this must be a whole number from 1 to {PAGE_MAX}");
            let fault = self.fault("limit", InputCode::OutOfRange, detail);
            fault.facts.insert("minimum".to_owned(), 1.into());
            fault.facts.insert("maximum".to_owned(), PAGE_MAX.into());
            PAGE_DEFAULT
        })
    }

    /// What a cursor is bound to: app, list and filters. The order of the filters does not matter.
    fn purpose(&self, list: &str, app: AppId) -> Vec<u8> {
        let mut filters: Vec<_> =
            self.pairs.iter().filter(|(name, _)| !matches!(name.as_str(), "limit" | "cursor")).collect();
        filters.sort();
        serde_json::to_vec(&("cursor", app.0, list, filters)).expect("texts and a number are always writable")
    }
}

/// The bytes that a percent-encoded text stands for.
fn decoded(raw: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (mut rest, mut bytes) = (raw.as_bytes(), Vec::with_capacity(raw.len()));
    while let [first, after @ ..] = rest {
        let pair = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        bytes.push(pair.map_or(*first, |(high, low)| (high * 16 + low) as u8));
        rest = if pair.is_some() { &rest[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::error::NotFoundKind;
    use crate::domain::Platform;
    use crate::provider::{apns, fcm};

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn codes(parameters: Parameters) -> Vec<(ErrorLocation, &'static str)> {
        parameters.into_faults().into_iter().map(|fault| (fault.place, fault.code.as_str())).collect()
    }

    fn key() -> InstallationKey {
        InstallationKey::new([7; 32])
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_what_was_probably_meant() {
        let mut given = parameters(&[("statsu", "accepted"), ("zzz", "1")]);
        given.texts("status");
        let faults = given.into_faults();
        assert_eq!(faults[0].code, InputCode::UnknownParameter);
        assert_eq!(faults[0].facts["suggestion"], "status");
        assert!(faults[1].facts.is_empty());
    }

    #[test]
    fn a_filter_given_twice_means_either_and_a_wrong_value_lists_the_right_ones() {
        let mut given = parameters(&[("platform", "fcm"), ("platform", "apns"), ("platform", "hms")]);
        assert_eq!(
            given.choices("platform", &[apns::PLATFORM, fcm::PLATFORM], Platform::as_str),
            [fcm::PLATFORM, apns::PLATFORM]
        );
        let faults = given.into_faults();
        assert_eq!(faults[0].facts["supported"], json!(["apns", "fcm"]));
    }

    #[test]
    fn a_limit_is_1_to_1000() {
        for (text, limit) in [("1", 1), ("1000", 1000), ("7.0", 7), ("1e2", 100)] {
            let mut given = parameters(&[("limit", text)]);
            assert_eq!(given.page("list", AppId(1), &key()).limit, limit, "{text}");
            assert!(given.into_faults().is_empty(), "{text}");
        }
        for text in ["0", "1001", "-1", "x", "+7", "07", "7.5", ""] {
            let mut given = parameters(&[("limit", text)]);
            given.page("list", AppId(1), &key());
            assert_eq!(
                codes(given),
                [(ErrorLocation::Parameter("limit".to_owned()), "out_of_range")],
                "{text}"
            );
        }
    }

    #[test]
    fn a_cursor_holds_for_its_list_app_and_filters_whatever_the_limit() {
        let first = parameters(&[("user", "a"), ("status", "x")]).page("list", AppId(1), &key());
        let cursor = first.cursor(&key(), b"after");
        let again = |filters: &[(&str, &str)], list, app| {
            let mut given = parameters(filters);
            given.pairs.push(("cursor".to_owned(), cursor.clone()));
            given.texts("user");
            given.texts("status");
            let after = given.page(list, AppId(app), &key()).after;
            (after, codes(given))
        };
        let same = [("limit", "5"), ("status", "x"), ("user", "a")];
        assert_eq!(again(&same, "list", 1), (Some(b"after".to_vec()), vec![]));
        let refused = vec![(ErrorLocation::Parameter("cursor".to_owned()), "invalid_cursor")];
        assert_eq!(again(&same, "other", 1), (None, refused.clone()));
        assert_eq!(again(&same, "list", 2), (None, refused.clone()));
        assert_eq!(again(&[("user", "b"), ("status", "x")], "list", 1), (None, refused));
    }

    #[test]
    fn values_that_are_not_utf8_are_refused() {
        for (raw, faulty) in [
            ("user=%ff", &["user"][..]),
            ("&&a=1&user=%C3", &["user"]),
            ("%ff=1&user=a", &["\u{fffd}"]),
            ("user=%C3%A9&user=%zz&user=%&user=+%2", &[]),
        ] {
            let pairs =
                Query::<Vec<(String, String)>>::try_from_uri(&format!("/?{raw}").parse().expect("a URI"));
            let mut given = Parameters::new(pairs.expect("pairs").0);
            given.refuse_what_is_no_text(raw);
            let expected =
                faulty.iter().map(|name| (ErrorLocation::parameter(name), "wrong_type")).collect::<Vec<_>>();
            assert_eq!(
                given.faults.iter().map(|f| (f.place.clone(), f.code.as_str())).collect::<Vec<_>>(),
                expected
            );
        }
    }

    #[test]
    fn faults_of_parameters_and_body_come_together() {
        let unknown = || parameters(&[("dry_runn", "true")]);
        let body = ValidationError::at("#/ttl", InputCode::BadTtl, "too long");
        let Err(ApiError::Invalid(both)) = unknown().and(Err::<(), _>(vec![body])) else { panic!("refused") };
        assert_eq!(
            both.iter().map(|fault| fault.code.as_str()).collect::<Vec<_>>(),
            ["unknown_parameter", "bad_ttl"]
        );
        assert!(
            matches!(unknown().and(Ok::<_, ApiError>(())), Err(ApiError::Invalid(faults)) if faults.len() == 1)
        );
        let not_found = parameters(&[]).and(Err::<(), _>(ApiError::NotFound(NotFoundKind::Id)));
        assert!(matches!(not_found, Err(ApiError::NotFound(NotFoundKind::Id))));
        assert!(parameters(&[]).and(Ok::<_, ApiError>(())).is_ok());
    }
}
