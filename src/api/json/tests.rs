//! What the JSON reader finds, all faults at once.

use serde_json::json;

use super::*;
use crate::domain::InputCode;

fn codes(faults: &[InputFault]) -> Vec<(String, &'static str)> {
    faults
        .iter()
        .map(|fault| match &fault.place {
            Place::Pointer(pointer) => (pointer.clone(), fault.code.as_str()),
            other => panic!("{other:?} in a body"),
        })
        .collect()
}

fn pairs(expected: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    expected.iter().map(|(at, code)| ((*at).to_owned(), *code)).collect()
}

/// Reads `{"name": string, "count": 0..=9, "inner": {"flag": bool}, "list": [string]}`, `name` required.
fn sample(mut fields: Fields<'_>) -> Option<String> {
    fields.integer("count", 0..=9);
    fields.strings("list");
    if let Some(mut inner) = fields.fields("inner") {
        inner.boolean("flag");
        inner.finish();
    }
    fields.require("name");
    let name = fields.string("name").map(str::to_owned);
    fields.finish();
    name
}

#[test]
fn all_faults_come_at_once_in_the_order_of_the_body() {
    let body = br#"{"nam":1,"inner":{"flag":"x","flg":true},"list":[1,"a",null],"count":10}"#;
    let faults = read(body, sample).expect_err("faulty");
    assert_eq!(
        codes(&faults),
        pairs(&[
            ("#/nam", "unknown_field"),
            ("#/inner/flag", "wrong_type"),
            ("#/inner/flg", "unknown_field"),
            ("#/list/0", "wrong_type"),
            ("#/list/2", "wrong_type"),
            ("#/count", "out_of_range"),
            ("#/name", "missing_field"),
        ])
    );
    assert_eq!(faults[0].facts["suggestion"], "name");
    assert_eq!(faults[1].facts["expected"], "boolean");
    assert_eq!(faults[5].facts["maximum"], 9);
}

#[test]
fn null_counts_as_absent() {
    assert_eq!(read(br#"{"name":"a","count":null,"inner":null,"list":null}"#, sample), Ok("a".to_owned()));
    let faults = read(br#"{"name":null}"#, sample).expect_err("required");
    assert_eq!(codes(&faults), pairs(&[("#/name", "missing_field")]));
}

#[test]
fn null_can_be_told_from_absent() {
    let given = |body: &[u8]| {
        read(body, |mut fields| {
            let given = match fields.given_string("user") {
                Given::Absent => "absent",
                Given::Null => "null",
                Given::Value(_) => "value",
            };
            fields.finish();
            Some(given)
        })
    };
    assert_eq!(given(b"{}"), Ok("absent"));
    assert_eq!(given(br#"{"user":null}"#), Ok("null"));
    assert_eq!(given(br#"{"user":"u"}"#), Ok("value"));
    assert!(given(br#"{"user":1}"#).is_err());
}

#[test]
fn a_member_given_twice_is_a_fault_at_any_depth() {
    let body = br#"{"name":"a","list":["x"],"inner":{"flag":true,"flag":true},"name":"b"}"#;
    let faults = read(body, sample).expect_err("twice");
    assert_eq!(codes(&faults), pairs(&[("#/name", "duplicate_field"), ("#/inner/flag", "duplicate_field")]));
}

#[test]
fn what_is_no_json_says_where_and_repeats_nothing() {
    for wrong in
        [&b""[..], b"{", b"{\"a\":1} x", b"{'secret':1}", b"[1,]", b"\xff", b"{\"a\":\"\xff\"}", b"nul"]
    {
        let faults = read(wrong, sample).expect_err("malformed");
        assert_eq!(codes(&faults), pairs(&[("#", "malformed_json")]));
        assert!(faults[0].facts.contains_key("line") && faults[0].facts.contains_key("column"));
        assert!(!faults[0].detail.contains("secret"));
    }
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert_eq!(read(&deep, sample).expect_err("too deep")[0].code, InputCode::MalformedJson);
}

#[test]
fn a_body_that_is_no_object_is_of_the_wrong_type() {
    assert_eq!(codes(&read(b"[]", sample).expect_err("array")), pairs(&[("#", "wrong_type")]));
}

#[test]
fn whole_numbers_only() {
    for (text, code) in
        [("1.5", "wrong_type"), ("\"1\"", "wrong_type"), ("-1", "out_of_range"), ("1e30", "out_of_range")]
    {
        let body = format!(r#"{{"name":"a","count":{text}}}"#);
        assert_eq!(codes(&read(body.as_bytes(), sample).expect_err(text)), pairs(&[("#/count", code)]));
    }
}

#[test]
fn faults_are_capped() {
    let body = serde_json::to_vec(&json!({"name": "a", "list": vec![1; 5000]})).expect("plain");
    assert_eq!(read(&body, sample).expect_err("faulty").len(), FAULTS_MAX);
}

#[test]
fn a_small_answer_comes_of_long_names_and_many_members() {
    let long = "x".repeat(1 << 20);
    let twice = format!(r#"{{"name":"a","list":[],"{long}":{{{}}}}}"#, vec![r#""a":1"#; 1000].join(","));
    let faults = read(twice.as_bytes(), sample).expect_err("twice");
    assert_eq!(faults.len(), 1000);
    assert!(faults.iter().all(|fault| matches!(&fault.place, Place::Pointer(at) if at.len() < 100)));
    let many: Vec<String> = (0..100_000).map(|n| format!(r#""x{n}":1"#)).collect();
    let unknown = format!(r#"{{"name":"a",{}}}"#, many.join(","));
    let faults = read(unknown.as_bytes(), sample).expect_err("unknown");
    assert_eq!(codes(&faults[..1]), pairs(&[("#/x0", "unknown_field")]));
}
