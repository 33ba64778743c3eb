use serde_json::json;

use super::*;
use crate::fixtures::resource;

#[test]
fn finalizers_of_others_stay_and_a_changed_resource_is_not_patched_blindly() {
    let both = resource(json!({"metadata": {"finalizers": ["other", FINALIZER]}}));
    assert_eq!(remove_finalizer(&both), json!({"metadata": {"resourceVersion": "7", "finalizers": ["other"]}}));
    let one = resource(json!({"metadata": {"finalizers": ["other"]}}));
    assert_eq!(add_finalizer(&one), json!({"metadata": {"resourceVersion": "7", "finalizers": ["other", FINALIZER]}}));
}
