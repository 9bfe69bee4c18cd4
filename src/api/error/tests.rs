//! Every error as its problem document.

use serde_json::json;

use super::*;

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
    assert_eq!(header(ApiError::Unauthenticated, WWW_AUTHENTICATE), Some(HeaderValue::from_static("Bearer")));
    for error in [ApiError::Unavailable(None), ApiError::QueueFull(None), ApiError::ShuttingDown] {
        assert!(header(error, RETRY_AFTER).is_some());
    }
}
