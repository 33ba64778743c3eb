//! What a server asked its store meanwhile, as its metrics tell it: all that it serves together.

use std::collections::BTreeMap;

use super::load::Asked;
use crate::cli::exposition::{Sample, families, whole};
use crate::cli::session::{self, Session};

/// What there is of an operation with a status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    requests: u64,
    sent: u64,
    received: u64,
}

/// By operation and status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told(BTreeMap<(String, String), Counts>);

impl Told {
    /// `None` where the server does not tell.
    pub(super) async fn by(session: &Session) -> anyhow::Result<Option<Self>> {
        let Ok(answer) = session.get("/metrics").await else { return Ok(None) };
        let text = session::whole(answer).await?;
        Ok(Some(Self::parse(&String::from_utf8_lossy(&text))))
    }

    fn parse(text: &str) -> Self {
        let mut told = Self::default();
        for Sample { name, labels, value } in families(text).into_iter().flat_map(|family| family.samples) {
            let label = |name: &str| labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.clone());
            let (Some(operation), Some(status)) = (label("operation"), label("status")) else { continue };
            let known = told.0.entry((operation, status)).or_default();
            match name {
                "buckethead_store_requests_total" => known.requests = whole(value),
                "buckethead_store_sent_bytes_total" => known.sent = whole(value),
                "buckethead_store_received_bytes_total" => known.received = whole(value),
                _ => {}
            }
        }
        told
    }

    /// What came since.
    pub(super) fn since(&self, before: &Self) -> Vec<Asked> {
        let mut asked: BTreeMap<&str, Asked> = BTreeMap::new();
        for (of, now) in &self.0 {
            let ((operation, status), then) = (of, before.0.get(of).copied().unwrap_or_default());
            let new = now.requests.saturating_sub(then.requests);
            let of = asked.entry(operation).or_insert_with(|| Asked::of(operation));
            of.count += new;
            of.failed += if ["5xx", "none"].contains(&status.as_str()) { new } else { 0 };
            of.sent_bytes += now.sent.saturating_sub(then.sent);
            of.received_bytes += now.received.saturating_sub(then.received);
        }
        asked.into_values().filter(|asked| asked.count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::prices::Bill;
    use super::*;

    #[test]
    fn requests_are_read_from_metrics() {
        let text = "# TYPE buckethead_store_requests counter\n\
                    buckethead_store_requests_total{operation=\"PutObject\",status=\"2xx\",class=\"a\"} 12\n\
                    buckethead_store_requests_total{operation=\"PutObject\",status=\"none\",class=\"a\"} 1\n\
                    buckethead_store_requests_total{operation=\"GetObject\",status=\"2xx\",class=\"b\"} 3\n\
                    buckethead_store_sent_bytes_total{operation=\"PutObject\",status=\"2xx\"} 700\n\
                    buckethead_http_requests_total{route=\"/\",method=\"GET\",status=\"2xx\"} 5\n";
        let counts = |requests, sent| Counts { requests, sent, received: 0 };
        let of = |operation: &str| (operation.to_owned(), "2xx".to_owned());
        let before = Told(BTreeMap::from([(of("PutObject"), counts(10, 500)), (of("GetObject"), counts(3, 0))]));
        let asked = Told::parse(text).since(&before);
        let found: Vec<_> = asked.iter().map(|asked| (asked.operation.as_str(), asked.count, asked.failed, asked.sent_bytes)).collect();
        assert_eq!(found, [("PutObject", 3, 1, 200)]);
        let bill = Bill::of(&asked);
        assert!((bill.class_a - 3.0).abs() < 1e-9 && bill.class_b.abs() < 1e-9);
    }
}
