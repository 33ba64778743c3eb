//! What a definition takes away that an earlier one gave: `v1alpha1` grows by addition alone, as docs/compatibility.md promises. Pure.
//!
//! Owns: which change of a schema breaks whom. A manifest that was accepted must stay so and mean the same; a field that was told must stay, and be told as
//! often. What is new may have any schema, but must be optional, since an operator of the release before writes the status without it.
//! Invariant: what this file does not know has to stay as it is.

mod tests;

use serde_json::{Map, Value};

type Fields = Map<String, Value>;

/// A rule of the schema that came to a field later, because what it refuses never worked, or because it speaks of a field that is new.
struct Listed {
    path: &'static str,
    rule: &'static str,
}

/// Rules that came after the first release. The commit that adds one says what it refuses, and CHANGELOG.md does, too.
const LISTED: &[Listed] = &[];

/// Whether people write what the schema describes, or read it.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Written,
    Read,
}

struct Comparison<'a> {
    listed: &'a [Listed],
    found: Vec<String>,
}

/// What is gone, or narrower, in `now`.
fn breaks(before: &Value, now: &Value, listed: &[Listed]) -> Vec<String> {
    let mut comparison = Comparison { listed, found: Vec::new() };
    comparison.definition(&before["spec"], &now["spec"]);
    comparison.found
}

impl Comparison<'_> {
    fn broken(&mut self, path: &str, what: impl AsRef<str>) {
        self.found.push(format!("{path}: {}", what.as_ref()));
    }

    fn definition(&mut self, before: &Value, now: &Value) {
        for field in ["group", "scope"] {
            self.same(field, field, before.get(field), now.get(field));
        }
        for field in ["kind", "plural", "singular"] {
            self.same("names", field, before["names"].get(field), now["names"].get(field));
        }
        for field in ["shortNames", "categories"] {
            self.all_kept("names", field, before["names"].get(field), now["names"].get(field));
        }
        for version in list(before.get("versions")) {
            let name = version["name"].as_str().unwrap_or_default();
            match list(now.get("versions")).iter().find(|other| other["name"] == version["name"] && other["served"] == true) {
                Some(other) => self.version(name, version, other),
                None => self.broken(name, "is not served any more"),
            }
        }
    }

    fn version(&mut self, name: &str, before: &Value, now: &Value) {
        self.same(name, "subresources", before.get("subresources"), now.get("subresources"));
        self.all_kept(name, "selectableFields", before.get("selectableFields"), now.get("selectableFields"));
        let root = |version: &Value| fields(version.pointer("/schema/openAPIV3Schema"));
        self.schema(name, Side::Written, &root(before), &root(now));
    }

    fn schema(&mut self, path: &str, side: Side, before: &Fields, now: &Fields) {
        let known = before.keys().chain(now.keys().filter(|keyword| !before.contains_key(*keyword)));
        for keyword in known {
            let (old, new) = (before.get(keyword), now.get(keyword));
            match keyword.as_str() {
                "description" | "title" => {}
                "properties" => self.properties(path, side, &fields(old), &fields(new)),
                "items" if old.is_some() && new.is_some() => self.schema(&format!("{path}[]"), side, &fields(old), &fields(new)),
                "required" => self.required(path, side, list(old), list(new)),
                "enum" => self.words(path, side, old, new),
                "minimum" | "minLength" | "minItems" | "minProperties" => self.bound(path, keyword, side, old, new, |old, new| new <= old),
                "maximum" | "maxLength" | "maxItems" | "maxProperties" => self.bound(path, keyword, side, old, new, |old, new| new >= old),
                "x-kubernetes-validations" => self.rules(path, list(old), list(new)),
                _ => self.same(path, keyword, old, new),
            }
        }
    }

    fn properties(&mut self, path: &str, side: Side, before: &Fields, now: &Fields) {
        for (name, old) in before {
            // At the top, where the path is that of the version.
            let side = if name == "status" && !path.contains('.') { Side::Read } else { side };
            let path = format!("{path}.{name}");
            match now.get(name) {
                Some(new) => self.schema(&path, side, &fields(Some(old)), &fields(Some(new))),
                None => self.broken(&path, "is gone"),
            }
        }
    }

    fn words(&mut self, path: &str, side: Side, old: Option<&Value>, new: Option<&Value>) {
        if old.is_none() {
            self.broken(path, "takes only some values now");
        } else if new.is_some() || side == Side::Read {
            self.all_kept(path, "enum", old, new);
        }
    }

    fn required(&mut self, path: &str, side: Side, before: &[Value], now: &[Value]) {
        for name in now.iter().filter(|name| !before.contains(name)) {
            self.broken(path, format!("{name} must be given now"));
        }
        for name in before.iter().filter(|name| side == Side::Read && !now.contains(name)) {
            self.broken(path, format!("{name} may be absent now"));
        }
    }

    /// Of what is read, a bound may neither be narrower, since the release before writes it, nor wider, since readers count on it.
    fn bound(
        &mut self,
        path: &str,
        keyword: &str,
        side: Side,
        old: Option<&Value>,
        new: Option<&Value>,
        wide_enough: impl Fn(f64, f64) -> bool,
    ) {
        let holds = match (old.and_then(Value::as_f64), new.and_then(Value::as_f64)) {
            (_, None) => side == Side::Written,
            (None, Some(_)) => false,
            (Some(old), Some(new)) => wide_enough(old, new) && (side == Side::Written || wide_enough(new, old)),
        };
        if !holds {
            self.broken(path, format!("{keyword} is {}, and was {}", text(new), text(old)));
        }
    }

    fn rules(&mut self, path: &str, before: &[Value], now: &[Value]) {
        for rule in now.iter().filter_map(|rule| rule["rule"].as_str()) {
            let is_old = before.iter().any(|old| old["rule"] == rule);
            if !is_old && !self.listed.iter().any(|listed| listed.path == path && listed.rule == rule) {
                self.broken(path, format!("has a new rule: {rule}"));
            }
        }
    }

    fn same(&mut self, path: &str, what: &str, old: Option<&Value>, new: Option<&Value>) {
        if old != new {
            self.broken(path, format!("{what} is {}, and was {}", text(new), text(old)));
        }
    }

    fn all_kept(&mut self, path: &str, what: &str, old: Option<&Value>, new: Option<&Value>) {
        for value in list(old).iter().filter(|value| !list(new).contains(value)) {
            self.broken(path, format!("{what} lacks {value}"));
        }
    }
}

fn fields(value: Option<&Value>) -> Fields {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: Option<&Value>) -> String {
    value.map_or_else(|| "absent".to_owned(), Value::to_string)
}
