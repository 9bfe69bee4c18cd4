//! What a client shows: a provider token for APNs, an access token for FCM.

use std::fs;
use std::future::poll_fn;
use std::path::Path;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Request;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::link::{Link, Origin};
use crate::clock;
use crate::simulator::{KEY_ID, TEAM_ID};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
/// The longest life of an assertion, in seconds.
const LIFE: i64 = 3600;

#[derive(Deserialize)]
struct Account {
    client_email: String,
    private_key: String,
    token_uri: String,
}

/// The value of `authorization` for APNs, by the key in the simulator's files.
pub(super) fn provider_token(dir: &Path) -> anyhow::Result<String> {
    let pem = fs::read(dir.join(format!("AuthKey_{KEY_ID}.p8")))?;
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(KEY_ID.to_owned());
    header.typ = None;
    let claims = json!({ "iss": TEAM_ID, "iat": clock::now().timestamp() });
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_pem(&pem)?)?;
    Ok(format!("bearer {token}"))
}

/// The value of `authorization` for FCM: asks the token endpoint for it, as RFC 7523 has it.
pub(super) async fn access_token(dir: &Path, origin: &Origin) -> anyhow::Result<String> {
    let account: Account = serde_json::from_slice(&fs::read(dir.join("service-account.json"))?)?;
    let now = clock::now().timestamp();
    let claims = json!({
        "iss": account.client_email,
        "aud": account.token_uri,
        "scope": SCOPE,
        "iat": now,
        "exp": now + LIFE,
    });
    let key = EncodingKey::from_rsa_pem(account.private_key.as_bytes())?;
    let assertion = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key)?;
    let request = Request::post(&account.token_uri)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(format!("grant_type={GRANT}&assertion={assertion}")))?;
    let answer: Value = serde_json::from_slice(&ask(origin, request).await?)?;
    let token = answer["access_token"].as_str().with_context(|| format!("no access token: {answer}"))?;
    Ok(format!("Bearer {token}"))
}

/// One request on a connection of its own; the answer's body.
async fn ask(origin: &Origin, request: Request<Bytes>) -> anyhow::Result<Vec<u8>> {
    let Link { mut sender, connection } = Link::open(origin).await?;
    let mut connection = connection.fuse();
    let (head, body) = request.into_parts();
    let exchange = async {
        poll_fn(|cx| sender.poll_ready(cx)).await?;
        let (response, mut stream) = sender.send_request(Request::from_parts(head, ()), false)?;
        stream.send_data(body, true)?;
        let mut body = response.await?.into_body();
        let mut whole = Vec::new();
        while let Some(chunk) = body.data().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok::<_, h2::Error>(whole)
    };
    tokio::select! {
        whole = exchange => Ok(whole?),
        ended = &mut connection => bail!("the connection ended before the answer: {ended:?}"),
    }
}
