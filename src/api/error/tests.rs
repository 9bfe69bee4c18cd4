//! Every error as its problem document.

use serde_json::json;

use super::*;
use crate::domain::{EventType, InputCode};

fn document(error: ApiError) -> Value {
    json!(error.problem().document(Some("req-1")))
}

#[test]
fn a_problem_document_has_its_members_in_a_fixed_order() {
    let faults = vec![
        ValidationError::at("#/titel", InputCode::UnknownField, "no such member").with("suggestion", "title"),
        ValidationError::at("#/ttl", InputCode::BadTtl, "too long"),
    ];
    let document = serde_json::to_string_pretty(&document(ApiError::Invalid(faults))).expect("plain");
    insta::assert_snapshot!(document, @r##"
    {
      "type": "/docs/errors#invalid_request",
      "title": "The request is not well formed",
      "status": 400,
      "code": "invalid_request",
      "detail": "There are 2 faults in the request; `errors` lists them.",
      "request_id": "req-1",
      "errors": [
        {
          "pointer": "#/titel",
          "code": "unknown_field",
          "detail": "no such member",
          "suggestion": "title"
        },
        {
          "pointer": "#/ttl",
          "code": "bad_ttl",
          "detail": "too long"
        }
      ]
    }
    "##);
}

#[test]
fn form_comes_before_what_is_forbidden_and_that_before_meaning() {
    let fault = |code| ValidationError::at("#/x", code, "x");
    let status = |codes: &[InputCode]| {
        let problem = ApiError::Invalid(codes.iter().map(|code| fault(*code)).collect()).problem();
        (problem.code.status().as_u16(), problem.code.as_str())
    };
    assert_eq!(status(&[InputCode::BadTtl]), (422, "unprocessable"));
    assert_eq!(status(&[InputCode::BadTtl, InputCode::TopicClosed]), (403, "topic_closed"));
    assert_eq!(status(&[InputCode::ForbiddenField, InputCode::BadTtl]), (403, "forbidden_field"));
    assert_eq!(
        status(&[InputCode::BadTtl, InputCode::ForbiddenField, InputCode::WrongType]),
        (400, "invalid_request")
    );
}

#[test]
fn limits_and_scopes_are_facts() {
    assert_eq!(document(ApiError::BodyTooLarge(10))["limit"], 10);
    assert_eq!(document(ApiError::TooManyTargets(7))["limit"], 7);
    assert_eq!(document(ApiError::TooManyItems(7))["limit"], 7);
    assert_eq!(document(ApiError::UrlTooLong(7))["limit"], 7);
    assert_eq!(document(ApiError::HeadersTooLarge(7))["limit"], 7);
    assert_eq!(document(ApiError::QueueFull(Some(7)))["limit"], 7);
    assert_eq!(document(ApiError::QueueFull(None)).get("limit"), None);
    let scopes = document(ApiError::MissingScope(&[Scope::Send, Scope::Admin]));
    assert_eq!(scopes["scopes"], json!(["send", "admin"]));
    let types = document(ApiError::UnseenEventTypes(vec![EventType::LaneChanged, EventType::NodeDied]));
    assert_eq!((&types["code"], &types["scopes"]), (&json!("missing_scope"), &json!(["admin"])));
    assert_eq!(types["types"], json!(["lane.changed", "node.died"]));
}

#[test]
fn internal_problems_tell_only_the_request_id() {
    let error = ApiError::internal(std::io::Error::other("secret detail"));
    assert_eq!(
        document(error),
        json!({"type": "/docs/errors#internal", "title": "Internal fault", "status": 500, "code": "internal",
               "detail": "Something went wrong on our side.", "request_id": "req-1"})
    );
}

#[test]
fn problems_carry_the_headers_of_their_code() {
    let header = |error: ApiError, name| error.into_response().headers().get(name).cloned();
    let unauthenticated = ApiError::Unauthenticated(KeyFault::Absent);
    assert_eq!(header(unauthenticated, WWW_AUTHENTICATE), Some(HeaderValue::from_static("Bearer")));
    let cause = || Arc::new(std::io::Error::other("x")) as Cause;
    let of_import = |why| ApiError::Unfinished { why: Box::new(why), import: Box::default() };
    for error in [
        ApiError::Unavailable(None),
        ApiError::Unavailable(Some(cause())),
        ApiError::Overdue(cause(), None),
        ApiError::Overdue(cause(), Some(Repeat::Harmless)),
        ApiError::Starting,
        ApiError::OutcomeUnknown(Repeat::Harmless),
        ApiError::QueueFull(None),
        ApiError::ShuttingDown,
        of_import(ApiError::Unavailable(None)),
        of_import(ApiError::ShuttingDown),
    ] {
        let text = error.to_string();
        assert!(header(error, RETRY_AFTER).is_some(), "{text}");
    }
}

#[test]
fn every_503_says_when_to_ask_again() {
    for code in ProblemCode::ALL.iter().filter(|code| code.status() == StatusCode::SERVICE_UNAVAILABLE) {
        let (name, value) = super::header(*code, None).expect("a header");
        assert_eq!(name, RETRY_AFTER);
        assert!(value.to_str().is_ok_and(|secs| secs.parse::<u64>().is_ok_and(|secs| secs >= 1)), "{code:?}");
    }
}

#[test]
fn one_scope_is_named_in_the_singular() {
    let detail = |scopes| ApiError::MissingScope(scopes).problem().detail;
    assert_eq!(detail(&[Scope::Admin]), "This needs a key with the scope admin.");
    assert_eq!(detail(&[Scope::Send, Scope::Admin]), "This needs a key with one of the scopes send, admin.");
}

#[test]
fn a_lane_that_is_not_found_is_answered_with_those_that_there_are() {
    let problem = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        ApiError::NotFound(NotFoundKind::Lane(names)).problem()
    };
    let of_two = problem(&["apns-sandbox", "fcm"]);
    assert_eq!(of_two.detail, "No such lane; there are apns-sandbox, fcm.");
    assert_eq!(of_two.facts["supported"], serde_json::json!(["apns-sandbox", "fcm"]));
    assert_eq!(problem(&[]).detail, "No such lane; the app has credentials for none.");
}
