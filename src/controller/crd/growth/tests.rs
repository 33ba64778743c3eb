//! The definition of today beside those of all releases, and each kind of break in a small one.

use serde_json::{Value, json};

use super::{LISTED, Listed, breaks};
use crate::crd::crd_yaml;

#[test]
fn the_definition_gives_all_that_each_release_gave() {
    let now: Value = serde_yaml::from_str(&crd_yaml()).unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/crd/frozen");
    let releases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!releases.is_empty(), "{folder} has no definition");
    for release in releases {
        let before: Value = serde_yaml::from_str(&std::fs::read_to_string(&release).unwrap()).unwrap();
        assert_eq!(breaks(&before, &now, LISTED), Vec::<String>::new(), "{}", release.display());
    }
}

/// A definition with a field `spec.level`, another in a list, and one in the status.
fn small() -> Value {
    json!({"spec": {
        "group": "example.dev", "scope": "Namespaced",
        "names": {"kind": "Thing", "plural": "things", "singular": "thing", "shortNames": ["t"], "categories": ["all"]},
        "versions": [{
            "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
            "selectableFields": [{"jsonPath": ".spec.mode"}],
            "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
                "spec": {"type": "object", "required": ["level"], "properties": {
                    "level": {"type": "integer", "format": "int64", "minimum": 1, "maximum": 9, "default": 3, "description": "How much."},
                    "mode": {"type": "string", "enum": ["Slow", "Fast"]},
                    "name": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z]+$",
                        "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "name is immutable"}]},
                    "parts": {"type": "array", "maxItems": 4, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                        "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}},
                    "note": {"type": "string"},
                }},
                "status": {"type": "object", "required": ["phase"], "properties": {
                    "phase": {"type": "string", "enum": ["Begun", "Done"]},
                    "count": {"type": "integer", "minimum": 0},
                }},
            }}},
        }],
    }})
}

const SPEC: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
const STATUS: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/status";

/// `small` with another value at `pointer`; without one, if it is null.
fn changed(pointer: &str, value: Value) -> Value {
    let mut definition = small();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = definition.pointer_mut(parent).unwrap_or_else(|| panic!("there is no {parent}"));
    match (parent, value) {
        (Value::Object(fields), Value::Null) => drop(fields.remove(name).expect("what is taken away is there")),
        (Value::Object(fields), value) => drop(fields.insert(name.to_owned(), value)),
        (Value::Array(items), value) => items[name.parse::<usize>().unwrap()] = value,
        (other, _) => panic!("{pointer} is below {other}"),
    }
    definition
}

fn of_change(pointer: &str, value: Value) -> Vec<String> {
    breaks(&small(), &changed(pointer, value), &[])
}

