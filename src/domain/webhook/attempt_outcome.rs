//! What came of one attempt to deliver a message to a webhook.

/// What came of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WebhookOutcome {
    /// An answer 2xx, which came whole and in time.
    Delivered,
    /// An answer with a status that is neither 2xx nor 410.
    Refused,
    /// An answer 410: the receiver wants no message any more.
    Gone,
    /// No whole answer in time.
    TimedOut,
    /// The connection failed, or ended before the answer did.
    NotConnected,
    /// TLS failed, most often the certificate.
    TlsFailed,
    /// The address may not be connected to.
    Blocked,
}

impl WebhookOutcome {
    /// Every outcome, in the order of the metric's documentation.
    pub const ALL: [Self; 7] = [
        Self::Delivered,
        Self::Refused,
        Self::Gone,
        Self::TimedOut,
        Self::NotConnected,
        Self::TlsFailed,
        Self::Blocked,
    ];

    /// The label `outcome` of the metric. Two outcomes are one word there.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "ok",
            Self::Refused | Self::Gone => "http_error",
            Self::TimedOut => "timeout",
            Self::NotConnected => "connect",
            Self::TlsFailed => "tls",
            Self::Blocked => "blocked",
        }
    }

    /// Did the receiver answer, and not take the message?
    pub fn is_refusing_answer(self) -> bool {
        matches!(self, Self::Refused | Self::Gone)
    }
}
