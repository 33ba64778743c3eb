//! What a program is told of uploads and requests.

use std::collections::BTreeMap;

use super::*;
use crate::bucket::SharedAs;
use crate::files::Description;
use crate::hooks::{FlushEnd, FlushKind, FlushOf, Hooks, StoreRequest};

#[derive(Default)]
struct Recorder {
    told: Mutex<Vec<String>>,
    requests: Mutex<BTreeMap<String, u64>>,
    statuses: Mutex<Vec<Option<u16>>>,
}

impl Hooks for Recorder {
    fn flush_started(&self, flush: &FlushOf) {
        assert_eq!((flush.database.to_string(), flush.branch.as_str()), ("apps/orders".to_owned(), "main"));
        self.told.lock().push(format!("{} started", flush.kind.as_str()));
    }

    fn flush_ended(&self, flush: &FlushOf, end: &FlushEnd) {
        let end = match end {
            FlushEnd::Completed { txid, bytes, .. } => {
                assert!((flush.kind == FlushKind::Delta) == (*bytes < 4096), "{bytes} bytes");
                format!("completed with txid {txid}")
            }
            FlushEnd::Skipped => "skipped".to_owned(),
            FlushEnd::Failed { error, .. } => {
                assert!(matches!(&**error, Error::Bucket { .. }), "{error}");
                "failed".to_owned()
            }
        };
        self.told.lock().push(format!("{} {end}", flush.kind.as_str()));
    }

    fn store_request(&self, request: &StoreRequest) {
        *self.requests.lock().entry(request.operation.to_string()).or_default() += 1;
        self.statuses.lock().push(request.status);
    }
}

impl Recorder {
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock())
    }
}

struct Panics;

impl Hooks for Panics {
    fn flush_started(&self, _: &FlushOf) {
        panic!("a hook of ours")
    }

    fn flush_ended(&self, _: &FlushOf, _: &FlushEnd) {
        panic!("a hook of ours")
    }

    fn store_request(&self, _: &StoreRequest) {
        panic!("a hook of ours")
    }
}

async fn told_of(hooks: impl IntoIterator<Item = Arc<dyn Hooks>>) -> Bench {
    let mut bench = Bench::start().await;
    let hooks = HookSet::new(hooks);
    let stores = Arc::new(stores().telling(hooks.clone()));
    bench.host = Host::new(HostOptions { stores, hooks, ..options_of("pod", HOUR) });
    bench
}

#[tokio::test]
async fn each_upload_is_told_from_its_start_to_its_end() {
    let recorder = Arc::new(Recorder::default());
    let bench = told_of([Arc::clone(&recorder) as Arc<dyn Hooks>]).await;
    let database = bench.open(bench.config("orders")).await;
    database.flush(Flush::Forced).await.unwrap();
    recorder.told();

    write(&database, "create table t(x)").await;
    database.flush(Flush::Forced).await.unwrap();
    let completed = ["delta started", "delta completed with txid 2", "snapshot started", "snapshot completed with txid 2"];
    assert_eq!(recorder.told(), completed);
    database.flush(Flush::Forced).await.unwrap();
    assert_eq!(recorder.told(), ["snapshot skipped"]);

    write(&database, "insert into t values (1)").await;
    bench.store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::PutObject).times(1));
    database.flush(Flush::Forced).await.unwrap_err();
    assert_eq!(recorder.told(), ["delta started", "delta failed"]);
    database.flush(Flush::Forced).await.unwrap();
    let completed = ["delta started", "delta completed with txid 3", "snapshot started", "snapshot completed with txid 3"];
    assert_eq!(recorder.told(), completed);
}

#[tokio::test]
async fn each_request_is_told_as_the_store_counts_it_and_retries_as_their_own() {
    let recorder = Arc::new(Recorder::default());
    let bench = told_of([Arc::clone(&recorder) as Arc<dyn Hooks>]).await;
    let before = bench.store.requests();
    bench.store.faults().add(Fault::new(FaultEffect::Fail).on(Operation::ListObjectsV2).times(1));
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    write(&database, "insert into t values (randomblob(9000000)), (randomblob(9000000))").await;
    database.flush(Flush::Forced).await.unwrap();
    // A URL for others is signed, and nothing is sent for it but the look.
    let content = database.files().intake().write(Bytes::from_static(b"hello")).await.unwrap().finish().await.unwrap();
    let (record, _) = database.files().put(&content, Description::default()).await.unwrap();
    let shared = SharedAs { content_type: "text/plain".to_owned(), content_disposition: "attachment".to_owned() };
    database.files().share(&record, HOUR, shared).await.unwrap();
    drop(database);
    bench.close("orders").await.unwrap();

    let asked = bench.store.requests();
    let counted = [
        ("AbortMultipartUpload", Operation::AbortMultipartUpload),
        ("CompleteMultipartUpload", Operation::CompleteMultipartUpload),
        ("CopyObject", Operation::CopyObject),
        ("CreateMultipartUpload", Operation::CreateMultipartUpload),
        ("DeleteObject", Operation::DeleteObject),
        ("GetObject", Operation::GetObject),
        ("HeadObject", Operation::HeadObject),
        ("ListObjectsV2", Operation::ListObjectsV2),
        ("PutObject", Operation::PutObject),
        ("UploadPart", Operation::UploadPart),
    ];
    let told = recorder.requests.lock().clone();
    for (name, operation) in counted {
        assert_eq!(told.get(name).copied().unwrap_or(0), asked.of(operation) - before.of(operation), "{name}: {told:?}");
    }
    assert_eq!(told.values().sum::<u64>(), asked.total() - before.total(), "{told:?}");
    assert!(told["UploadPart"] >= 3 && recorder.statuses.lock().contains(&Some(500)), "{told:?}");
}

#[tokio::test]
async fn an_error_in_a_hook_never_reaches_the_flush() {
    let recorder = Arc::new(Recorder::default());
    let bench = told_of([Arc::new(Panics) as Arc<dyn Hooks>, Arc::clone(&recorder) as Arc<dyn Hooks>]).await;
    let database = bench.open(bench.config("orders")).await;
    write(&database, "create table t(x)").await;
    facts_of(database.flush(Flush::Forced).await.unwrap());
    assert!(matches!(database.facts().uploads, Uploads::Fine));
    assert!(recorder.told().contains(&"snapshot completed with txid 2".to_owned()), "those behind it are told all the same");
    bench.close("orders").await.unwrap();
}
