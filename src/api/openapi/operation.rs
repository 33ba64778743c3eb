//! One operation of the document: what a method of a route takes, gives, and refuses.
//!
//! Invariant: what each route of a database takes and refuses is added here, so that no operation can forget it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::problems;
use super::shared::{self, TAGS};
use crate::error::Kind;

/// What the routes are grouped by, in the order of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Sql,
    Keys,
    Documents,
    Files,
    Changes,
    Hrana,
    Database,
    Branches,
    Server,
}

impl Tag {
    pub(super) fn name(self) -> &'static str {
        TAGS[self as usize].0
    }
}

/// Whom an operation asks for a token, and what else follows from what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// The server: no token.
    Server,
    /// A database, but nothing that is its own: no token.
    AnyDatabase,
    /// A database.
    Database,
}

/// A schema, with those that it names.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    value: Value,
    named: BTreeMap<String, Value>,
}

impl Schema {
    /// Of a type of ours, under its name.
    pub(crate) fn of<T: ToSchema>() -> Self {
        let mut parts = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut parts);
        let written = |part| serde_json::to_value(part).expect("schemas have names for keys");
        let named = parts.into_iter().map(|(name, part)| (name, written(part))).collect();
        Self { value: shared::named(&T::name()), named }
    }

    pub(super) fn into_named(self) -> impl Iterator<Item = (String, Value)> {
        self.named.into_iter()
    }
}

/// A schema that is written down where it is used, or names one of those that a family of routes adds.
impl From<Value> for Schema {
    fn from(value: Value) -> Self {
        Self { value, named: BTreeMap::new() }
    }
}

/// One operation, as it is put together.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) schemas: BTreeMap<String, Value>,
    about: About,
    tag: Tag,
    id: &'static str,
    summary: &'static str,
    description: Option<&'static str>,
    parameters: Vec<Value>,
    body: Option<Value>,
    replies: BTreeMap<u16, Value>,
    /// The reply to which headers are added.
    last: u16,
    kinds: Vec<Kind>,
    speaks_hrana: bool,
    may_change: bool,
    only_now: bool,
}

impl Operation {
    /// Of the server itself.
    pub(crate) fn of_server(tag: Tag, method: &'static str, path: &str, id: &'static str, summary: &'static str) -> Self {
        Self::new(About::Server, tag, method, path.to_owned(), id, summary)
    }

    /// Of a route below each name, whether there is a database or not.
    pub(crate) fn of_any(tag: Tag, method: &'static str, path: &str, id: &'static str, summary: &'static str) -> Self {
        Self::new(About::AnyDatabase, tag, method, shared::below_base(path), id, summary)
    }

    /// Of a database.
    pub(crate) fn of_database(tag: Tag, method: &'static str, path: &str, id: &'static str, summary: &'static str) -> Self {
        Self::new(About::Database, tag, method, shared::below_base(path), id, summary).takes_promises()
    }

