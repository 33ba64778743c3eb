//! What two that make the same branch leave behind.

use chain::Level;

use super::*;
use crate::bucket::BucketSource as _;
use crate::bucket::embedded::{Dialect, EmbeddedOptions, EmbeddedStore, Fault, FaultEffect, Operation};
use crate::bucket::s3::{Credentials, EndpointPolicy, StoreConfig, Stores};
use crate::chains::{Landing, SlotMark, Upload, millis};
use crate::delta;
use crate::head::Epoch;
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
    let config = StoreConfig {
        endpoint: Some(store.endpoint()),
        region: "auto".to_owned(),
        credentials: credentials.into(),
        ca_bundle: None,
        kms_key_id: None,
    };
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
    Source { branch: BranchName::main(), txid, time: WallTime::UNIX_EPOCH, same_since: txid, pin: memory.pin(), checksum: None, base: None }
}

#[tokio::test]
async fn whoever_puts_the_objects_gives_the_branch_its_number_and_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, heads) = store(folder.path()).await;
    let (name, birth) = (BranchName::parse("next").unwrap(), Birth::default());
    let (first, second) = (main_at(13).await, main_at(6).await);
    let reserved = reserve(&heads, &name, &first, &birth).await.unwrap();
    let again = reserve(&heads, &name, &second, &birth).await.unwrap();
    assert_eq!(again.stored.record.txid, 14, "above what the first may have begun to put");
    // The second came no further.
    make(&heads, &name, reserved, &first, &birth).await.unwrap();
    let record = heads.read(&name).await.unwrap().unwrap().record;
    assert_eq!((record.txid, record.first().map(Txid::get), record.parent), (13, Some(13), Some(parent(&BranchName::main(), 13))));
    let newest = Chain::of(&heads, &name).newest(Txid::new(13).unwrap(), &options()).await.unwrap();
    assert_eq!(newest.tip.txid.get(), 13, "the record knows of no state that the files do not lead to");
    let second = create(&heads, &name, &second, &birth).await;
    assert!(matches!(second, Err(Error::BranchExists { .. })), "{:?}", second.map(|facts| facts.txid));
}

/// `main` with a chain of some files in the bucket.
async fn chained_main(heads: &Heads) -> Source {
    let memory = MemoryDatabase::new(options()).unwrap();
    let first = Txid::new(4).unwrap();
    let (mut tip, file) = delta::beginning(memory.pin(), first, millis(WallTime::UNIX_EPOCH), Epoch(3)).await.unwrap();
    let chain = Chain::of(heads, &BranchName::main());
    let upload = |level, file, mark| Upload { level, file, put_id: heads.put_ids.fresh(), mark };
    assert!(matches!(chain.put(&upload(Level::Whole, file, SlotMark::None)).await, Landing::Stored));
    for mark in [SlotMark::Fence, SlotMark::Promotion("p".to_owned()), SlotMark::None] {
        let number = tip.txid.get();
        memory.update(move |transaction| Ok(transaction.execute_batch(&format!("PRAGMA user_version = {number}"))?)).await.unwrap();
        let (pin, changes) = memory.pin_with_changes(tip.commits);
        let delta = tip.delta(&pin, changes, delta::By { epoch: Epoch(7), time: millis(WallTime::UNIX_EPOCH) });
        let file = delta.draft.clone().encoded().unwrap();
        assert!(matches!(chain.put(&upload(Level::Delta, file, mark)).await, Landing::Stored));
        tip.follow(&delta);
    }
    let record = HeadRecord::found(Epoch(7), tip.txid.get()).chained(first);
    assert!(matches!(heads.write(&BranchName::main(), None, record).await.unwrap(), Written::Ours(_)));
    Source {
        branch: BranchName::main(),
        txid: tip.txid.get(),
        time: WallTime::UNIX_EPOCH,
        same_since: tip.txid.get(),
        pin: memory.pin(),
        checksum: Some(tip.checksum()),
        base: None,
    }
}

async fn keys_of(heads: &Heads, branch: &str) -> Vec<String> {
    let begins = format!("apps/orders.db.ltx/{branch}/");
    let listed = heads.bucket.list(&begins, None, 100).await.unwrap();
    listed.iter().map(|object| object.key.as_str()[begins.len()..].to_owned()).collect()
}

