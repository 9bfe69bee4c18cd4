//! What would be sent of a notification, shown to its sender. Nothing is stored or sent.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::audience::{self, Audience, DeviceLookup};
use crate::domain::{
    App, Content, InputCode, Kind, NotificationId, Platform, SendTime, Ttl, ValidationError,
};
use crate::provider::{Expiry, Preview, Provider, Providers};
use crate::store;

/// A request for a preview, as far as it could be read.
#[derive(Debug)]
pub struct PreviewSubmission {
    /// What the phones would get; none: it is larger than any provider takes.
    pub content: Option<Content>,
    /// The kind of token that the content needs, where a platform has several kinds.
    pub kind: Kind,
    /// When it would be sent.
    pub send_at: SendTime,
    /// How long a provider might take to deliver it, from when it would be due.
    pub ttl: Ttl,
    /// Which devices it would be for, if the request says so.
    pub audience: Option<Audience>,
}

/// What would be sent through one provider.
#[derive(Debug)]
pub struct PlatformPreview {
    /// The provider's platform.
    pub platform: Platform,
    /// The request without token, id and credential.
    pub preview: Preview,
    /// Why the provider would not be sent this.
    pub problems: Vec<ValidationError>,
}

/// The number of devices that would be targets now. None: there is no audience, or it is found page by page.
///
/// # Errors
/// Postgres is out of reach.
pub async fn count_targets(
    lookup: &DeviceLookup,
    app: &App,
    submission: &PreviewSubmission,
) -> Result<Option<usize>, store::Error> {
    match &submission.audience {
        Some(audience) => audience::count_targets(lookup, app, audience, submission.kind).await,
        None => Ok(None),
    }
}

/// Renders the notification for each provider that the app has credentials for and that the audience may reach, as if it
/// were sent at `now`, or at the later time that it names.
pub fn render(
    submission: &PreviewSubmission,
    app: &App,
    providers: &Providers,
    now: DateTime<Utc>,
) -> Vec<PlatformPreview> {
    let Some(content) = &submission.content else { return Vec::new() };
    let (now, ttl) = (submission.send_at.later().unwrap_or(now), submission.ttl);
    let expires_at = now + TimeDelta::seconds(i64::from(ttl.as_secs()));
    let expiry = Expiry { now, expires_at, once: ttl.is_once() };
    let concerned = providers.iter().filter(|provider| {
        let platform = provider.platform();
        let reached = submission.audience.as_ref().is_none_or(|to| to.may_reach(platform));
        app.has_platform(platform) && reached
    });
    let previews = concerned.filter_map(|provider| {
        // All ids have the same length.
        let preview = provider.preview(NotificationId(Uuid::nil()), content, app, expiry)?;
        Some(PlatformPreview {
            platform: provider.platform(),
            preview,
            problems: problems(provider, content, app),
        })
    });
    previews.collect()
}

fn problems(provider: &dyn Provider, content: &Content, app: &App) -> Vec<ValidationError> {
    let mut problems = provider.check_size(content, app);
    if !provider.has_something_to_send(content) {
        let detail = "there is nothing that a device of this platform could show or do";
        problems.push(ValidationError::at("#", InputCode::NothingToSend, detail));
    }
    problems
}
