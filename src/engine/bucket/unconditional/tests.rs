//! Over the embedded store, told to ignore conditions or to refuse them.

use bytes::Bytes;
use futures::future::join_all;

use super::*;
use crate::bucket::embedded::{Dialect, Fault, FaultEffect, Operation};
use crate::bucket::s3::tests::Fixture;

const EFFECTS: [FaultEffect; 2] = [FaultEffect::IgnoreConditions, FaultEffect::RefuseConditions];
const LARGE: usize = 9 << 20;

/// Such a store, and a bucket that looks.
struct Bench {
    fixture: Fixture,
    bucket: Arc<dyn Bucket>,
}

impl Bench {
    async fn start(effect: FaultEffect) -> Self {
        let fixture = Fixture::start(Dialect::Standard).await;
        fixture.store.faults().add(Fault::new(effect));
        let bucket = Unconditional::over(Arc::clone(&fixture.bucket), &Arc::default(), "it does not");
        Self { fixture, bucket }
    }

    async fn put(&self, at: &str, bytes: impl Into<Bytes>, condition: Condition) -> Result<Etag, Error> {
        self.bucket.put(&key(at), Content::from_bytes(bytes.into()), Put { condition, form: form() }).await
    }

    async fn put_in_parts(&self, at: &str, bytes: impl Into<Bytes>, condition: Condition) -> Result<Etag, Error> {
        self.bucket.put_in_parts(&key(at), Content::from_bytes(bytes.into()), Put { condition, form: form() }).await
    }

    async fn etag(&self, at: &str) -> Option<Etag> {
        self.bucket.head(&key(at)).await.unwrap().map(|found| found.etag)
    }
}

fn key(key: &str) -> ObjectKey {
    ObjectKey::new(key)
}

fn form() -> Form {
    Form::plain("text/plain")
}

fn wrong() -> Etag {
    Etag::new("00000000000000000000000000000000")
}

fn is_refused<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::PreconditionFailed))
}

#[tokio::test]
async fn a_condition_that_does_not_hold_at_the_look_keeps_a_write_back() {
    for effect in EFFECTS {
        for size in [10, LARGE] {
            let f = Bench::start(effect).await;
            assert!(is_refused(&f.put("k", vec![1; size], Condition::IfUnchanged(wrong())).await));
            let first = f.put("k", vec![1; size], Condition::IfAbsent).await.unwrap();
            assert!(is_refused(&f.put("k", vec![2; size], Condition::IfAbsent).await));
            assert!(is_refused(&f.put("k", vec![2; size], Condition::IfUnchanged(wrong())).await));
            assert_eq!(f.etag("k").await, Some(first.clone()), "{effect:?} {size}");
            let second = f.put("k", vec![3; size], Condition::IfUnchanged(first.clone())).await.unwrap();
            assert!(is_refused(&f.put_in_parts("k", vec![4; size], Condition::IfUnchanged(first)).await));
            assert_eq!(f.etag("k").await, Some(second.clone()));
            let third = f.put_in_parts("k", vec![5; size], Condition::IfUnchanged(second)).await.unwrap();
            f.put("k", vec![6; size], Condition::Always).await.unwrap();
            assert_ne!(f.etag("k").await, Some(third));
        }
    }
}

#[tokio::test]
async fn what_is_staged_is_looked_at_when_it_is_published_and_given_up_if_somebody_was_there() {
    for effect in EFFECTS {
        let f = Bench::start(effect).await;
        let k = key("k");
        let staged = || f.bucket.stage(&k, Content::from_bytes(vec![1; LARGE].into()), form());
        let (early, late) = (staged().await.unwrap(), staged().await.unwrap());
        let first = early.publish(&Condition::IfAbsent).await.unwrap();
        assert!(is_refused(&late.publish(&Condition::IfAbsent).await));
        assert_eq!(f.etag("k").await, Some(first.clone()));
        assert_eq!(f.fixture.store.requests().of(Operation::AbortMultipartUpload), 1, "{effect:?}");
        staged().await.unwrap().publish(&Condition::IfUnchanged(first)).await.unwrap();
    }
}

#[tokio::test]
async fn what_changed_is_neither_copied_nor_read_as_what_it_was() {
    for effect in EFFECTS {
        let f = Bench::start(effect).await;
        let first = f.put("k", "one", Condition::IfAbsent).await.unwrap();
        f.bucket.copy(&key("k"), Some(&first), &key("copy")).await.unwrap();
        assert!(f.bucket.get(&key("k"), Some(&first)).await.unwrap().is_some());
        f.put("k", "two", Condition::IfUnchanged(first.clone())).await.unwrap();
        assert!(is_refused(&f.bucket.copy(&key("k"), Some(&first), &key("copy")).await));
        assert!(is_refused(&f.bucket.copy(&key("missing"), Some(&first), &key("copy")).await));
        assert!(is_refused(&f.bucket.get(&key("k"), Some(&first)).await), "{effect:?}");
        assert!(is_refused(&f.bucket.get_range(&key("k"), &first, 0..1).await), "{effect:?}");
        assert_eq!(f.etag("copy").await, Some(first));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_concurrent_puts_of_one_process_on_one_condition_one_wins() {
    let f = Bench::start(FaultEffect::IgnoreConditions).await;
    let mut condition = Condition::IfAbsent;
    for round in 0..5 {
        let outcomes = join_all((0..8).map(|writer| f.put("k", format!("{round} {writer}"), condition.clone()))).await;
        let winners: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert!(winners.len() == 1 && outcomes.iter().all(|outcome| outcome.is_ok() || is_refused(outcome)), "{outcomes:?}");
        condition = Condition::IfUnchanged(winners[0].clone());
    }
}

#[tokio::test]
async fn a_look_that_fails_is_no_answer_and_nothing_is_written() {
    let f = Bench::start(FaultEffect::IgnoreConditions).await;
    f.fixture.store.faults().clear();
    f.fixture.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::HeadObject));
    f.fixture.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::GetObject));
    let outcome = f.put("k", "one", Condition::IfAbsent).await;
    assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{outcome:?}");
    f.fixture.store.faults().clear();
    assert_eq!(f.etag("k").await, None);
}
