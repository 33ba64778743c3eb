//! Where a request stands in its caller's trace, as W3C Trace Context says it. Pure.

use axum::http::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace that a request belongs to, and the caller's part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceParent {
    pub(crate) trace_id: String,
    pub(crate) parent_id: String,
    /// Whether the caller keeps it, and whatever later versions add.
    flags: u8,
    /// What vendors add to it.
    state: TraceState,
}

impl TraceParent {
    /// What is malformed is no trace: the request is served all the same.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let mut parts = value.to_str().ok()?.split('-');
        let version = hex(parts.next()?, 2)?;
        let (trace_id, parent_id) = (hex(parts.next()?, 32)?, hex(parts.next()?, 16)?);
        let flags = u8::from_str_radix(hex(parts.next()?, 2)?, 16).ok()?;
        // Later versions may have more parts.
        let is_whole = version != "ff" && (version != "00" || parts.next().is_none());
        let is_some = |id: &str| id.bytes().any(|byte| byte != b'0');
        (is_whole && is_some(trace_id) && is_some(parent_id)).then(|| Self {
            trace_id: trace_id.to_owned(),
            parent_id: parent_id.to_owned(),
            flags,
            state: state(headers),
        })
    }

    /// The same for whoever makes spans.
    pub(crate) fn context(&self) -> SpanContext {
        let ids = TraceId::from_hex(&self.trace_id).ok().zip(SpanId::from_hex(&self.parent_id).ok());
        let (trace, span) = ids.unwrap_or((TraceId::INVALID, SpanId::INVALID));
        SpanContext::new(trace, span, TraceFlags::new(self.flags) & TraceFlags::SAMPLED, true, self.state.clone())
    }
}

/// One that is malformed is none, and the trace is one all the same.
fn state(headers: &HeaderMap) -> TraceState {
    let parts: Vec<_> = headers.get_all(TRACESTATE).iter().filter_map(|part| part.to_str().ok()).collect();
    if parts.is_empty() { TraceState::default() } else { parts.join(",").parse().unwrap_or_default() }
}

fn hex(text: &str, digits: usize) -> Option<&str> {
    (text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn of(value: &str) -> Option<TraceParent> {
        TraceParent::of(&HeaderMap::from_iter([(TRACEPARENT, HeaderValue::from_str(value).unwrap())]))
    }

    #[test]
    fn a_trace_is_read_and_nothing_malformed_is_one() {
        let (trace_id, parent_id) = ("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), "00f067aa0ba902b7".to_owned());
        let state = TraceState::default();
        let parent = Some(TraceParent { trace_id: trace_id.clone(), parent_id: parent_id.clone(), flags: 1, state });
        assert_eq!(of(&format!("00-{trace_id}-{parent_id}-01")), parent);
        assert_eq!(of(&format!("01-{trace_id}-{parent_id}-01-more")), parent, "a later version");
        for value in [
            String::new(),
            format!("00-{trace_id}-{parent_id}"),
            format!("00-{trace_id}-{parent_id}-01-more"),
            format!("ff-{trace_id}-{parent_id}-01"),
            format!("00-{}-{parent_id}-01", trace_id.to_uppercase()),
            format!("00-{}-{parent_id}-01", "0".repeat(32)),
            format!("00-{trace_id}-{}-01", "0".repeat(16)),
            format!("00-{trace_id}0-{parent_id}-01"),
        ] {
            assert_eq!(of(&value), None, "{value}");
        }
    }
}
