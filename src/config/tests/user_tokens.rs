//! `[apps.<app>.user_tokens]`.

use super::*;

#[test]
fn an_empty_audience_or_kid_is_a_fault() {
    let toml = r#"
[apps.shop.user_tokens]
audience = ""
[[apps.shop.user_tokens.keys]]
kid = ""
algorithm = "HS256"
secret = "0123456789abcdef0123456789abcdef"
"#;
    let expected = [
        "pushpost.toml:3: apps.shop.user_tokens.audience: must not be empty",
        "pushpost.toml:5: apps.shop.user_tokens.keys[0].kid: must not be empty",
    ];
    assert_eq!(faults(toml, &[]), expected);
}
