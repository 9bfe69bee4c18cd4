//! The claims of a user token, once its signature is verified.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{BadUserToken, UserTokenReason, UserTokenVerifier};
use crate::domain::{TopicName, UserId};

/// How far the clock of the backend that signs may differ from Postgres's, in seconds.
const LEEWAY_SECS: f64 = 60.0;

/// What a user token proves. `Debug` does not show the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserTokenClaims {
    /// The claim `sub`.
    pub user: UserId,
    /// The claim `topics`: topics that the app may set for this user, also closed ones. None: there is no such claim.
    pub topics: Option<BTreeSet<TopicName>>,
}

/// Reads and checks the claims at `now`. Form comes before the rest.
pub(super) fn read(
    claims: &Map<String, Value>,
    verifier: &UserTokenVerifier,
    now: DateTime<Utc>,
) -> Result<UserTokenClaims, BadUserToken> {
    let user = user(claims)?;
    let topics = topics(claims)?;
    let is_for_us = is_for(claims, &verifier.audience)?;
    let expires_at = time(claims, "exp", "the claim \"exp\" is not a number")?
        .ok_or(BadUserToken::malformed("the claim \"exp\" is missing"))?;
    let valid_from = [
        time(claims, "nbf", "the claim \"nbf\" is not a number")?,
        time(claims, "iat", "the claim \"iat\" is not a number")?,
    ];
    if !is_for_us {
        let detail = "the claim \"aud\" does not name the audience of this app";
        return Err(BadUserToken::new(UserTokenReason::Audience, detail));
    }
    let now = now.timestamp_millis() as f64 / 1000.0;
    if expires_at + LEEWAY_SECS <= now {
        return Err(BadUserToken::new(UserTokenReason::Expired, "the token has expired"));
    }
    if valid_from.into_iter().flatten().any(|from| from > now + LEEWAY_SECS) {
        let detail = "the claim \"nbf\" or \"iat\" is in the future";
        return Err(BadUserToken::new(UserTokenReason::NotYet, detail));
    }
    if expires_at > now + verifier.max_age.as_secs_f64() + LEEWAY_SECS {
        let detail = "the claim \"exp\" is further ahead than the configuration allows";
        return Err(BadUserToken::new(UserTokenReason::TooLong, detail));
    }
    Ok(UserTokenClaims { user, topics })
}

fn user(claims: &Map<String, Value>) -> Result<UserId, BadUserToken> {
    match claims.get("sub") {
        None => Err(BadUserToken::malformed("the claim \"sub\" is missing")),
        Some(sub) => sub.as_str().and_then(UserId::parse).ok_or(BadUserToken::malformed(
            "the claim \"sub\" is not a user id: 1 to 128 bytes without control characters",
        )),
    }
}

fn topics(claims: &Map<String, Value>) -> Result<Option<BTreeSet<TopicName>>, BadUserToken> {
    let names = match claims.get("topics") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(names)) => names,
        Some(_) => return Err(BadUserToken::malformed("the claim \"topics\" is not an array")),
    };
    let parse = |name: &Value| name.as_str().and_then(TopicName::parse);
    match names.iter().map(parse).collect() {
        Some(names) => Ok(Some(names)),
        None => Err(BadUserToken::malformed("the claim \"topics\" has an item that is not a topic")),
    }
}

/// Is the audience the claim `aud`, or one of its items?
fn is_for(claims: &Map<String, Value>, audience: &str) -> Result<bool, BadUserToken> {
    match claims.get("aud") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::String(one)) => Ok(one == audience),
        Some(Value::Array(all)) if all.iter().all(Value::is_string) => {
            Ok(all.iter().any(|one| one == audience))
        }
        Some(_) => {
            Err(BadUserToken::malformed("the claim \"aud\" is neither a string nor an array of strings"))
        }
    }
}

/// A time as JSON Web Tokens have it: seconds since 1970, also with a fraction or an exponent. The text of the number is
/// read, so that a number beyond every range is infinite instead of an error.
fn time(
    claims: &Map<String, Value>,
    name: &str,
    not_a_number: &'static str,
) -> Result<Option<f64>, BadUserToken> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => match number.to_string().parse::<f64>() {
            Ok(seconds) => Ok(Some(seconds)),
            Err(_) => Err(BadUserToken::malformed(not_a_number)),
        },
        Some(_) => Err(BadUserToken::malformed(not_a_number)),
    }
}
