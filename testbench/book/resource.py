"""Prints docs/resource.md: what a BucketDatabase may say, from its CustomResourceDefinition as JSON on standard input."""

import json
import sys

HEAD = """\
# BucketDatabase

<!-- Made from crds/buckethead.dev_bucketdatabases.yaml by `make resource-docs`; do not edit. -->

`{group}/{version}`, kind `{kind}`, short name `{short}`, namespaced. `kubectl explain {short}.spec` tells the same from a cluster. What the reasons in its status mean, and what to do, is in
[conditions.md](conditions.md); what each mode of durability promises, in [durability.md](durability.md). The API server checks all rules of this page when a resource is applied.
"""

ANNOTATIONS = """\
## Annotations

Wishes that are carried out once. `status.lastHandled` tells which one was dealt with last.

| Annotation | Value | Asks |
| --- | --- | --- |
| `buckethead.dev/flush-requested-at` | any new value | to renew the plain file at `key` ([durability.md](durability.md)) |
| `buckethead.dev/gc-requested-at` | any new value | for a run of gc ([gc.md](gc.md)) |
| `buckethead.dev/rotate-token-at` | any new value | for new tokens ([credentials.md](credentials.md)) |
| `buckethead.dev/keep-branch` | a branch | to keep a branch that has left the list ([branches.md](branches.md)) |
| `buckethead.dev/take-over` | an epoch | to take the branch over from whoever holds it by this epoch ([conditions.md](conditions.md#heldelsewhere)) |
| `buckethead.dev/accept-snapshot` | an ETag | to begin with this earlier snapshot ([conditions.md](conditions.md#snapshotcorrupt)) |
| `buckethead.dev/accept-state` | `epoch.txid` | to go on from this earlier state ([durability.md](durability.md#damage)) |
| `buckethead.dev/force-delete` | the UID of the resource | to let it go without a last flush ([deletion.md](deletion.md)) |
"""


def prose(text):
    """Text of the schema in a cell of a table: what is not code has no tags, and nothing ends the cell."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts).replace("|", "\\|")


def value(default):
    return default if isinstance(default, str) and default else json.dumps(default)


def type_of(schema):
    if schema["type"] == "array":
        return f"list of {type_of(schema['items'])}"
    return {"date-time": "time", "int64": "integer", "int32": "integer"}.get(schema.get("format"), schema["type"])


def span(lowest, highest, unit=""):
    if lowest is None and highest is None:
        return []
    if lowest is None or highest is None:
        return [f"at least {lowest}{unit}" if highest is None else f"at most {highest}{unit}"]
    return [f"{lowest}{unit}" if lowest == highest else f"{lowest} to {highest}{unit}"]


def rules(schema):
    return [prose(rule["message"]) for rule in schema.get("x-kubernetes-validations", [])]


def bounds(schema, is_required):
    """What a value must be, besides its type."""
    said = ["required"] if is_required else []
    said += [", ".join(f"`{one}`" for one in schema["enum"])] if "enum" in schema else []
    said += span(schema.get("minimum"), schema.get("maximum"))
    told = [] if is_group(schema) else rules(schema)
    length = span(schema.get("minLength"), schema.get("maxLength"), " characters")
    # Its rule says it better.
    said += [] if any(one in rule for rule in told for one in (*length, "1 to 63 letters", "3 to 63", "length of time", "number of bytes")) else length
    said += span(schema.get("minItems"), schema.get("maxItems"), " entries")
    return "; ".join(said + told)


def is_group(schema):
    return "properties" in schema or "properties" in schema.get("items", {})


def fields(schema, path=""):
    """All fields below this one, with their paths."""
    schema = schema.get("items", schema)
    for name, field in schema.get("properties", {}).items():
        where = f"{path}{name}{'[]' if field['type'] == 'array' else ''}"
        yield where, field, name in schema.get("required", [])
        yield from fields(field, f"{where}.")


def row(path, schema, is_required, link=None):
    default = f", by default `{value(schema['default'])}`" if "default" in schema and not is_group(schema) else ""
    name = f"[`{path}`](#{link})" if link else f"`{path}`"
    return f"| {name} | {type_of(schema)}{default} | {bounds(schema, is_required)} | {prose(schema.get('description', ''))} |"


def table(rows):
    return "\n".join(["| Field | Type | Bounds | Meaning |", "| --- | --- | --- | --- |", *rows]) + "\n"


def all_rules(path, schema):
    """The rules of a group, and of the groups in it."""
    inner = schema.get("items", schema)
    found = [(path, rule) for rule in rules(schema) + (rules(inner) if inner is not schema else [])]
    for name, field in inner.get("properties", {}).items():
        if is_group(field):
            found += all_rules(f"{path}.{name}", field)
    return found


def section(name, schema):
    text = [f"### spec.{name}", "", prose(schema["description"]), "", table(row(path, field, needed) for path, field, needed in fields(schema, f"{name}."))]
    if found := all_rules(name, schema):
        text += [*(f"- `{path}`: {rule}." for path, rule in found), ""]
    return "\n".join(text)


def spec(schema):
    properties, needed = schema["properties"], schema.get("required", [])
    rows = [row(name, field, name in needed, f"spec{name.lower()}" if is_group(field) else None) for name, field in properties.items()]
    text = ["## Spec", "", table(rows), "Rules between fields:", "", *(f"- {rule}." for rule in rules(schema)), ""]
    return "\n".join(text + [section(name, field) for name, field in properties.items() if is_group(field)])


def status(schema):
    rows = [f"| `{path}` | {type_of(field)} | {prose(field.get('description', ''))} |" for path, field, _ in fields(schema) if not path.startswith("conditions[].")]
    return "\n".join(["## Status", "", "| Field | Type | Meaning |", "| --- | --- | --- |", *rows, ""])


def columns(printed):
    rows = []
    for column in printed:
        wide = "with `--output=wide`" if column.get("priority") else "always"
        rows.append(f"| {column['name'].upper()} | `{column['jsonPath']}` | {wide} | {prose(column.get('description', ''))} |")
    return "\n".join(["## What `kubectl get bdb` shows", "", "| Column | From | Shown | Meaning |", "| --- | --- | --- | --- |", *rows])


def main():
    definition = json.load(sys.stdin)["spec"]
    version = definition["versions"][0]
    names, schema = definition["names"], version["schema"]["openAPIV3Schema"]["properties"]
    print(HEAD.format(group=definition["group"], version=version["name"], kind=names["kind"], short=names["shortNames"][0]))
    print(spec(schema["spec"]))
    print(ANNOTATIONS)
    print(status(schema["status"]))
    print(columns(version["additionalPrinterColumns"]))


main()
