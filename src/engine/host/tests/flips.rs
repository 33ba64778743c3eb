//! Each object of a database is harmed in each way, at places of chance: what is served afterwards is what was committed, or nothing is.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::damage::keeping;
use super::*;
use crate::bucket::ObjectMeta;
use crate::files::{Description, FileKey};

/// What somebody does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Flip,
    Cut,
    Delete,
    /// What it held before, or what another one of its kind holds.
    Swap,
}

const HARMS: [Harm; 4] = [Harm::Flip, Harm::Cut, Harm::Delete, Harm::Swap];
const RECEIPT: &[u8] = b"a receipt";

type Objects = BTreeMap<ObjectKey, (Bytes, ObjectMeta)>;

impl Bench {
    async fn objects(&self) -> Objects {
        let mut objects = Objects::new();
        for listed in self.bucket().list("", None, usize::MAX).await.unwrap() {
            let meta = self.bucket().head(&listed.key).await.unwrap().unwrap();
            let (_, bytes) = self.object(listed.key.as_str()).await.unwrap();
            objects.insert(listed.key, (bytes, meta));
        }
        objects
    }

    async fn put_back(&self, objects: &Objects) {
        for listed in self.bucket().list("", None, usize::MAX).await.unwrap() {
            self.bucket().delete(&listed.key).await.unwrap();
        }
        for (key, (bytes, meta)) in objects {
            self.put_object(key, bytes.clone(), meta).await;
        }
    }

    async fn put_object(&self, key: &ObjectKey, bytes: Bytes, meta: &ObjectMeta) {
        let form = Form { metadata: meta.metadata.clone(), content_type: "application/octet-stream" };
        self.bucket().put(key, Content::from_bytes(bytes), Put { condition: Condition::Always, form }).await.unwrap();
    }
}

/// A database with a past, and what its objects held some time before.
async fn with_a_past(bench: &mut Bench) -> (Objects, Objects, FileKey) {
    let database = bench.open(keeping(bench)).await;
    write(&database, "create table t(x, noise); insert into t values (1, '')").await;
    let file = put_file(&database, RECEIPT).await;
    database.flush(Flush::Forced).await.unwrap();
    for row in 2..=4 {
        write(&database, &format!("insert into t values ({row}, randomblob(3000))")).await;
        database.save().await.unwrap();
    }
    let before = bench.objects().await;
    database.flush(Flush::Forced).await.unwrap();
    database.renew(Vec::new()).await.unwrap();
    write(&database, "insert into t values (5, '')").await;
    database.save().await.unwrap();
    drop(database);
    bench.close("orders").await.unwrap();
    bench.restart();
    (before, bench.objects().await, file)
}

async fn put_file(database: &Database, content: &'static [u8]) -> FileKey {
    let intake = database.files().intake().write(Bytes::from_static(content)).await.unwrap();
    let spooled = intake.finish().await.unwrap();
    database.files().put(&spooled, Description::default()).await.unwrap();
    spooled.key()
}

fn harmed(harm: Harm, key: &ObjectKey, before: &Objects, now: &Objects, random: &mut StdRng) -> Option<Bytes> {
    let (bytes, _) = &now[key];
    let mut bytes = bytes.to_vec();
    match harm {
        Harm::Flip => {
            let at = random.random_range(0..bytes.len());
            bytes[at] ^= 1 << random.random_range(0..8);
        }
        Harm::Cut => bytes.truncate(random.random_range(0..bytes.len())),
        Harm::Delete => return None,
        Harm::Swap => {
            let folder = |key: &ObjectKey| key.as_str().rsplit_once('/').map(|(folder, _)| folder.to_owned());
            let beside = now.iter().filter(|(other, _)| *other != key && folder(other) == folder(key)).map(|(_, (bytes, _))| bytes);
            let older = before.get(key).map(|(bytes, _)| bytes);
            let others: Vec<&Bytes> = older.into_iter().chain(beside).filter(|other| **other != bytes).collect();
            return others.choose(random).map(|bytes| Bytes::clone(bytes)).or(Some(bytes.into()));
        }
    }
    Some(bytes.into())
}

/// The rows and the file, or why they cannot be had.
async fn served(database: &Database, file: FileKey) -> Result<(i64, Vec<u8>), String> {
    let files = database.files();
    let record = files.head(file).await.map_err(|error| error.to_string())?;
    let content = files.get(&record, None).await.map_err(|error| error.to_string())?;
    let parts: Vec<Bytes> = content.body.try_collect().await.map_err(|error| error.to_string())?;
    Ok((count(database).await, parts.concat()))
}

#[tokio::test]
async fn whatever_is_done_to_an_object_nothing_else_than_what_was_committed_is_served() {
    let mut bench = Bench::start().await;
    let (before, now, file) = with_a_past(&mut bench).await;
    let mut tally = BTreeMap::<&str, u32>::new();
    // `make deep` asks for more.
    let rounds = std::env::var("BUCKETHEAD_FLIPS").map_or(1, |rounds| rounds.parse().unwrap());
    for seed in 0..rounds {
        let mut random = StdRng::seed_from_u64(seed);
        for key in now.keys() {
            for harm in HARMS {
                bench.put_back(&now).await;
                match harmed(harm, key, &before, &now, &mut random) {
                    Some(bytes) if bytes == now[key].0 => continue,
                    Some(bytes) => bench.put_object(key, bytes, &now[key].1).await,
                    None => bench.bucket().delete(key).await.unwrap(),
                }
                bench.restart();
                let what = format!("{harm:?} of {key}, seed {seed}");
                let found = match bench.settle(keeping(&bench)).await {
                    State::Failed { error, .. } => {
                        assert!(!matches!(&*error, Error::Internal { .. }), "{what}: {error}");
                        "refused"
                    }
                    State::Open(facts) => {
                        let database = bench.host.get(&DatabaseName::new("apps", "orders")).unwrap().database;
                        assert_eq!(count(&database).await, 5, "{what}: {facts:?}");
                        match served(&database, file).await {
                            Ok((_, content)) => assert_eq!(content, RECEIPT, "{what}"),
                            Err(why) => assert!(key.as_str().starts_with("files/"), "{what}: {why}"),
                        }
                        // What is served can be restored again, and from sound files alone.
                        let proof = bench.host.verify(database.name()).await.unwrap();
                        let is_whole = proof.failure.as_ref().is_none_or(|failure| failure.starts_with("a past state"));
                        assert!(is_whole, "{what}: {proof:?}");
                        let was_harmed = database.facts().damaged.is_some();
                        drop(database);
                        bench.close("orders").await.unwrap();
                        bench.restart();
                        let database = bench.open(keeping(&bench)).await;
                        assert_eq!((count(&database).await, database.facts().damaged), (5, None), "{what}");
                        if was_harmed { "healed" } else { "no matter" }
                    }
                    state => panic!("{what}: {state:?}"),
                };
                *tally.entry(found).or_default() += 1;
            }
        }
    }
    assert!(["refused", "healed", "no matter"].iter().all(|found| tally.contains_key(found)), "{tally:?}");
}
