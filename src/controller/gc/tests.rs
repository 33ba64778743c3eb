use engine::GcStage::{Busy, Clean, Deleted, Marked, Waiting};
use serde_json::json;

use super::*;
use crate::fixtures::{gc_status, gc_summary, resource, second};

#[test]
fn a_place_is_the_prefix_in_the_bucket_at_the_endpoint_whatever_the_key_and_branch() {
    let place = |patch| Place::of(&resource(json!({"spec": patch})).spec);
    let one = place(json!({"endpoint": "http://minio:9000"}));
    assert_eq!(one, place(json!({"endpoint": "HTTP://MinIO:9000/", "key": "other.db", "branch": "next"})));
    for other in [
        json!({"endpoint": "http://minio:9001"}),
        json!({"endpoint": "http://minio:9000", "bucket": "other-data"}),
        json!({"endpoint": "http://minio:9000", "files": {"prefix": "blobs/"}}),
        json!({"r2": {"accountId": "a"}}),
    ] {
        assert_ne!(one, place(other));
    }
    assert_eq!(one.as_str().len(), 16);
}

#[test]
fn one_wish_ends_when_what_was_unused_then_was_marked_and_looked_at_again() {
    let until = second(60);
    let next = |number, is_swept, stage, marked| {
        let found = GcSummary { marked, ..gc_summary(stage, Some(until)) };
        Run { number, is_swept, request: None }.next(&found)
    };
    // The usual way: mark, wait, delete.
    assert_eq!(next(1, false, Marked, 3), Some(until));
    assert_eq!(next(2, true, Deleted, 0), None);
    // What came up meanwhile waits for the next wish.
    assert_eq!((next(2, true, Deleted, 1), next(2, true, Marked, 1)), (None, None));
    // Marks of an earlier wish are waited for, deleted, and only then is everything marked.
    assert_eq!(next(1, false, Waiting, 3), Some(until));
    assert_eq!(next(2, false, Deleted, 2), Some(until));
    assert_eq!((next(1, false, Busy, 0), next(2, true, Busy, 0)), (Some(until), Some(until)));
    assert_eq!((next(1, false, Clean, 0), next(1, false, Deleted, 0)), (None, None));
    assert_eq!(next(5, false, Busy, 0), None, "not for ever");
}

#[test]
fn nothing_follows_a_dry_run() {
    let found = GcSummary { dry_run: true, marked: 1, ..gc_summary(Marked, Some(second(9))) };
    assert_eq!(Run::first(None).next(&found), None);
}

#[test]
fn the_run_that_follows_knows_whether_everything_is_marked() {
    for (stage, is_swept) in [(Marked, true), (Deleted, true), (Waiting, false), (Busy, false)] {
        let run = Run::after(&gc_status(stage, 1, None));
        assert_eq!(run, Run { number: 2, is_swept, request: None }, "{stage:?}");
    }
}
