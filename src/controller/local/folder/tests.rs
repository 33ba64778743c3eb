use super::*;

fn database(name: &str) -> String {
    format!("apiVersion: buckethead.dev/v1alpha1\nkind: BucketDatabase\nmetadata: {{name: {name}}}\nspec: {{bucket: some-bucket}}\n")
}

fn files(texts: &[(&str, &str)]) -> Files {
    texts.iter().map(|(name, text)| ((*name).to_owned(), Ok((*text).to_owned()))).collect()
}

fn names(folder: &Folder) -> Vec<String> {
    folder.databases().keys().map(|name| name.name().to_owned()).collect()
}

#[test]
fn a_file_that_became_unsound_keeps_its_databases_and_is_remarked_upon_once() {
    let mut folder = Folder::default();
    assert_eq!(folder.update(files(&[("a.yaml", &database("a"))])), []);
    let remarks = folder.update(files(&[("a.yaml", "a: [")]));
    assert!(matches!(&remarks[..], [Remark::Refused { file, .. }] if file == "a.yaml"), "{remarks:?}");
    assert_eq!(folder.update(files(&[("a.yaml", "a: [")])), []);
    assert_eq!(names(&folder), ["a"]);
}

#[test]
fn a_file_that_cannot_be_read_keeps_its_databases_and_one_that_is_gone_does_not() {
    let mut folder = Folder::default();
    folder.update(files(&[("a.yaml", &database("a"))]));
    let unreadable = Files::from([("a.yaml".to_owned(), Err("it cannot be read: denied".to_owned()))]);
    assert_eq!(folder.update(unreadable).len(), 1);
    assert_eq!(names(&folder), ["a"]);
    folder.update(Files::new());
    assert_eq!(names(&folder), Vec::<String>::new());
}

#[test]
fn of_two_files_that_declare_one_name_the_first_counts_and_the_second_is_remarked_upon_once() {
    let mut folder = Folder::default();
    let both = files(&[("a.yaml", &database("x")), ("b.yaml", &database("x"))]);
    let remarks = folder.update(both.clone());
    assert!(matches!(&remarks[..], [Remark::Refused { file, problem }] if file == "b.yaml" && problem.contains("a.yaml")), "{remarks:?}");
    assert_eq!(folder.update(both), []);
    assert_eq!(folder.databases().values().next().unwrap().0, "a.yaml");
}

#[test]
fn another_kind_is_named_and_skipped() {
    let mut folder = Folder::default();
    let text = format!("apiVersion: v1\nkind: Service\n---\n{}", database("a"));
    let remarks = folder.update(files(&[("a.yaml", &text)]));
    assert_eq!(remarks, [Remark::Skipped { file: "a.yaml".to_owned(), kind: "Service".to_owned() }]);
    assert_eq!(names(&folder), ["a"]);
}

#[test]
fn only_manifests_at_the_top_level_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| std::fs::write(folder.path().join(name), name).unwrap();
    std::fs::create_dir(folder.path().join("more.yaml")).unwrap();
    ["a.yaml", "b.yml", "c.txt", "more.yaml/d.yaml"].into_iter().for_each(write);
    assert_eq!(read(folder.path()).unwrap(), files(&[("a.yaml", "a.yaml"), ("b.yml", "b.yml")]));
    assert!(read(&folder.path().join("absent")).is_err());
}