    fn new(about: About, tag: Tag, method: &'static str, path: String, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            schemas: BTreeMap::new(),
            about,
            tag,
            id,
            summary,
            description: None,
            parameters: Vec::new(),
            body: None,
            replies: BTreeMap::new(),
            last: 0,
            kinds: Vec::new(),
            speaks_hrana: false,
            may_change: about == About::Database && !matches!(method, "get" | "head"),
            only_now: false,
        }
    }

    /// What does not fit into the summary.
    pub(crate) fn more(mut self, description: &'static str) -> Self {
        self.description = Some(description);
        self
    }

    /// A token that permits reading alone is enough, though the method is one of those that change something.
    pub(crate) fn only_reads(mut self) -> Self {
        self.may_change = false;
        self
    }

    /// It tells nothing of the past, as everything else does that only reads.
    pub(crate) fn only_now(mut self) -> Self {
        self.only_now = true;
        self
    }

    fn reads_the_past(&self) -> bool {
        self.about == About::Database && !self.may_change && !self.only_now
    }

    /// What fails has the shape that libSQL's clients read.
    pub(crate) fn speaks_hrana(mut self) -> Self {
        self.speaks_hrana = true;
        self.only_reads()
    }

    fn takes_promises(mut self) -> Self {
        self.parameters.extend(["durability", "consistency"].map(shared::parameter));
        self
    }

    /// Commits are told as they become visible, so there is nothing to wait for.
    pub(crate) fn refuses_durability(mut self) -> Self {
        self.parameters.retain(|parameter| *parameter != shared::parameter("durability"));
        self
    }

    /// Parameters that several routes have, by their names among those of [`shared`].
    pub(crate) fn with<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        self.parameters.extend(names.map(shared::parameter));
        self
    }

    /// A parameter of the query string that may be left out.
    pub(crate) fn query(self, name: &str, schema: impl Into<Schema>, description: &str) -> Self {
        self.parameter("query", name, false, schema.into(), description)
    }

    /// A parameter of the query string that must be there.
    pub(crate) fn needs_query(self, name: &str, schema: impl Into<Schema>, description: &str) -> Self {
        self.parameter("query", name, true, schema.into(), description)
    }

    /// A header of the request.
    pub(crate) fn header(self, name: &str, schema: impl Into<Schema>, description: &str) -> Self {
        self.parameter("header", name, false, schema.into(), description)
    }

    fn parameter(mut self, place: &str, name: &str, required: bool, schema: Schema, description: &str) -> Self {
        let schema = self.take(schema);
        self.parameters.push(shared::written_parameter(place, name, required, &schema, description));
        self
    }

    /// A body of this type.
    pub(crate) fn takes(mut self, media: &str, schema: impl Into<Schema>) -> Self {
        let schema = self.take(schema.into());
        let body = self.body.get_or_insert_with(|| json!({"required": true, "content": {}}));
        body["content"][media] = json!({"schema": schema});
        self
    }

    /// The body, as it would be sent.
    pub(crate) fn such_as(mut self, media: &str, example: &Value) -> Self {
        if let Some(body) = &mut self.body {
            body["content"][media]["example"] = example.clone();
        }
        self
    }

    /// The body may be left out.
    pub(crate) fn without_body_too(mut self) -> Self {
        if let Some(body) = &mut self.body {
            body["required"] = json!(false);
        }
        self
    }

    /// A reply of JSON.
    pub(crate) fn gives(self, status: StatusCode, schema: impl Into<Schema>, description: &str) -> Self {
        self.gives_as(status, "application/json", schema, description)
    }

    /// A reply of this type; a status may have several.
    pub(crate) fn gives_as(mut self, status: StatusCode, media: &str, schema: impl Into<Schema>, description: &str) -> Self {
        let schema = self.take(schema.into());
        self = self.gives_nothing(status, description);
        self.reply()["content"][media] = json!({"schema": schema});
        self
    }

    /// A reply without a body, or the first word of one.
    pub(crate) fn gives_nothing(mut self, status: StatusCode, description: &str) -> Self {
        self.last = status.as_u16();
        let id = json!({"X-Request-Id": shared::header("X-Request-Id")});
        self.replies.entry(self.last).or_insert_with(|| json!({"description": description, "headers": id}));
        self
    }

    /// Headers of the reply that was told last, by their names among those of [`shared`].
    pub(crate) fn telling<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        for name in names {
            self.reply()["headers"][name] = shared::header(name);
        }
        self
    }

    /// The reply names the state that it tells of.
    pub(crate) fn of_a_state(self) -> Self {
        self.telling(["X-Txid", "X-Durable-Txid", "Server-Timing"])
    }

    fn reply(&mut self) -> &mut Value {
        self.replies.entry(self.last).or_insert(Value::Null)
    }

    /// What it may be refused for, besides what may happen to every request of its sort.
    pub(crate) fn fails(mut self, kinds: &[Kind]) -> Self {
        self.kinds.extend_from_slice(kinds);
        self
    }

    fn take(&mut self, schema: Schema) -> Value {
        self.schemas.extend(schema.named);
        schema.value
    }

    /// All that it may be refused for.
    fn all_kinds(&self) -> Vec<Kind> {
        let mut kinds = problems::OF_ANY.to_vec();
        if self.about != About::Server {
            kinds.extend_from_slice(problems::OF_ANY_DATABASE);
        }
        if self.about == About::Database {
            kinds.extend_from_slice(problems::OF_DATABASE);
        }
        if self.may_change {
            kinds.push(Kind::ReadOnlyToken);
        }
        if self.body.is_some() {
            kinds.extend_from_slice(problems::OF_BODY);
        }
        if self.reads_the_past() {
            kinds.extend_from_slice(problems::OF_PAST);
        }
        kinds.extend_from_slice(&self.kinds);
        kinds
    }

    /// As it stands in the document; adds the shared replies that it names to `responses`.
    pub(super) fn written(mut self, responses: &mut Map<String, Value>) -> Value {
        let mut replies = Map::new();
        for (status, reply) in problems::replies(&self.all_kinds(), self.speaks_hrana, self.method == "head", responses) {
            replies.insert(status, reply);
        }
        for (status, reply) in std::mem::take(&mut self.replies) {
            replies.insert(status.to_string(), reply);
        }
        let mut parameters = Vec::new();
        if self.about != About::Server {
            parameters.extend(["namespace", "name"].map(shared::parameter));
        }
        parameters.append(&mut self.parameters);
        if self.reads_the_past() {
            parameters.extend(["txid", "at", "x-buckethead-at"].map(shared::parameter));
        }
        let mut written = json!({
            "operationId": self.id,
            "summary": self.summary,
            "tags": [self.tag.name()],
            "responses": replies,
        });
        if !parameters.is_empty() {
            written["parameters"] = Value::Array(parameters);
        }
        if let Some(description) = self.description {
            written["description"] = json!(description);
        }
        if let Some(body) = self.body {
            written["requestBody"] = body;
        }
        if self.about == About::Database {
            // Where a database asks for no token, none is needed.
            written["security"] = json!([{"token": []}, {}]);
        }
        written
    }
}
