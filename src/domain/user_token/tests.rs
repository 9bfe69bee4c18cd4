//! Tokens of every kind, against keys of every kind.

use std::sync::LazyLock;

use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::json;

use super::*;
use crate::domain::UserId;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_764_400_000;

/// A private key in PEM, and its public key.
struct Pair {
    private: String,
    public: String,
}

impl Pair {
    fn of(key: &KeyPair) -> Self {
        Self { private: key.serialize_pem(), public: key.public_key_pem() }
    }

    fn ec() -> Self {
        Self::of(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"))
    }
}

static EC: LazyLock<Pair> = LazyLock::new(Pair::ec);
static RSA: LazyLock<Pair> = LazyLock::new(|| {
    Pair::of(&KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key"))
});

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).expect("in range")
}

fn key(kid: Option<&str>, algorithm: UserTokenAlgorithm, material: &str) -> VerificationKey {
    VerificationKey::new(kid.map(str::to_owned), algorithm, material).expect("a key")
}

fn verifier(keys: Vec<VerificationKey>) -> UserTokenVerifier {
    UserTokenVerifier { audience: "pushpost:shop".to_owned(), max_age: Duration::from_secs(86_400), keys }
}

fn es256() -> UserTokenVerifier {
    verifier(vec![key(None, UserTokenAlgorithm::Es256, &EC.public)])
}

/// A token of this text, signed; the algorithm of the signature is not always that of the header.
fn signed(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).expect("a signature");
    format!("{message}.{signature}")
}

fn by_ec(pair: &Pair, header: &str, claims: &str) -> String {
    let key = EncodingKey::from_ec_pem(pair.private.as_bytes()).expect("a key");
    signed(header, claims, &key, Algorithm::ES256)
}

/// A token with these claims as they stand, signed with the right key.
fn token(claims: &str) -> String {
    by_ec(&EC, r#"{"alg":"ES256","typ":"JWT"}"#, claims)
}

fn claims(changes: Value) -> String {
    let mut claims = json!({"sub": "u42", "aud": "pushpost:shop", "exp": NOW + 3600});
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => _ = claims.as_object_mut().expect("an object").remove(name),
            value => claims[name] = value.clone(),
        }
    }
    claims.to_string()
}

#[track_caller]
fn assert_refused(verifier: &UserTokenVerifier, token: &str, reason: UserTokenReason) {
    let refused = verifier.verify(token, now()).expect_err("it proves nothing");
    assert_eq!(refused.reason, reason, "{refused}");
}

