//! The requests of a bare client: what the service would send of the same notification.

use anyhow::Context as _;
use bytes::Bytes;
use chrono::TimeDelta;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use pushpost::domain::{Content, NotificationId, Platform};
use pushpost::provider::{Expiry, apns, fcm};
use uuid::Uuid;

use crate::clock;
use crate::notification;
use crate::simulator::TOPIC;

const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const PROJECT: &str = "shop-1";
/// The service's own default.
const LIFE: TimeDelta = TimeDelta::days(28);
/// An FCM token's beginning: 22 characters and what all have in common.
const FCM_TOKEN_MIDDLE: &str = ":APA91b";
const FCM_TOKEN_END: usize = 134;

/// One notification to one provider. Cloning shares its bytes.
#[derive(Clone)]
pub(super) struct Push {
    content: Content,
    expiry: Expiry,
    head: Head,
    body: Body,
}

#[derive(Clone)]
struct Head {
    authority: Authority,
    headers: HeaderMap,
}

#[derive(Clone)]
enum Body {
    Apns(Bytes),
    Fcm(Uri, fcm::FcmMessage),
}

impl Push {
    pub(super) fn new(platform: Platform, authority: Authority, bearer: &str) -> anyhow::Result<Self> {
        let content: Content = serde_json::from_value(notification::content())?;
        let now = clock::now();
        let expiry = Expiry { now, expires_at: now + LIFE, once: false };
        let id = NotificationId::new(now);
        let mut headers = HeaderMap::new();
        if platform == apns::PLATFORM {
            for (name, value) in apns::prepare(id, &content, TOPIC).headers(expiry) {
                headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut bearer = HeaderValue::from_str(bearer).context("a bearer token is ASCII")?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        let head = Head { authority, headers };
        let body = head.body(platform, id, &content);
        Ok(Self { content, expiry, head, body })
    }

    /// The same with another notification's id.
    pub(super) fn named(&self, id: NotificationId) -> Self {
        let platform = match self.body {
            Body::Apns(_) => apns::PLATFORM,
            Body::Fcm(..) => fcm::PLATFORM,
        };
        Self { body: self.head.body(platform, id, &self.content), ..self.clone() }
    }

    /// The request for the device of this number.
    pub(super) fn request(&self, number: u64) -> (Request<()>, Bytes) {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        let body = match &self.body {
            Body::Apns(body) => {
                *request.uri_mut() = self.head.uri(format!("/3/device/{}", hexadecimal::<64>(number)));
                *request.headers_mut() = self.head.headers.clone();
                request.headers_mut().insert(APNS_ID, apns_id(number));
                body.clone()
            }
            Body::Fcm(uri, prepared) => {
                *request.uri_mut() = uri.clone();
                *request.headers_mut() = self.head.headers.clone();
                prepared.body(&fcm_token(number), self.expiry)
            }
        };
        (request, body)
    }
}

impl Head {
    fn body(&self, platform: Platform, id: NotificationId, content: &Content) -> Body {
        if platform == apns::PLATFORM {
            return Body::Apns(apns::prepare(id, content, TOPIC).body().clone());
        }
        let uri = self.uri(format!("/v1/projects/{PROJECT}/messages:send"));
        Body::Fcm(uri, fcm::prepare(id, content, None))
    }

    fn uri(&self, path: String) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::try_from(path).expect("the path is ASCII"));
        Uri::from_parts(parts).expect("scheme, authority and path are all there")
    }
}

fn apns_id(number: u64) -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = Uuid::from_u64_pair(number, spread(number)).as_hyphenated().encode_lower(&mut text);
    let mut value = HeaderValue::from_str(id).expect("a UUID is ASCII");
    value.set_sensitive(true);
    value
}

fn fcm_token(number: u64) -> String {
    format!("{}{FCM_TOKEN_MIDDLE}{}", hexadecimal::<22>(number), hexadecimal::<FCM_TOKEN_END>(spread(number)))
}

/// So many digits that look like chance and are the same for the same number.
fn hexadecimal<const DIGITS: usize>(number: u64) -> String {
    const TABLE: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(DIGITS);
    let mut word = number;
    for digit in 0..DIGITS {
        if digit % 16 == 0 {
            word = spread(word);
        }
        text.push(char::from(TABLE[(word >> (digit % 16 * 4)) as usize & 15]));
    }
    text
}

/// The finaliser of splitmix64.
fn spread(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
