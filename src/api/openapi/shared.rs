//! What several operations have in common: tags, parameters, headers and schemas that stand in the document once, under their names.

use serde_json::{Map, Value, json};

/// In the order of [`super::Tag`].
pub(super) const TAGS: [(&str, &str); 9] = [
    ("SQL", "Statements, in and out of transactions of one request."),
    ("Keys and values", "The table `bh_kv`."),
    ("Documents", "JSON documents in collections: the table `bh_docs`."),
    ("Files", "Contents of any size that lie in the bucket, under their SHA-256."),
    ("Live changes", "Which rows each commit touches, as it happens."),
    ("Hrana", "The protocol of libSQL's clients, which speak it by themselves."),
    ("Database", "The database as a whole: what it is, as a file, and what of it is in the bucket."),
    ("Branches", "Named lines of a database's history."),
    ("Server", "Probes, figures, and this document."),
];

/// A path below the base of a database. OpenAPI has no rest of a path: what takes one is written as one part.
pub(super) fn below_base(path: &str) -> String {
    format!("/{{namespace}}/{{name}}{}", path.replace("{*", "{"))
}

/// The schema of this name.
pub(crate) fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(super) fn parameter(name: &str) -> Value {
    json!({"$ref": format!("#/components/parameters/{name}")})
}

pub(super) fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

pub(super) fn written_parameter(place: &str, name: &str, required: bool, schema: &Value, description: &str) -> Value {
    let mut parameter = json!({"name": name, "in": place, "description": description, "schema": schema});
    if required {
        parameter["required"] = json!(true);
    }
    parameter
}

/// A moment, as RFC 3339 has it.
fn moment() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// Any text.
pub(crate) fn text() -> Value {
    json!({"type": "string"})
}

/// Bytes that are no JSON.
pub(crate) fn bytes() -> Value {
    json!({"type": "string", "format": "binary"})
}

/// A list of ETags, or `*`.
fn tags() -> Value {
    json!({"type": "string", "minLength": 1, "pattern": r#"^(\*|(W/)?"[^",]*"( *, *(W/)?"[^",]*")*)$"#, "examples": ["\"3.1204.2\""]})
}

/// Schemas that are of no single family.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("BranchName", json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,63}$", "examples": ["main"]})),
        (
            "Txid",
            json!({"type": "integer", "format": "int64", "minimum": 1, "description": "The number of a state of a branch.", "examples": [1204]}),
        ),
        (
            "State",
            json!({
                "type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$", "examples": ["3.1204.2"],
                "description": "`epoch.txid.place`: the tenure, the delta that holds the state or will, and the number of the commit in that delta.",
            }),
        ),
        ("Sha256", json!({"type": "string", "pattern": "^[0-9a-f]{64}$"})),
    ]
}

/// Parameters by their names in the document.
pub(super) fn parameters() -> Map<String, Value> {
    let name = json!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"});
    let resource = |example: &str| {
        let mut schema = name.clone();
        schema["examples"] = json!([example]);
        schema
    };
    let only = |word: &str| json!({"type": "string", "enum": [word]});
    let rows: [(&str, &str, bool, Value, &str); 19] = [
        ("namespace", "path", true, resource("default"), "The namespace of the database's resource."),
        ("name", "path", true, resource("quickstart"), "The name of the database's resource."),
        ("durability", "query", false, only("sync"), "The reply waits until what it tells of is in the bucket."),
        (
            "consistency",
            "query",
            false,
            only("strong"),
            "The head record is read first, so that no state is told from before somebody else took the branch over.",
        ),
        ("txid", "query", false, named("Txid"), "The past state of this number is read, in place of the present."),
        ("at", "query", false, moment(), "The newest state that was made no later than then. Not with `txid`."),
        (
            "x-buckethead-at",
            "header",
            false,
            json!({"anyOf": [{"type": "string", "pattern": "^[1-9][0-9]*$"}, moment()]}),
            "The same as `txid` or `at`, for clients whose library makes the addresses. Not with either.",
        ),
        (
            "shape",
            "query",
            false,
            json!({"type": "string", "enum": ["arrays", "objects"], "default": "arrays"}),
            "Rows as arrays, or as objects; of columns of the same name a reader of objects sees one.",
        ),
        (
            "ints",
            "query",
            false,
            json!({"type": "string", "enum": ["number", "string"], "default": "number"}),
            "INTEGERs as numbers, or as strings for readers whose numbers do not hold 64 bits.",
        ),
        (
            "values",
            "query",
            false,
            json!({"type": "string", "enum": ["plain", "tagged"], "default": "plain"}),
            "Values as they are, or each with its type as libSQL's clients have them.",
        ),
        ("branch", "path", true, named("BranchName"), "The name of the branch."),
        (
            "collection",
            "path",
            true,
            json!({"type": "string", "minLength": 1, "maxLength": 1024, "examples": ["people"]}),
            "The name of the collection: 1 to 1024 bytes of UTF-8 without NUL.",
        ),
        (
            "id",
            "path",
            true,
            json!({"type": "string", "minLength": 1, "maxLength": 1024, "examples": ["ada"]}),
            "The id of the document: 1 to 1024 bytes of UTF-8 without NUL. One that is `find`, `count` or `indexes` is written with a letter encoded: `%66ind`.",
        ),
        (
            "key",
            "path",
            true,
            json!({"type": "string", "minLength": 1, "maxLength": 1024, "examples": ["greeting"]}),
            "The rest of the path, percent-decoded: 1 to 1024 bytes of UTF-8 without NUL. A `/` may stand as it is or as `%2F`.",
        ),
        ("bh_key", "path", true, named("Sha256"), "The SHA-256 of the file's content."),
        (
            "limit",
            "query",
            false,
            json!({"type": "integer", "minimum": 1, "maximum": u64::MAX, "default": 1000}),
            "How many are wanted; a page has at most `limits.maxRows` and ends at `limits.maxResultSize`.",
        ),
        ("if-match", "header", false, tags(), "Only if what is there has one of these ETags; otherwise 412."),
        (
            "if-none-match",
            "header",
            false,
            tags(),
            "Only if what is there has none of these ETags: 304 where it is read, 412 where it is changed. `*` is whatever is there.",
        ),
        (
            "prefer",
            "header",
            false,
            json!({"type": "string", "examples": ["wait=5, return=minimal"]}),
            "`wait` bounds how many seconds the request waits for its turn to write, up to 15. `return=minimal` asks for 204 without rows.",
        ),
    ];
    let written = |(key, place, required, schema, description): (&str, &str, bool, Value, &str)| {
        let name = if place == "header" { spelled(key) } else { key.to_owned() };
        (key.to_owned(), written_parameter(place, &name, required, &schema, description))
    };
    rows.into_iter().map(written).collect()
}

