//! What `buckethead dev` works on: a folder of manifests, and one of data.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::manifest::Resource;
use super::process::Dev;

pub(crate) struct Folders {
    pub(crate) manifests: PathBuf,
    pub(crate) data: PathBuf,
    _home: TempDir,
}

impl Folders {
    pub(crate) fn empty() -> Self {
        let home = TempDir::new().unwrap();
        let folders = Self { manifests: home.path().join("manifests"), data: home.path().join("data"), _home: home };
        fs::create_dir(&folders.manifests).unwrap();
        folders
    }

    pub(crate) fn with(resource: &Resource) -> Self {
        let folders = Self::empty();
        folders.declare("first.yaml", resource);
        folders
    }

    pub(crate) fn declare(&self, file: &str, resource: &Resource) {
        fs::write(self.manifests.join(file), resource.yaml()).unwrap();
    }

    pub(crate) async fn start(&self, dialect: &str) -> Dev {
        Dev::start(&self.manifests, &self.data, dialect).await
    }
}
