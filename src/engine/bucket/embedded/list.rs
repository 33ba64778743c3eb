//! One page of a listing. Pure.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::folder::Record;

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Query<'a> {
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<&'a str>,
    /// `start-after`, or the last row of the page before.
    pub(super) after: Option<&'a str>,
    pub(super) limit: usize,
}

/// What is answered, in the order of keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) objects: Vec<Arc<Record>>,
    /// Beginnings of keys up to the delimiter, each standing for all keys that begin so.
    pub(super) prefixes: Vec<String>,
    /// Where the next page goes on, if there is one.
    pub(super) next: Option<String>,
}

pub(super) fn page(objects: &BTreeMap<String, Arc<Record>>, query: &Query<'_>) -> Page {
    let start = match query.after {
        Some(after) if after >= query.prefix => Bound::Excluded(after),
        _ => Bound::Included(query.prefix),
    };
    let mut page = Page::default();
    let mut last = None;
    for (key, record) in objects.range::<str, _>((start, Bound::Unbounded)) {
        let Some(rest) = key.strip_prefix(query.prefix) else { break };
        let group = query
            .delimiter
            .and_then(|delimiter| rest.find(delimiter).map(|at| at + delimiter.len()))
            .map(|end| &key[..query.prefix.len() + end]);
        // The page before ended with this group.
        if group.is_some_and(|group| query.after == Some(group) || page.prefixes.last().is_some_and(|seen| seen == group)) {
            continue;
        }
        if page.objects.len() + page.prefixes.len() == query.limit {
            page.next = last;
            return page;
        }
        match group {
            Some(group) => page.prefixes.push(group.to_owned()),
            None => page.objects.push(Arc::clone(record)),
        }
        last = Some(group.unwrap_or(key).to_owned());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;

    fn objects(keys: &[&str]) -> BTreeMap<String, Arc<Record>> {
        let record = |key: &str| Record {
            key: key.to_owned(),
            version: 1,
            etag: String::new(),
            size: 0,
            modified: WallTime::UNIX_EPOCH,
            content_type: None,
            metadata: BTreeMap::new(),
        };
        keys.iter().map(|&key| (key.to_owned(), Arc::new(record(key)))).collect()
    }

    /// All pages, as `(keys and prefixes in order)`.
    fn walk(keys: &[&str], prefix: &str, delimiter: Option<&str>, limit: usize) -> Vec<String> {
        let objects = objects(keys);
        let (mut rows, mut after): (_, Option<String>) = (Vec::new(), None);
        loop {
            let page = page(&objects, &Query { prefix, delimiter, after: after.as_deref(), limit });
            assert!(page.objects.len() + page.prefixes.len() <= limit);
            rows.extend(page.objects.iter().map(|record| record.key.clone()));
            rows.extend(page.prefixes);
            let Some(next) = page.next else { return rows };
            after = Some(next);
        }
    }

    #[test]
    fn pages_of_any_size_give_each_key_once() {
        let keys = ["a", "b/1", "b/2", "b0", "c/1", "d"];
        for limit in 1..=7 {
            assert_eq!(walk(&keys, "", None, limit), keys, "{limit}");
            assert_eq!(walk(&keys, "b", None, limit), ["b/1", "b/2", "b0"], "{limit}");
        }
    }

    #[test]
    fn a_delimiter_groups_keys_across_pages() {
        let keys = ["a", "b/1", "b/2", "b0", "c/1", "d"];
        for limit in 1..=7 {
            let mut rows = walk(&keys, "", Some("/"), limit);
            rows.sort();
            assert_eq!(rows, ["a", "b/", "b0", "c/", "d"], "{limit}");
        }
    }
}
