//! W3C Trace Context: which trace something belongs to, and which span is the parent of what follows
//! (<https://www.w3.org/TR/trace-context/>).

use std::fmt;

use super::NotificationId;

/// The bit of the flags that says that the trace is recorded.
const SAMPLED: u8 = 1;
/// The bit that says that the trace id is random. It belongs to the caller and is passed on.
const RANDOM_ID: u8 = 2;
/// Pushpost's own bit, which no header and no span shows: the notification has few targets
/// ([`TraceContext::for_targets`]).
const FEW_TARGETS: u8 = 0x80;
/// A notification with at most this many targets has a span for each attempt.
const FEW_TARGETS_MAX: usize = 20;

/// Bytes of a context as it is stored.
const STORED_BYTES: usize = 25;

/// The id of a span: 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

/// The id of a trace: 16 bytes, not all zero. Shown as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// A span of a trace: what follows from it has it as its parent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: [u8; 16],
    span: SpanId,
    flags: u8,
}

impl TraceContext {
    /// A new trace that is recorded, with its first span.
    pub fn new_root() -> Self {
        // Zero is no valid id. It is as likely as any other number.
        let trace = rand::random::<u128>().max(1).to_be_bytes();
        Self { trace, span: SpanId::random(), flags: SAMPLED | RANDOM_ID }
    }

    /// Reads the header `traceparent`. None: it is malformed, and counts as absent.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let (version, trace) = (lower_hex::<1>(parts.next()?)?, lower_hex::<16>(parts.next()?)?);
        let (span, flags) = (lower_hex::<8>(parts.next()?)?, lower_hex::<1>(parts.next()?)?);
        // A later version may have more parts. Version ff is forbidden.
        let is_known = match version[0] {
            0 => parts.next().is_none(),
            version => version != 0xff,
        };
        let is_valid = is_known && trace != [0; 16] && span != [0; 8];
        is_valid.then_some(Self { trace, span: SpanId(span), flags: flags[0] & (SAMPLED | RANDOM_ID) })
    }

    /// Another span of the same trace.
    pub fn child(&self) -> Self {
        Self { span: SpanId::random(), ..*self }
    }

    /// The span of the same trace that stands for a notification which was accepted.
    pub fn of_notification(&self, id: NotificationId) -> Self {
        Self { span: SpanId::of_notification(id), ..*self }
    }

    /// The header `traceparent` of a request that is made within this span.
    pub fn to_traceparent(self) -> String {
        format!("00-{}-{:?}-{:02x}", self.trace_id(), self.span, self.flags())
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same context, recorded.
    pub fn sampled(self) -> Self {
        Self { flags: self.flags | SAMPLED, ..self }
    }

    /// The context of a notification with so many targets. If they are few, each attempt has a span. None: not all are
    /// found yet.
    pub fn for_targets(self, targets: Option<usize>) -> Self {
        match targets {
            Some(..=FEW_TARGETS_MAX) => Self { flags: self.flags | FEW_TARGETS, ..self },
            _ => self,
        }
    }

    /// Whether each attempt has a span ([`Self::for_targets`]).
    pub fn is_of_few_targets(&self) -> bool {
        self.flags & FEW_TARGETS != 0
    }

    /// The trace's id.
    pub fn trace_id(&self) -> TraceId {
        TraceId(self.trace)
    }

    /// The span's id.
    pub fn span_id(&self) -> SpanId {
        self.span
    }

    /// The flags as W3C defines them.
    pub fn flags(&self) -> u8 {
        self.flags & !FEW_TARGETS
    }

    /// The stored form: trace id, span id, flags.
    pub fn to_stored(&self) -> [u8; STORED_BYTES] {
        let mut stored = [0; STORED_BYTES];
        stored[..16].copy_from_slice(&self.trace);
        stored[16..24].copy_from_slice(&self.span.0);
        stored[24] = self.flags;
        stored
    }

    /// Reads the stored form. None: no version of Pushpost writes such a value.
    pub fn from_stored(stored: &[u8]) -> Option<Self> {
        let (trace, rest) = stored.split_first_chunk()?;
        let (span, flags) = rest.split_first_chunk()?;
        let [flags] = *flags else { return None };
        Some(Self { trace: *trace, span: SpanId(*span), flags })
    }
}