#[test]
fn each_kind_of_break_is_found() {
    let spec = |path: &str| format!("{SPEC}{path}");
    let status = |path: &str| format!("{STATUS}{path}");
    for (pointer, value, expected) in [
        ("/spec/group".to_owned(), json!("example.org"), "group: group is \"example.org\""),
        ("/spec/scope".to_owned(), json!("Cluster"), "scope: scope is"),
        ("/spec/names/kind".to_owned(), json!("Other"), "names: kind is"),
        ("/spec/names/plural".to_owned(), json!("others"), "names: plural is"),
        ("/spec/names/shortNames".to_owned(), json!([]), "names: shortNames lacks \"t\""),
        ("/spec/names/categories".to_owned(), Value::Null, "names: categories lacks \"all\""),
        ("/spec/versions/0/name".to_owned(), json!("v1"), "v1alpha1: is not served any more"),
        ("/spec/versions/0/served".to_owned(), json!(false), "v1alpha1: is not served any more"),
        ("/spec/versions/0/subresources".to_owned(), Value::Null, "v1alpha1: subresources is absent"),
        ("/spec/versions/0/selectableFields".to_owned(), Value::Null, "v1alpha1: selectableFields lacks"),
        (spec("/properties/note"), Value::Null, "v1alpha1.spec.note: is gone"),
        (spec("/properties/parts/items/properties/id"), Value::Null, "v1alpha1.spec.parts[].id: is gone"),
        (spec("/properties/parts/items"), Value::Null, "v1alpha1.spec.parts: items is absent"),
        (spec("/properties/note/type"), json!("integer"), "v1alpha1.spec.note: type is \"integer\", and was \"string\""),
        (spec("/properties/level/format"), json!("int32"), "v1alpha1.spec.level: format is"),
        (spec("/required"), json!(["level", "note"]), "v1alpha1.spec: \"note\" must be given now"),
        (spec("/properties/parts/items/required"), json!(["id", "x"]), "v1alpha1.spec.parts[]: \"x\" must be given now"),
        (spec("/properties/mode/enum"), json!(["Fast"]), "v1alpha1.spec.mode: enum lacks \"Slow\""),
        (spec("/properties/note/enum"), json!(["a"]), "v1alpha1.spec.note: takes only some values now"),
        (spec("/properties/level/minimum"), json!(2), "v1alpha1.spec.level: minimum is 2, and was 1"),
        (spec("/properties/level/maximum"), json!(8), "v1alpha1.spec.level: maximum is 8, and was 9"),
        (spec("/properties/name/minLength"), json!(2), "v1alpha1.spec.name: minLength is 2"),
        (spec("/properties/name/maxLength"), json!(62), "v1alpha1.spec.name: maxLength is 62"),
        (spec("/properties/note/maxLength"), json!(62), "v1alpha1.spec.note: maxLength is 62, and was absent"),
        (spec("/properties/parts/minItems"), json!(1), "v1alpha1.spec.parts: minItems is 1, and was absent"),
        (spec("/properties/parts/maxItems"), json!(3), "v1alpha1.spec.parts: maxItems is 3"),
        (spec("/properties/name/pattern"), json!("^[a-y]+$"), "v1alpha1.spec.name: pattern is"),
        (spec("/properties/note/pattern"), json!("^x"), "v1alpha1.spec.note: pattern is \"^x\", and was absent"),
        (spec("/properties/level/default"), json!(4), "v1alpha1.spec.level: default is 4, and was 3"),
        (spec("/properties/level/default"), Value::Null, "v1alpha1.spec.level: default is absent"),
        (spec("/properties/note/default"), json!("x"), "v1alpha1.spec.note: default is \"x\", and was absent"),
        (
            spec("/properties/note/x-kubernetes-validations"),
            json!([{"rule": "self != ''"}]),
            "v1alpha1.spec.note: has a new rule: self != ''",
        ),
        (spec("/properties/name/x-kubernetes-validations/0/rule"), json!("self != oldSelf"), "v1alpha1.spec.name: has a new rule"),
        (spec("/properties/parts/x-kubernetes-list-type"), json!("set"), "v1alpha1.spec.parts: x-kubernetes-list-type is"),
        (spec("/properties/note/nullable"), json!(false), "v1alpha1.spec.note: nullable is false, and was absent"),
        (status("/properties/count"), Value::Null, "v1alpha1.status.count: is gone"),
        (status("/properties/phase/enum"), json!(["Done"]), "v1alpha1.status.phase: enum lacks \"Begun\""),
        (status("/properties/phase/enum"), Value::Null, "v1alpha1.status.phase: enum lacks \"Begun\""),
        (status("/required"), json!([]), "v1alpha1.status: \"phase\" may be absent now"),
        (status("/required"), json!(["phase", "count"]), "v1alpha1.status: \"count\" must be given now"),
        (status("/properties/count/minimum"), json!(-1), "v1alpha1.status.count: minimum is -1"),
        (status("/properties/count/minimum"), json!(1), "v1alpha1.status.count: minimum is 1"),
        (status("/properties/count/minimum"), Value::Null, "v1alpha1.status.count: minimum is absent"),
    ] {
        let found = of_change(&pointer, value.clone());
        assert!(found.iter().any(|one| one.starts_with(expected)), "{pointer} = {value}: {found:?}");
    }
}

#[test]
fn what_is_added_or_widened_breaks_nobody() {
    let spec = |path: &str| format!("{SPEC}{path}");
    let optional = json!({"type": "string", "maxLength": 5, "default": "x", "x-kubernetes-validations": [{"rule": "self != 'y'"}]});
    for (pointer, value) in [
        (spec("/properties/fresh"), optional.clone()),
        (spec("/properties/parts/items/properties/fresh"), optional.clone()),
        (format!("{STATUS}/properties/fresh"), optional),
        (spec("/required"), Value::Null),
        (spec("/properties/mode/enum"), json!(["Slow", "Fast", "Faster"])),
        (spec("/properties/mode/enum"), Value::Null),
        (format!("{STATUS}/properties/phase/enum"), json!(["Begun", "Done", "Failed"])),
        (spec("/properties/level/minimum"), json!(0)),
        (spec("/properties/level/maximum"), Value::Null),
        (spec("/properties/name/maxLength"), json!(253)),
        (spec("/properties/name/x-kubernetes-validations"), Value::Null),
        (spec("/properties/name/x-kubernetes-validations/0/message"), json!("in other words")),
        (spec("/properties/level/description"), json!("How much of it.")),
        ("/spec/names/shortNames".to_owned(), json!(["t", "th"])),
        ("/spec/versions/0/storage".to_owned(), json!(false)),
        ("/spec/versions/0/additionalPrinterColumns".to_owned(), json!([])),
    ] {
        assert_eq!(of_change(&pointer, value), Vec::<String>::new(), "{pointer}");
    }
    assert_eq!(breaks(&small(), &small(), &[]), Vec::<String>::new());
}

#[test]
fn a_rule_that_is_listed_breaks_nobody_where_it_is_listed() {
    let now = changed(&format!("{SPEC}/properties/note/x-kubernetes-validations"), json!([{"rule": "self != ''"}]));
    let at = |path| [Listed { path, rule: "self != ''" }];
    assert_eq!(breaks(&small(), &now, &at("v1alpha1.spec.note")), Vec::<String>::new());
    assert_eq!(breaks(&small(), &now, &at("v1alpha1.spec.name")).len(), 1);
}