/// A header's name as people write it.
fn spelled(name: &str) -> String {
    let part = |part: &str| part[..1].to_ascii_uppercase() + &part[1..];
    name.split('-').map(part).collect::<Vec<_>>().join("-")
}

/// Headers of replies by their names.
pub(super) fn headers() -> Map<String, Value> {
    let constant = |value: &str| json!({"type": "string", "const": value});
    let whole = || json!({"type": "integer", "format": "int64", "minimum": 0});
    // Those that are always there where they are named, and those that may be.
    let rows: [(&str, bool, Value, &str); 19] = [
        (
            "X-Request-Id",
            true,
            json!({"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}),
            "The id of the request, if it had one, or a fresh one.",
        ),
        ("X-Txid", false, named("State"), "The state that the reply tells of, or made."),
        ("X-Durable-Txid", false, whole(), "The newest txid that is in the bucket."),
        (
            "Server-Timing",
            false,
            text(),
            "In milliseconds how long the request waited (`queue`), how long SQLite worked on it (`sql`), and how long it took in all.",
        ),
        ("ETag", false, json!({"type": "string", "pattern": "^(W/)?\"[^\"]*\"$"}), "What names this content."),
        ("Cache-Control", false, text(), "Whether a reply may be kept, and whether whoever keeps it has to ask again."),
        ("Retry-After", false, whole(), "After how many seconds the same request may succeed; absent where nobody knows."),
        ("WWW-Authenticate", false, text(), "A bearer token is needed."),
        ("Location", true, json!({"type": "string", "format": "uri-reference"}), "Where the file is."),
        (
            "Content-Range",
            false,
            json!({"type": "string", "pattern": r"^bytes ([0-9]+-[0-9]+|\*)/[0-9]+$"}),
            "Which bytes these are, and how many there are.",
        ),
        ("Content-Length", true, whole(), "How many bytes there are."),
        (
            "Content-Disposition",
            true,
            json!({"type": "string", "pattern": "^attachment"}),
            "Always an attachment, with a name if there is one.",
        ),
        ("Accept-Ranges", true, constant("bytes"), "A range may be asked for."),
        ("X-Buckethead-Created-At", false, moment(), "When the key was set at first."),
        ("X-Buckethead-Updated-At", false, moment(), "When the key was set last."),
        ("Idempotent-Replayed", false, constant("true"), "The answer is the one that was given the first time."),
        ("Preference-Applied", false, text(), "The preferences that were followed."),
        ("Upgrade", false, constant("websocket"), "What is spoken from here on."),
        ("Content-Security-Policy", true, text(), "The page loads nothing from anywhere."),
    ];
    let written = |(name, required, schema, description): (&str, bool, Value, &str)| {
        let mut header = json!({"description": description, "schema": schema});
        if required {
            header["required"] = json!(true);
        }
        (name.to_owned(), header)
    };
    rows.into_iter().map(written).collect()
}
