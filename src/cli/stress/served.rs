//! What a server asked its store meanwhile, as its metrics tell it: all that it serves together.

use std::collections::BTreeMap;

use engine::RequestClass;

use super::load::Asked;
use super::prices::Bill;
use crate::cli::session::{Session, whole};

/// Requests, by operation and status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told(BTreeMap<(String, String), u64>);

const REQUESTS: &str = "buckethead_store_requests_total{";

impl Told {
    /// `None` where the server does not tell.
    pub(super) async fn by(session: &Session) -> anyhow::Result<Option<Self>> {
        let Ok(answer) = session.get("/metrics").await else { return Ok(None) };
        let text = whole(answer).await?;
        Ok(Some(Self::parse(&String::from_utf8_lossy(&text))))
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.strip_prefix(REQUESTS));
        let counted = lines.filter_map(|line| {
            let (labels, count) = line.split_once("} ")?;
            let label = |name: &str| Some(labels.split_once(&format!("{name}=\""))?.1.split('"').next()?.to_owned());
            Some(((label("operation")?, label("status")?), count.trim().parse().ok()?))
        });
        Self(counted.collect())
    }

    /// What came since.
    pub(super) fn since(&self, before: &Self) -> Vec<Asked> {
        let mut asked: BTreeMap<&str, Asked> = BTreeMap::new();
        for ((operation, status), count) in &self.0 {
            let new = count - before.0.get(&(operation.clone(), status.clone())).copied().unwrap_or(0).min(*count);
            let class = RequestClass::of(operation).as_str().to_owned();
            let of = asked.entry(operation).or_insert_with(|| Asked {
                operation: operation.clone(),
                class,
                count: 0,
                failed: 0,
                sent_bytes: 0,
                received_bytes: 0,
            });
            of.count += new;
            of.failed += if ["5xx", "none"].contains(&status.as_str()) { new } else { 0 };
        }
        asked.into_values().filter(|asked| asked.count > 0).collect()
    }
}

/// For so much time, with as much in the bucket.
pub(super) fn bill(asked: &[Asked], stored_bytes: f64, seconds: f64) -> Bill {
    let mut bill = Bill { stored_bytes, seconds, ..Bill::default() };
    for asked in asked {
        bill.add(RequestClass::of(&asked.operation), asked.count);
    }
    bill
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_from_metrics() {
        let text = "# TYPE buckethead_store_requests counter\n\
                    buckethead_store_requests_total{operation=\"PutObject\",status=\"2xx\",class=\"a\"} 12\n\
                    buckethead_store_requests_total{operation=\"PutObject\",status=\"none\",class=\"a\"} 1\n\
                    buckethead_store_requests_total{operation=\"GetObject\",status=\"2xx\",class=\"b\"} 3\n\
                    buckethead_other_total{operation=\"PutObject\"} 5\n";
        let before =
            Told(BTreeMap::from([(("PutObject".to_owned(), "2xx".to_owned()), 10), (("GetObject".to_owned(), "2xx".to_owned()), 3)]));
        let asked = Told::parse(text).since(&before);
        assert_eq!(
            asked.iter().map(|asked| (asked.operation.as_str(), asked.count, asked.failed)).collect::<Vec<_>>(),
            [("PutObject", 3, 1)]
        );
        let bill = bill(&asked, 10.0, 1.0);
        assert!((bill.class_a - 3.0).abs() < 1e-9 && bill.class_b.abs() < 1e-9);
    }
}
