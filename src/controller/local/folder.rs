//! A folder of manifests over time: what it declares now, and what of it is news. Pure but for [`read`].
//!
//! Invariant: a file that became unreadable keeps what it declared before. Only a file that is gone takes its databases along.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use engine::DatabaseName;

use super::manifest::{self, Manifest};
use crate::crd::BucketDatabase;
use crate::plan::name_of;
use crate::resolve::SecretData;

/// The text of each file, or why it cannot be read.
pub(super) type Files = BTreeMap<String, Result<String, String>>;

/// The manifests at the top level of a folder.
pub(super) fn read(folder: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_manifest = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_manifest && path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.insert(name, std::fs::read_to_string(&path).map_err(|error| format!("it cannot be read: {error}")));
        }
    }
    Ok(files)
}

/// One thing about a file that a person should hear, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remark {
    /// It is not carried out, as a whole or in part.
    Refused { file: String, problem: String },
    /// It holds something that is not for us.
    Skipped { file: String, kind: String },
}

#[derive(Debug, Default)]
struct File {
    /// As it was read last.
    text: Option<Result<String, String>>,
    /// Of the last text that was sound.
    sound: Manifest,
}

/// What a folder declares.
#[derive(Debug, Default)]
pub(super) struct Folder {
    files: BTreeMap<String, File>,
    /// Duplicates that were remarked upon.
    told: Vec<Remark>,
}

impl Folder {
    /// Takes over what was read. Returns what is worth a remark, once for each text.
    pub(super) fn update(&mut self, read: Files) -> Vec<Remark> {
        let mut remarks = Vec::new();
        self.files.retain(|name, _| read.contains_key(name));
        for (name, text) in read {
            let file = self.files.entry(name.clone()).or_default();
            if file.text.as_ref() == Some(&text) {
                continue;
            }
            match text.clone().and_then(|text| manifest::parse(&text)) {
                Ok(sound) => {
                    remarks.extend(sound.skipped.iter().map(|kind| Remark::Skipped { file: name.clone(), kind: kind.clone() }));
                    file.sound = sound;
                }
                Err(problem) => remarks.push(Remark::Refused { file: name.clone(), problem }),
            }
            file.text = Some(text);
        }
        let duplicates = self.duplicates();
        remarks.extend(duplicates.iter().filter(|remark| !self.told.contains(remark)).cloned());
        self.told = duplicates;
        remarks
    }

    /// Each database with the file that declares it. Of two of one name that in the first file counts.
    pub(super) fn databases(&self) -> BTreeMap<DatabaseName, (&str, &BucketDatabase)> {
        let mut databases = BTreeMap::new();
        for (file, resource) in self.declarations() {
            databases.entry(name_of(resource)).or_insert((file, resource));
        }
        databases
    }

    /// A Secret of a namespace.
    pub(super) fn secret(&self, namespace: &str, name: &str) -> Option<SecretData> {
        let name = DatabaseName::new(namespace, name);
        self.files.values().find_map(|file| file.sound.secrets.get(&name)).cloned()
    }

    fn declarations(&self) -> impl Iterator<Item = (&str, &BucketDatabase)> {
        self.files.iter().flat_map(|(name, file)| file.sound.databases.iter().map(move |resource| (name.as_str(), resource)))
    }

    fn duplicates(&self) -> Vec<Remark> {
        let first = self.databases();
        let mut duplicates = Vec::new();
        for (file, resource) in self.declarations() {
            let name = name_of(resource);
            if let Some((other, _)) = first.get(&name).filter(|(other, _)| *other != file) {
                let problem = format!("BucketDatabase {name} is declared in {other} already; that one counts");
                duplicates.push(Remark::Refused { file: file.to_owned(), problem });
            }
        }
        duplicates
    }
}

#[cfg(test)]
mod tests;
