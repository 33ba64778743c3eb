//! Log lines for machines: an object a line, in which everything that is known of the event stands at the top.
//!
//! What the spans around an event say is part of it, as `request_id`, `trace_id` and `span_id`; where two say the same, the innermost is right.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// Writes them. The spans' own fields must be kept as JSON.
pub(super) struct Flat;

/// The members in the order in which they are written.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: &'a str,
    level: &'a str,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Value>,
    #[serde(flatten)]
    fields: BTreeMap<String, Value>,
}

impl<S, N> FormatEvent<S, N> for Flat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = BTreeMap::new();
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            if let Some(said) = span.extensions().get::<FormattedFields<N>>() {
                fields.extend(serde_json::from_str::<BTreeMap<String, Value>>(said).map_err(|_| fmt::Error)?);
            }
        }
        event.record(&mut Fields(&mut fields));
        let metadata = event.metadata();
        // Of a library that logs by the crate `log`, the event itself knows where it comes from.
        let logged = if metadata.target() == "log" { fields.remove("log.target") } else { None };
        for place in ["log.file", "log.line", "log.module_path"] {
            fields.remove(place);
        }
        let target = logged.as_ref().and_then(Value::as_str).unwrap_or(metadata.target());
        let message = fields.remove("message");
        let line = Line { timestamp: &timestamp, level: metadata.level().as_str(), target, message, fields };
        writeln!(writer, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
    }
}

/// Puts the fields of an event there.
struct Fields<'a>(&'a mut BTreeMap<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::json;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(log: impl FnOnce()) -> Vec<Value> {
        let out = Written::default();
        let writer = out.clone();
        let lines = tracing_subscriber::fmt::layer().json().event_format(Flat).with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        let bytes = out.0.lock().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_holds_its_event_and_what_the_spans_around_it_say() {
        let lines = written(|| {
            let outer = tracing::error_span!("request", request_id = "abc", trace_id = "4bf9", kind = "outer");
            let inner = outer.in_scope(|| tracing::error_span!("flush", kind = "inner", bytes = 7));
            inner.in_scope(|| tracing::warn!(target: "engine", status = 200_u16, slow = true, "said"));
            tracing::info!(share = 0.5, "alone");
        });
        let mut first = lines[0].clone();
        let timestamp = first.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(timestamp.as_str().unwrap().ends_with('Z'), "{timestamp}");
        assert_eq!(
            first,
            json!({"level": "WARN", "target": "engine", "message": "said", "status": 200, "slow": true, "request_id": "abc", "trace_id": "4bf9", "kind": "inner", "bytes": 7})
        );
        assert_eq!((&lines[1]["share"], &lines[1]["request_id"]), (&json!(0.5), &Value::Null));
    }
}
