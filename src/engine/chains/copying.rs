//! Files of a branch's chain as the beginning of another one's.
//!
//! Invariant: a copy is put only where no file is, like every file of a chain: of two that make a branch, one may be late, and what
//! stands there may be another tenure's file of the same state.

use std::sync::Arc;

use chain::{File, Plan, Target};
use futures::{FutureExt as _, StreamExt as _};
use ltx::Txid;

use super::{CONTENT_TYPE, Chain};
use crate::bucket::{self, Condition, Content, Form, ObjectMeta, Patched, Put};
use crate::error::Error;
use crate::snapshot::{PutIds, metadata};

/// So many files behind a whole database are copied at most. Each is a request now, and another of whoever opens the branch.
const MOST: usize = 32;
const AT_ONCE: usize = 4;

impl Chain {
    /// Has a new branch begin with copies of the files that lead to a state: tells the number of the whole database among them. `None` if
    /// there are too many, or too large ones.
    pub(crate) async fn copy_to(&self, new: &Self, first: Txid, txid: Txid, size: u64, put_ids: &PutIds) -> Result<Option<Txid>, Error> {
        let files = self.newest_files(first).await?;
        let Ok(Plan { whole, steps }) = files.plan(Target::Txid(txid)) else { return Ok(None) };
        let behind: u64 = steps.iter().map(|file| file.size).sum();
        if steps.len() > MOST || behind > size {
            return Ok(None);
        }
        let copies = [whole].into_iter().chain(steps).map(|file| self.copy_file(new, file, put_ids).boxed());
        let mut done = futures::stream::iter(copies.collect::<Vec<_>>()).buffered(AT_ONCE);
        while let Some(one) = done.next().await {
            one.map_err(|source| self.failed(source))?;
        }
        Ok(Some(whole.txids.max()))
    }

    async fn copy_file(&self, new: &Self, file: File, put_ids: &PutIds) -> Result<(), bucket::Error> {
        let (from, to) = (self.key(file.level, file.txids), new.key(file.level, file.txids));
        let gone = || bucket::Error::Unavailable { message: format!("{from} went away while it was copied") };
        let (form, condition) = (|meta: &ObjectMeta| new.form_of_copy(meta, put_ids), Condition::IfAbsent);
        let put = match self.bucket.patch_size() {
            // The store does it by itself.
            Some(part) if self.bucket.is_large(file.size) => {
                let meta = self.bucket.head(&from).await?.ok_or_else(gone)?;
                let (form, len) = (form(&meta), meta.size);
                let same = (0..len.div_ceil(part)).collect();
                // All of it is the same.
                let content = Arc::new(|_| Box::new(std::io::empty()) as _);
                let patched = Patched { from: from.clone(), unchanged: meta.etag, same, part, len, content };
                self.bucket.stage_patched(&to, patched, form).await?.publish(&condition).await
            }
            _ => {
                let object = self.bucket.get(&from, None).await?.ok_or_else(gone)?;
                let (form, len) = (form(&object.meta), object.meta.size);
                let body = bucket::reader(object.body);
                self.bucket.put(&to, Content::new(len, body), Put { condition, form }).await
            }
        };
        match put {
            // A number stands for one state, whoever brings it.
            Ok(_) | Err(bucket::Error::PreconditionFailed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whatever its slot was in the other branch, in this one it is nothing but a file.
    fn form_of_copy(&self, meta: &ObjectMeta, put_ids: &PutIds) -> Form {
        let kept = [metadata::EPOCH, metadata::TXID, metadata::LITESTREAM_TIMESTAMP];
        let kept = kept.into_iter().filter_map(|name| Some((name.to_owned(), meta.metadata.get(name)?.clone())));
        let own = [(metadata::BRANCH, self.branch.to_string()), (metadata::PUT_ID, put_ids.fresh().to_string())];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        Form { metadata: kept.chain(own).collect(), content_type: CONTENT_TYPE }
    }
}