impl SpanId {
    /// The span in which a notification was accepted. It is known as long as the notification is, so that spans which
    /// come later can link to it.
    pub fn of_notification(id: NotificationId) -> Self {
        // The lower half of such an id is random, with one bit that is always set.
        let lower = id.0.as_u128() as u64;
        Self(lower.max(1).to_be_bytes())
    }

    fn random() -> Self {
        Self(rand::random::<u64>().max(1).to_be_bytes())
    }
}

impl TraceId {
    /// Reads the stored form. None: no version of Pushpost writes such a value.
    pub fn from_stored(stored: &[u8]) -> Option<Self> {
        stored.try_into().ok().map(Self)
    }
}

impl fmt::Display for TraceContext {
    /// The trace id in hexadecimal, as logs name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.trace_id())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:?}-{:02x}", self, self.span, self.flags)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (is_lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_traceparent_is_read() {
        let context = TraceContext::parse(&format!("00-{TRACE}-00f067aa0ba902b7-01")).expect("it is valid");
        assert_eq!(context.to_string(), TRACE);
        assert_eq!(format!("{:?}", context.span_id()), "00f067aa0ba902b7");
        assert!(context.is_sampled() && !context.is_of_few_targets());
        let unsampled = TraceContext::parse(&format!("00-{TRACE}-00f067aa0ba902b7-fe")).expect("it is valid");
        assert!(!unsampled.is_sampled(), "unknown flags mean nothing");
        assert!(!unsampled.is_of_few_targets(), "no caller sets Pushpost's own bit");
        let later = format!("cc-{TRACE}-00f067aa0ba902b7-01-what-comes-later");
        assert!(TraceContext::parse(&later).is_some_and(|context| context.is_sampled()), "a later version");
    }

    #[test]
    fn a_malformed_traceparent_counts_as_absent() {
        for wrong in [
            "".to_owned(),
            "00".to_owned(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("0-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}0-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-0g"),
            format!(" 00-{TRACE}-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(TraceContext::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_context_is_stored_in_25_bytes() {
        let context = TraceContext::new_root().for_targets(Some(20));
        assert_eq!(TraceContext::from_stored(&context.to_stored()), Some(context));
        assert_eq!(TraceContext::from_stored(&[1; 24]), None);
        assert_eq!(TraceContext::from_stored(&[1; 26]), None);
    }

    #[test]
    fn a_traceparent_is_read_back() {
        let id = NotificationId::parse("ntf_0190163d8694739bb8d0a8b1c9e7f532").expect("an id");
        let context = TraceContext::new_root().for_targets(Some(20)).of_notification(id);
        assert_eq!(format!("{:?}", context.span_id()), "b8d0a8b1c9e7f532");
        let header = context.to_traceparent();
        assert!(header.ends_with("-b8d0a8b1c9e7f532-03"), "{header}");
        assert_eq!(TraceContext::parse(&header).map(|read| read.to_traceparent()), Some(header));
    }

    #[test]
    fn a_child_is_another_span_of_the_same_trace() {
        let parent = TraceContext::new_root().for_targets(Some(20));
        let child = parent.child();
        assert_eq!(child.trace_id(), parent.trace_id());
        assert_ne!(child.span_id(), parent.span_id());
        assert!(child.is_sampled() && child.is_of_few_targets());
        assert_eq!(child.flags(), 3, "Pushpost's own bit is not shown");
        for many in [None, Some(21)] {
            assert!(!TraceContext::new_root().for_targets(many).is_of_few_targets());
        }
    }
}
