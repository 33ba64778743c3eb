//! What two that make the same branch leave behind.

use super::*;
use crate::bucket::BucketSource as _;
use crate::bucket::embedded::{Dialect, EmbeddedOptions, EmbeddedStore};
use crate::bucket::s3::{Credentials, EndpointPolicy, StoreConfig, Stores};
use crate::memory::{MemoryDatabase, MemoryOptions, SqlPool};
use crate::names::{BucketName, DatabaseKey, DatabaseName};
use crate::snapshot::PutIds;
use std::num::NonZeroUsize;
use std::sync::Arc;

async fn store(folder: &std::path::Path) -> (EmbeddedStore, Heads) {
    let credentials = Credentials { access_key_id: "us".to_owned(), secret_access_key: "secret".to_owned(), session_token: None };
    let (root, listen) = (folder.to_owned(), "127.0.0.1:0".parse().unwrap());
    let options = EmbeddedOptions { root, listen, credentials: credentials.clone(), dialect: Dialect::R2 };
    let store = EmbeddedStore::start(options).await.unwrap();
    let bucket = BucketName::parse("orders-data").unwrap();
    store.create_bucket(&bucket).await.unwrap();
    let config =
        StoreConfig { endpoint: Some(store.endpoint()), region: "auto".to_owned(), credentials, ca_bundle: None, kms_key_id: None };
    let stores = Stores::new(EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() });
    let heads = Heads {
        database: DatabaseName::new("apps", "orders"),
        bucket: stores.bucket(&config, &bucket).unwrap(),
        key: DatabaseKey::parse("apps/orders.db").unwrap(),
        put_ids: Arc::new(PutIds::new()),
    };
    (store, heads)
}

fn options() -> MemoryOptions {
    MemoryOptions::new(SqlPool::new(NonZeroUsize::MIN))
}

/// `main` at a state that holds its number.
async fn main_at(txid: u64) -> Source {
    let memory = MemoryDatabase::new(options()).unwrap();
    memory.update(move |transaction| Ok(transaction.execute_batch(&format!("PRAGMA user_version = {txid}"))?)).await.unwrap();
    Source { branch: BranchName::main(), txid, time: WallTime::UNIX_EPOCH, same_since: txid, pin: memory.pin() }
}

#[tokio::test]
async fn whoever_puts_the_objects_gives_the_branch_its_number_and_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, heads) = store(folder.path()).await;
    let (name, birth) = (BranchName::parse("next").unwrap(), Birth::default());
    let (first, second) = (main_at(13).await, main_at(6).await);
    let reserved = reserve(&heads, &name, &first, &birth).await.unwrap();
    let again = reserve(&heads, &name, &second, &birth).await.unwrap();
    assert_eq!(again.record.txid, 14, "above what the first may have begun to put");
    // The second came no further.
    make(&heads, &name, reserved, &first, &birth).await.unwrap();
    let record = heads.read(&name).await.unwrap().unwrap().record;
    assert_eq!((record.txid, record.first().map(Txid::get), record.parent), (13, Some(13), Some(parent(&BranchName::main(), 13))));
    let newest = Chain::of(&heads, &name).newest(Txid::new(13).unwrap(), &options()).await.unwrap();
    assert_eq!(newest.tip.txid.get(), 13, "the record knows of no state that the files do not lead to");
    let second = create(&heads, &name, &second, &birth).await;
    assert!(matches!(second, Err(Error::BranchExists { .. })), "{:?}", second.map(|facts| facts.txid));
}
