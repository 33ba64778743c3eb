//! The manifests under `examples/` are ones that the schema accepts and this build can do.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{BucketDatabase, admit};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn manifests(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let nested = entries.flat_map(|path| if path.is_dir() { manifests(&path) } else { vec![path] });
    nested.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

fn documents(path: &Path) -> Vec<Value> {
    serde_yaml::from_multiple(&fs::read_to_string(path).unwrap()).unwrap()
}

fn accepted(path: &Path, document: Value) -> BucketDatabase {
    admit(document).unwrap_or_else(|refused| panic!("{}: {refused}", path.display()))
}

fn databases(path: &Path) -> Vec<BucketDatabase> {
    let declared = documents(path).into_iter().filter(|document| document["kind"] == "BucketDatabase");
    declared.map(|document| accepted(path, document)).collect()
}

#[test]
fn every_example_is_accepted() {
    let layered = folder().join("gitops");
    let paths: Vec<_> = manifests(&folder()).into_iter().filter(|path| !path.starts_with(&layered)).collect();
    assert!(paths.len() >= 4, "{paths:?}");
    for path in paths {
        assert!(!databases(&path).is_empty(), "{} declares no database", path.display());
    }
}

/// Where a base is patched, what is applied is the two together.
#[test]
fn each_layer_of_the_repository_for_gitops_is_accepted_upon_its_base() {
    let declared = |layer: &str| documents(&folder().join("gitops").join(layer).join("orders.yaml")).remove(0);
    accepted(Path::new("base"), declared("base"));
    for layer in ["production", "staging"] {
        let mut merged = declared("base");
        let spec = merged["spec"].as_object_mut().unwrap();
        spec.extend(declared(layer)["spec"].as_object().unwrap().clone());
        assert!(!accepted(Path::new(layer), merged).spec.branch.is_empty());
    }
}

#[test]
fn the_top_level_holds_the_quickstart_alone() {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = entries.filter(|path| path.is_file()).collect();
    assert_eq!(files, [folder().join("quickstart.yaml")]);
    let databases = databases(&files[0]);
    let [quickstart] = databases.as_slice() else { panic!("one database") };
    let name = (quickstart.metadata.namespace.as_deref(), quickstart.metadata.name.as_deref());
    assert_eq!(name, (Some("default"), Some("quickstart")));
    assert_eq!((&quickstart.spec.endpoint, &quickstart.spec.credentials), (&None, &None));
}
