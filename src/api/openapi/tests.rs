use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::error::TYPES;
use crate::error::tests::KINDS;

/// What no operation tells of, since it is no reply of one.
const ELSEWHERE: [Kind; 3] = [
    // Of methods and commands that the document does not have.
    Kind::MethodNotAllowed,
    Kind::DatabaseReadOnly,
    // Nobody is left to read it.
    Kind::SqlCancelled,
];

/// Calls `visit` with each object within `value`.
fn each(value: &Value, visit: &mut impl FnMut(&Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            visit(members);
            members.values().for_each(|member| each(member, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| each(item, visit)),
        _ => {}
    }
}

#[test]
fn each_reference_names_something_and_each_name_is_used() {
    let document = openapi();
    let mut used = BTreeSet::new();
    each(&document, &mut |members| {
        if let Some(Value::String(place)) = members.get("$ref") {
            assert!(document.pointer(&place[1..]).is_some(), "{place}");
            used.insert(place.clone());
        }
    });
    // What the data of events and the lines of results are is told in words.
    for said in ["Commit", "SqlRow"] {
        used.insert(format!("#/components/schemas/{said}"));
    }
    for part in ["schemas", "responses", "parameters", "headers"] {
        for name in document["components"][part].as_object().unwrap().keys() {
            assert!(used.contains(&format!("#/components/{part}/{name}")), "nothing names {part}/{name}");
        }
    }
}

#[test]
fn no_two_things_have_one_name() {
    let (mut ids, mut schemas) = (BTreeSet::new(), BTreeMap::new());
    for Family { operations, schemas: more } in families() {
        for operation in operations {
            let id = operation.clone().written(&mut Map::new())["operationId"].to_string();
            assert!(ids.insert(id.clone()), "{id}");
            for (name, schema) in operation.schemas.into_iter().chain(more.clone()) {
                let known = schemas.entry(name.clone()).or_insert_with(|| schema.clone());
                assert_eq!(*known, schema, "{name}");
            }
        }
    }
}

#[test]
fn each_problem_is_told_with_its_status() {
    let document = openapi();
    let mut told = BTreeSet::new();
    for (name, reply) in document["components"]["responses"].as_object().unwrap() {
        let Some(narrowed) = reply["content"]["application/problem+json"]["schema"]["allOf"].get(1) else { continue };
        for of in narrowed["properties"]["type"]["enum"].as_array().unwrap() {
            let word = of.as_str().unwrap().strip_prefix(TYPES).unwrap();
            let kind = KINDS.into_iter().find(|kind| kind.row().1 == word).unwrap_or_else(|| panic!("{word} is no problem"));
            assert_eq!(narrowed["properties"]["status"]["const"], kind.status().as_u16(), "{name}: {word}");
            told.insert(word.to_owned());
        }
        // It stands under its status wherever it is named.
        let status = narrowed["properties"]["status"]["const"].to_string();
        each(&document["paths"], &mut |members| {
            let named = members.iter().filter(|(_, of)| of["$ref"] == format!("#/components/responses/{name}"));
            named.for_each(|(under, _)| assert_eq!(*under, status, "{name}"));
        });
    }
    // Those of streams are told in the words of their clients.
    let hrana = document["components"]["responses"].to_string();
    for kind in KINDS.into_iter().filter(|kind| !ELSEWHERE.contains(kind)) {
        let word = kind.row().1;
        assert!(told.contains(word) || hrana.contains(&hrana::code(word)), "no operation tells of {word}");
    }
}

#[test]
fn the_page_shows_every_operation_and_schema() {
    let document = openapi();
    let page = page::of(&document);
    each(&document["paths"], &mut |members| {
        if let Some(id) = members.get("operationId") {
            assert!(page.contains(&format!("<section id={id}>")), "{id}");
        }
    });
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("<section id=\"schema-{name}\">")), "{name}");
    }
}
