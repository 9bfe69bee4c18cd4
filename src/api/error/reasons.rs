//! Why a key is not valid, and what was not found: the cases that share one code and differ in `detail`.

/// Why a request has no valid key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyFault {
    /// There is no `Authorization` header.
    Absent,
    /// There are several headers, or the one is not `Bearer` and a text.
    NotBearer,
    /// The text does not have the form of a key's secret.
    NoSecret,
    /// No key of an app of the configuration has this secret, or that key is revoked or expired.
    Unknown,
    /// The dashboard has no session, or an ended one.
    NoSession,
    /// The dashboard's session has no valid key of the app.
    NoSessionOfApp,
}

impl KeyFault {
    /// A sentence for the answer. Nothing of the key is repeated.
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Absent => {
                "There is no `Authorization` header. Send a valid key as `Authorization: Bearer <key>`."
            }
            Self::NotBearer => {
                "There must be one `Authorization` header, of the form `Bearer <key>`, and this is another."
            }
            Self::NoSecret => {
                "This is not a key: a key begins with `pushpost_sk_` or `pushpost_pk_`. \
                 `pushpost keys create` prints it once."
            }
            Self::Unknown => {
                "This key is unknown here, revoked or expired: `pushpost keys list` with the service's configuration lists \
                 the keys."
            }
            Self::NoSession => "There is no session, or it has ended: log in with a key.",
            Self::NoSessionOfApp => {
                "The session has no valid key of this app: log in with one. A key may have been revoked."
            }
        }
    }
}

/// What was not found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotFoundKind {
    /// The path has no route.
    Path,
    /// The id, topic or user is unknown, or another app's.
    Id,
    /// The notification has no such device.
    DeviceOfNotification,
    /// The app has no lane of this name with credentials; it has these.
    Lane(Vec<String>),
}

impl NotFoundKind {
    /// A sentence for the answer.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Path => "No such path.".to_owned(),
            Self::Id => "This app has nothing with this id or name.".to_owned(),
            Self::DeviceOfNotification => "The notification was not for this device.".to_owned(),
            Self::Lane(lanes) if lanes.is_empty() => {
                "No such lane; the app has credentials for none.".to_owned()
            }
            Self::Lane(lanes) => format!("No such lane; there are {}.", lanes.join(", ")),
        }
    }
}
