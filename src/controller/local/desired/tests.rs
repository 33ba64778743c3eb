use super::*;

fn folder(spec: &str) -> Folder {
    let text = format!("apiVersion: buckethead.dev/v1alpha1\nkind: BucketDatabase\nmetadata: {{name: a}}\nspec: {{{spec}}}\n");
    let mut folder = Folder::default();
    assert_eq!(folder.update([("a.yaml".to_owned(), Ok(text))].into()), []);
    folder
}

fn desired(spec: &str) -> Desired {
    let mut desired = Desired::default();
    assert_eq!(desired.update(&folder(spec), WallTime::UNIX_EPOCH), []);
    desired
}

fn only(desired: &Desired) -> &BucketDatabase {
    desired.resources().values().next().unwrap()
}

#[test]
fn an_edit_is_a_new_generation_of_the_same_resource() {
    let mut desired = desired("bucket: one-bucket, interval: 60s");
    let first = only(&desired).clone();
    assert_eq!(desired.update(&folder("bucket: one-bucket, interval: 10s"), WallTime::UNIX_EPOCH), []);
    assert_eq!(only(&desired).metadata.uid, first.metadata.uid);
    assert_eq!((first.metadata.generation, only(&desired).metadata.generation), (Some(1), Some(2)));
}

#[test]
fn an_immutable_field_is_refused_once_and_the_old_value_stays_in_force() {
    let mut desired = desired("bucket: one-bucket");
    let other = folder("bucket: other-bucket");
    let remarks = desired.update(&other, WallTime::UNIX_EPOCH);
    assert!(matches!(&remarks[..], [Remark::Refused { file, problem }] if file == "a.yaml" && problem.contains("bucket")), "{remarks:?}");
    assert_eq!(desired.update(&other, WallTime::UNIX_EPOCH), []);
    assert_eq!(only(&desired).spec.bucket, "one-bucket");
}

#[test]
fn what_is_declared_no_more_stays_until_it_is_let_go_and_is_made_anew_after_that() {
    let mut desired = desired("bucket: one-bucket");
    let name = desired.resources().keys().next().unwrap().clone();
    let first = only(&desired).metadata.uid.clone();
    desired.update(&Folder::default(), WallTime::UNIX_EPOCH);
    assert!(only(&desired).metadata.deletion_timestamp.is_some());
    desired.update(&folder("bucket: other-bucket"), WallTime::UNIX_EPOCH);
    assert_eq!(only(&desired).spec.bucket, "one-bucket", "its last flush goes where it was");
    desired.let_go(&name);
    desired.update(&folder("bucket: other-bucket"), WallTime::UNIX_EPOCH);
    assert_eq!(only(&desired).spec.bucket, "other-bucket");
    assert_ne!(only(&desired).metadata.uid, first);
    assert!(only(&desired).metadata.deletion_timestamp.is_none());
}
