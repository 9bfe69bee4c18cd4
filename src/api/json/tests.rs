//! What the JSON reader finds, all faults at once.

use serde_json::{Value, json};

use super::*;
use crate::domain::{ErrorLocation, InputCode};

fn codes(faults: &[ValidationError]) -> Vec<(String, &'static str)> {
    faults
        .iter()
        .map(|fault| match &fault.place {
            ErrorLocation::Pointer(pointer) => (pointer.clone(), fault.code.as_str()),
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
fn malformed_json_is_located_and_not_repeated() {
    for wrong in
        [&b""[..], b"{", b"{\"a\":1} x", b"{'secret':1}", b"[1,]", b"\xff", b"{\"a\":\"\xff\"}", b"nul"]
    {
        let faults = read(wrong, sample).expect_err("malformed");
        assert_eq!(codes(&faults), pairs(&[("#", "malformed_json")]));
        assert!(faults[0].facts.contains_key("line") && faults[0].facts.contains_key("column"));
        assert!(!faults[0].detail.contains("secret"));
    }
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert_eq!(read(deep, sample).expect_err("too deep")[0].code, InputCode::MalformedJson);
}

#[test]
fn a_body_that_is_no_object_is_of_the_wrong_type() {
    assert_eq!(codes(&read(b"[]", sample).expect_err("array")), pairs(&[("#", "wrong_type")]));
}

#[test]
fn integers_must_be_whole_numbers_however_they_are_written() {
    for text in ["7", "7.0", "70e-1", "0", "-0.0", "0.9e1"] {
        let body = format!(r#"{{"name":"a","count":{text}}}"#);
        assert!(read(body.as_bytes(), sample).is_ok(), "{text}");
    }
    for (text, code) in [
        ("1.5", "wrong_type"),
        ("1e-400", "wrong_type"),
        ("\"1\"", "wrong_type"),
        ("-1", "out_of_range"),
        ("-1.0", "out_of_range"),
        ("10.0", "out_of_range"),
        ("1e30", "out_of_range"),
    ] {
        let body = format!(r#"{{"name":"a","count":{text}}}"#);
        assert_eq!(codes(&read(body.as_bytes(), sample).expect_err(text)), pairs(&[("#/count", code)]));
    }
}

#[test]
fn faults_are_capped() {
    let body = serde_json::to_vec(&json!({"name": "a", "list": vec![1; 5000]})).expect("plain");
    assert_eq!(read(body, sample).expect_err("faulty").len(), FAULTS_MAX);
}

#[test]
fn a_small_answer_comes_of_long_names_and_many_members() {
    let long = "x".repeat(1 << 20);
    let twice = format!(r#"{{"name":"a","list":[],"{long}":{{{}}}}}"#, vec![r#""a":1"#; 1000].join(","));
    let faults = read(twice.as_bytes(), sample).expect_err("twice");
    assert_eq!(faults.len(), 1000);
    assert!(faults.iter().all(|fault| matches!(&fault.place, ErrorLocation::Pointer(at) if at.len() < 100)));
    let many: Vec<String> = (0..100_000).map(|n| format!(r#""x{n}":1"#)).collect();
    let unknown = format!(r#"{{"name":"a",{}}}"#, many.join(","));
    let faults = read(unknown.as_bytes(), sample).expect_err("unknown");
    assert_eq!(codes(&faults[..1]), pairs(&[("#/x0", "unknown_field")]));
}

#[test]
fn a_tape_and_its_text_take_at_most_five_times_the_body() {
    let shapes =
        ["1,", "[],", "{},", r#""","#, r#"{"":0},"#, r#"[[[[[[[[]]]]]]]],"#, r#""\n","#, "[1,[2,[3]]] , "];
    for shape in shapes {
        let body = format!("[{}0]", shape.repeat(20_000)).into_bytes().into_boxed_slice().into_vec();
        let bytes = body.len();
        let document = parse(body, &ValidationErrors::default()).expect("JSON");
        assert!(document.bytes() <= 5 * bytes + 64, "{shape}: {} of {bytes}", document.bytes());
    }
}

#[test]
fn a_tape_reads_as_serde_json_reads() {
    for text in [
        "null",
        " [ ] ",
        r#"{"a":{},"b":[],"":[{"c":[[1,-2.5,true],false,null]}]}"#,
        r#"["\"\\\/\b\f\n\r\t","\u00e9\ud83d\ude00 é😀","","\\\\"]"#,
        "\n{ \"a\\u0062\" : [ 18446744073709551615 , -0 , 1E2 ] , \"c\" : \"d\" }\t",
    ] {
        let document = parse(text.into(), &ValidationErrors::default()).expect("JSON");
        let value = serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(document.root().to_value(), value, "{text}");
        if !text.contains('\\') && !text.contains("1E2") {
            assert_eq!(document.root().written_bytes(usize::MAX), value.to_string().len(), "{text}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_document_is_read_as_serde_json_reads_it(value in any_json()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).expect("plain")] {
            let document = parse(text.into(), &ValidationErrors::default()).expect("JSON");
            proptest::prop_assert_eq!(document.root().to_value(), value.clone());
        }
    }
}

fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 12, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..12).prop_map(Value::from),
            proptest::collection::vec((any::<String>(), inner), 0..12)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

#[test]
fn members_given_twice_are_found_among_many_and_told_in_order() {
    let mut members: Vec<String> = (0..5000).map(|n| format!(r#""x{n}":{{"a":[]}}"#)).collect();
    members[10] = r#""x\u0031":0"#.to_owned();
    members[4000] = r#""x3":{"b":1}"#.to_owned();
    let body = format!(r#"{{"list":["x"],"inner":{{"deep":[0,{{{}}}]}}}}"#, members.join(","));
    let faults = ValidationErrors::default();
    let document = parse(body.into(), &faults).expect("JSON");
    let faults = faults.into_sorted(&document);
    let expected = [("#/inner/deep/1/x1", "duplicate_field"), ("#/inner/deep/1/x3", "duplicate_field")];
    assert_eq!(codes(&faults), pairs(&expected));
    let large = document.root().get("inner").and_then(|inner| inner.get("deep")).and_then(Element::as_array);
    let large = large.and_then(|mut items| items.nth(1)).expect("an object");
    assert_eq!(large.get("x3").map(Element::to_value), Some(json!({"a": []})), "the first counts");
    assert_eq!(large.as_object().map(Iterator::count), Some(4998));
}