#[test]
fn each_algorithm_proves_the_user() {
    let rsa = EncodingKey::from_rsa_pem(RSA.private.as_bytes()).expect("a key");
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let text = claims(json!({}));
    let tokens = [
        token(&text),
        signed(r#"{"alg":"RS256"}"#, &text, &rsa, Algorithm::RS256),
        signed(r#"{"alg":"HS256"}"#, &text, &secret, Algorithm::HS256),
    ];
    let all = verifier(vec![
        key(None, UserTokenAlgorithm::Hs256, SECRET),
        key(None, UserTokenAlgorithm::Rs256, &RSA.public),
        key(None, UserTokenAlgorithm::Es256, &EC.public),
    ]);
    let user = UserId::parse("u42").expect("a user id");
    for token in &tokens {
        assert_eq!(all.verify(token, now()), Ok(UserTokenClaims { user: user.clone(), topics: None }));
    }
    for (index, only) in all.keys.iter().rev().enumerate() {
        let only = verifier(vec![only.clone()]);
        for (other, token) in tokens.iter().enumerate() {
            let refused = only.verify(token, now()).map_err(|bad| bad.reason);
            let expected = Err(UserTokenReason::Algorithm);
            let is_same = [0, 1, 2][index] == other;
            assert_eq!(refused.is_ok(), is_same);
            assert!(is_same || refused == expected);
        }
    }
}

#[test]
fn the_algorithm_of_the_key_counts_and_not_that_of_the_token() {
    let text = claims(json!({}));
    let public = EncodingKey::from_secret(EC.public.as_bytes());
    let forged = signed(r#"{"alg":"HS256"}"#, &text, &public, Algorithm::HS256);
    assert_refused(&es256(), &forged, UserTokenReason::Algorithm);
    let disguised = signed(r#"{"alg":"ES256"}"#, &text, &public, Algorithm::HS256);
    assert_refused(&es256(), &disguised, UserTokenReason::Signature);
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"None"}"#, r#"{"alg":"es256"}"#, r#"{"alg":""}"#] {
        let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&text));
        assert_refused(&es256(), &unsigned, UserTokenReason::Algorithm);
    }
    let right = token(&text);
    let (message, signature) = right.rsplit_once('.').expect("three parts");
    assert_refused(&es256(), &format!("{message}."), UserTokenReason::Signature);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#);
    let other = URL_SAFE_NO_PAD.encode(claims(json!({"sub": "u1"})));
    assert_refused(&es256(), &format!("{header}.{other}.{signature}"), UserTokenReason::Signature);
    assert_refused(&es256(), &by_ec(&Pair::ec(), r#"{"alg":"ES256"}"#, &text), UserTokenReason::Signature);
}

#[test]
fn the_kid_chooses_among_several_keys() {
    let (old, new, plain) = (Pair::ec(), Pair::ec(), Pair::ec());
    let of = |kid, pair: &Pair| key(kid, UserTokenAlgorithm::Es256, &pair.public);
    let both = verifier(vec![of(Some("old"), &old), of(Some("new"), &new)]);
    let text = claims(json!({}));
    for (kid, pair, reason) in [
        (r#","kid":"old""#, &old, None),
        (r#","kid":"new""#, &new, None),
        ("", &old, None),
        ("", &new, None),
        (r#","kid":"new""#, &old, Some(UserTokenReason::Signature)),
        (r#","kid":"another""#, &old, Some(UserTokenReason::Signature)),
        ("", &plain, Some(UserTokenReason::Signature)),
        (r#","kid":7"#, &old, Some(UserTokenReason::Malformed)),
    ] {
        let token = by_ec(pair, &format!(r#"{{"alg":"ES256"{kid}}}"#), &text);
        assert_eq!(both.verify(&token, now()).err().map(|bad| bad.reason), reason, "{kid}");
    }
    let with_plain = verifier(vec![of(Some("old"), &old), of(None, &plain)]);
    let named = |kid: &str| by_ec(&plain, &format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#), &text);
    assert!(with_plain.verify(&named("of the library"), now()).is_ok(), "a key without kid takes any other");
    assert_refused(&with_plain, &named("old"), UserTokenReason::Signature);
}

#[test]
fn what_is_no_token_is_malformed() {
    let right = token(&claims(json!({})));
    let [header, text, signature] = right.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    for wrong in [
        String::new(),
        "..".to_owned(),
        "x.y.z".to_owned(),
        format!("{header}.{text}"),
        format!("{right}.{signature}"),
        format!("{header}.{text}.{signature}="),
        format!("{header}.{text}.+/"),
        format!("{}.{text}.{signature}", encoded("[]")),
        format!("{}.{text}.{signature}", encoded("{}")),
        format!("{}.{text}.{signature}", encoded(r#"{"alg":1}"#)),
        format!("{}.{text}.{signature}", encoded(r#"{"alg":"ES256","crit":["exp"]}"#)),
        token("[]"),
        token("{"),
        token(&"[".repeat(100_000)),
    ] {
        assert_refused(&es256(), &wrong, UserTokenReason::Malformed);
    }
}

#[test]
fn claims_that_are_missing_or_of_another_form_are_malformed() {
    for changes in [
        json!({"sub": null}),
        json!({"sub": 42}),
        json!({"sub": ""}),
        json!({"sub": "a\u{0}"}),
        json!({"sub": "x".repeat(129)}),
        json!({"exp": null}),
        json!({"exp": "1764403600"}),
        json!({"exp": {"$serde_json::private::Number": "x"}}),
        json!({"exp": {"$serde_json::private::Number": "1764403600"}}),
        json!({"exp": [NOW]}),
        json!({"exp": true}),
        json!({"nbf": "now"}),
        json!({"iat": "now"}),
        json!({"aud": 7}),
        json!({"aud": ["pushpost:shop", 7]}),
        json!({"topics": "team:42"}),
        json!({"topics": ["team:42", 7]}),
        json!({"topics": ["team 42"]}),
    ] {
        assert_refused(&es256(), &token(&claims(changes)), UserTokenReason::Malformed);
    }
}

#[test]
fn the_audience_is_a_string_or_one_of_several() {
    let reason =
        |aud: Value| es256().verify(&token(&claims(json!({"aud": aud}))), now()).err().map(|bad| bad.reason);
    assert_eq!(reason(json!(["other", "pushpost:shop"])), None);
    for wrong in [json!(null), json!([]), json!("pushpost:other"), json!(["other"]), json!("pushpost:shop ")]
    {
        assert_eq!(reason(wrong), Some(UserTokenReason::Audience));
    }
}

/// The reason for a token with a claim of this text, to which `exp` is added if it isn't the claim.
fn reason_of(name: &str, number: &str) -> Option<UserTokenReason> {
    let exp = if name == "exp" { String::new() } else { format!(r#","exp":{}"#, NOW + 3600) };
    let text = format!(r#"{{"sub":"u42","aud":"pushpost:shop"{exp},"{name}":{number}}}"#);
    es256().verify(&token(&text), now()).err().map(|bad| bad.reason)
}

#[test]
fn times_may_have_fractions_and_exponents_and_any_size() {
    use UserTokenReason::{Expired, NotYet, TooLong};
    for (number, reason) in [
        ("1764403600", None),
        ("1764403600.5", None),
        ("1.7644036e9", None),
        ("1764400000", None),
        ("1764399940.5", None),
        ("1764399940", Some(Expired)),
        ("1.7e9", Some(Expired)),
        ("0", Some(Expired)),
        ("-1", Some(Expired)),
        ("-1e400", Some(Expired)),
        ("1764486460", None),
        ("1764486460.5", Some(TooLong)),
        ("1764403600000", Some(TooLong)),
        ("1e300", Some(TooLong)),
        ("1e400", Some(TooLong)),
        ("99999999999999999999999999999999999999999999", Some(TooLong)),
    ] {
        assert_eq!(reason_of("exp", number), reason, "exp {number}");
    }
    for name in ["nbf", "iat"] {
        for (number, reason) in [
            ("1764400060", None),
            ("1764400060.25", Some(NotYet)),
            ("1e400", Some(NotYet)),
            ("1.7e9", None),
            ("-1e400", None),
            ("null", None),
        ] {
            assert_eq!(reason_of(name, number), reason, "{name} {number}");
        }
    }
}

#[test]
fn of_claims_given_twice_the_last_counts() {
    let text = format!(r#"{{"sub":"u1","sub":"u42","aud":"pushpost:shop","exp":1,"exp":{}}}"#, NOW + 3600);
    let claims = es256().verify(&token(&text), now()).expect("it is right");
    assert_eq!(claims.user, UserId::parse("u42").expect("a user id"));
}

#[test]
fn topics_are_taken_as_the_token_lists_them() {
    let topics = |names: Value| {
        let claims = es256().verify(&token(&claims(json!({"topics": names}))), now()).expect("it is right");
        claims.topics.map(|topics| topics.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(
        topics(json!(["team:42", "news", "team:42"])),
        Some(vec!["news".to_owned(), "team:42".to_owned()])
    );
    assert_eq!(topics(json!([])), Some(Vec::new()));
    assert_eq!(topics(json!(null)), None);
}

#[test]
fn a_key_fits_its_algorithm() {
    use UserTokenAlgorithm::{Es256, Hs256, Rs256};
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key").public_key_pem();
    let broken = "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n";
    for (algorithm, material, fault) in [
        (Es256, EC.public.as_str(), None),
        (Rs256, RSA.public.as_str(), None),
        (Hs256, SECRET, None),
        (Es256, RSA.public.as_str(), Some(BadUserTokenKey::NotP256)),
        (Es256, p384.as_str(), Some(BadUserTokenKey::NotP256)),
        (Es256, broken, Some(BadUserTokenKey::NotP256)),
        (Es256, EC.private.as_str(), Some(BadUserTokenKey::NotPem)),
        (Rs256, EC.public.as_str(), Some(BadUserTokenKey::NotRsa)),
        (Rs256, SECRET, Some(BadUserTokenKey::NotPem)),
        (Hs256, &SECRET[1..], Some(BadUserTokenKey::ShortSecret)),
        (Hs256, EC.public.as_str(), Some(BadUserTokenKey::PemSecret)),
        (Hs256, "-----BEGIN RSA PUBLIC KEY-----\nMIIBCgKCAQEA", Some(BadUserTokenKey::PemSecret)),
    ] {
        assert_eq!(VerificationKey::new(None, algorithm, material).err(), fault, "{algorithm:?}");
    }
    let shown = format!("{:?}", verifier(vec![key(Some("k1"), Hs256, SECRET)]));
    assert!(shown.contains("k1") && !shown.contains(SECRET), "{shown}");
    assert_ne!(key(None, Hs256, SECRET), key(None, Hs256, &SECRET.replace('0', "1")));
}