#[tokio::test]
async fn a_new_branch_begins_with_copies_of_the_files_that_led_to_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, heads) = store(folder.path()).await;
    let source = chained_main(&heads).await;
    let name = BranchName::parse("next").unwrap();
    let facts = create(&heads, &name, &source, &Birth::default()).await.unwrap();
    assert_eq!(facts.txid, 7);
    let of_main = keys_of(&heads, "main").await;
    assert_eq!((of_main.len(), keys_of(&heads, "next").await), (4, of_main));
    let record = heads.read(&name).await.unwrap().unwrap().record;
    assert_eq!((record.first().map(Txid::get), record.horizon, record.txid), (Some(4), Some(7), 7));
    assert_eq!(record.epoch, Epoch(7), "its first tenure is above those that wrote the files");
    let chain = Chain::of(&heads, &name);
    let newest = chain.newest(Txid::new(4).unwrap(), &options()).await.unwrap();
    assert_eq!((newest.tip.txid.get(), Some(newest.tip.checksum())), (7, source.checksum));
    assert!(newest.kept_slots.is_empty(), "the slots were taken in another branch");
    let told = chain.told().await.unwrap().unwrap();
    assert!(told.slots.iter().all(|(_, mark, _)| *mark == SlotMark::None), "nor was this one overwritten: {told:?}");
}

#[tokio::test]
async fn whoever_finds_a_name_reserved_copies_nothing_and_leaves_nothing_behind_another_s_branch() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, heads) = store(folder.path()).await;
    let (name, birth) = (BranchName::parse("next").unwrap(), Birth::default());
    let (first, second) = (chained_main(&heads).await, main_at(6).await);
    let reserved = reserve(&heads, &name, &first, &birth).await.unwrap();
    let again = reserve(&heads, &name, &second, &birth).await.unwrap();
    assert!(reserved.is_fresh && !again.is_fresh);
    make(&heads, &name, reserved, &first, &birth).await.unwrap();
    let before = keys_of(&heads, "next").await;
    make(&heads, &name, again, &second, &birth).await.unwrap();
    assert_eq!(keys_of(&heads, "next").await, before, "its number would be the newest of the branch");
    let record = heads.read(&name).await.unwrap().unwrap().record;
    assert_eq!((record.txid, record.first().map(Txid::get)), (7, Some(4)));
}

#[tokio::test]
async fn a_large_file_is_read_in_several_stretches_and_only_while_it_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (store, heads) = store(folder.path()).await;
    let memory = MemoryDatabase::new(options()).unwrap();
    let rows = "create table t(c); insert into t values (randomblob(20000000))";
    memory.update(move |transaction| Ok(transaction.execute_batch(rows)?)).await.unwrap();
    let (tip, file) = delta::beginning(memory.pin(), Txid::FIRST, millis(WallTime::UNIX_EPOCH), Epoch(1)).await.unwrap();
    let chain = Chain::of(&heads, &BranchName::main());
    let put_id = heads.put_ids.fresh();
    let whole = Upload { level: Level::Whole, file, put_id, mark: SlotMark::None };
    assert!(matches!(chain.put(&whole).await, Landing::Stored));
    let before = store.requests().of(Operation::GetObject);
    let newest = chain.newest(Txid::FIRST, &options()).await.unwrap();
    assert_eq!(newest.tip.checksum(), tip.checksum());
    assert_eq!(store.requests().of(Operation::GetObject) - before, 3, "20 MB in stretches of 8 MiB");
    store.faults().add(Fault::new(FaultEffect::Refuse).on(Operation::GetObject));
    assert!(matches!(chain.newest(Txid::FIRST, &options()).await, Err(Error::Bucket { .. })), "a store in trouble is no damage");
}

#[tokio::test]
async fn a_late_copy_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, heads) = store(folder.path()).await;
    let source = chained_main(&heads).await;
    let (main, next) = (Chain::of(&heads, &BranchName::main()), Chain::of(&heads, &BranchName::parse("next").unwrap()));
    // Whoever finished the branch meanwhile has put the same state there, in a tenure of its own.
    let theirs = ObjectKey::new("apps/orders.db.ltx/next/0009/0000000000000001-0000000000000004.ltx");
    let put = Put { condition: Condition::IfAbsent, form: Form::plain("a/b") };
    let etag = heads.bucket.put(&theirs, Content::from_bytes("theirs".into()), put).await.unwrap();
    let (first, txid) = (Txid::new(4).unwrap(), Txid::new(source.txid).unwrap());
    let copied = main.copy_to(&next, first, txid, source.pin.size().max(1 << 20), &heads.put_ids).await.unwrap();
    assert_eq!(copied, Some(first));
    assert_eq!(heads.bucket.head(&theirs).await.unwrap().map(|meta| meta.etag), Some(etag));
}
