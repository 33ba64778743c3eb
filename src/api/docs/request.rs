//! What a client asks of documents, as JSON, becomes what the engine takes. Pure.

use std::fmt::Display;

use engine::docs::{Filter, Find, IndexPath, Name, NewDocument, Path, Projection, Sort};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa::openapi::schema::{AnyOfBuilder, Object, Schema, Type};
use utoipa::openapi::{Ref, RefOr};

use crate::error::Problem;

/// What is inserted: one document or several.
pub(super) enum Inserted {
    One(Name, NewDocument),
    Several(Vec<(Name, NewDocument)>),
}

/// An object, or an array of them.
pub(super) fn insert(body: &str) -> Result<Inserted, Problem> {
    if !body.trim_start().starts_with('[') {
        let (id, document) = new_document(body).map_err(|problem| refuse("the body", &problem))?;
        return Ok(Inserted::One(id, document));
    }
    let documents: Vec<&RawValue> = serde_json::from_str(body).map_err(|error| refuse("the body", &error))?;
    let documents = documents.into_iter().enumerate().map(|(index, text)| {
        new_document(text.get()).map_err(|problem| Problem::bad_request(format!("the body, document {index} (counted from 0): {problem}")))
    });
    Ok(Inserted::Several(documents.collect::<Result<_, _>>()?))
}

fn new_document(text: &str) -> Result<(Name, NewDocument), engine::docs::DocumentError> {
    NewDocument::parse(text)?.with_id()
}

/// One document, or what is merged into one.
pub(super) fn document(body: &str) -> Result<NewDocument, Problem> {
    NewDocument::parse(body).map_err(|error| refuse("the body", &error))
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DocumentSearch)]
pub(super) struct FindBody<'a> {
    #[serde(borrow)]
    #[schema(schema_with = filter_schema)]
    filter: Option<&'a RawValue>,
    #[serde(borrow)]
    #[schema(schema_with = sort_schema)]
    sort: Option<&'a RawValue>,
    #[serde(borrow)]
    #[schema(schema_with = projection_schema)]
    projection: Option<&'a RawValue>,
    #[schema(format = "uint64")]
    skip: Option<u64>,
    #[schema(format = "uint64")]
    limit: Option<u64>,
}

/// `{"filter", "sort", "skip", "limit", "projection"}`, each of which may be left out; an empty body means everything.
pub(super) fn find(body: &str) -> Result<Find, Problem> {
    let body: FindBody<'_> = members(body)?;
    Ok(Find {
        filter: filter(body.filter)?,
        sort: body.sort.map(|sort| Sort::parse(sort.get())).transpose().map_err(|error| refuse("`sort`", &error))?.unwrap_or_default(),
        skip: body.skip.unwrap_or_default(),
        limit: body.limit,
        projection: body
            .projection
            .map(|projection| Projection::parse(projection.get()))
            .transpose()
            .map_err(|error| refuse("`projection`", &error))?
            .flatten(),
    })
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DocumentFilter)]
pub(super) struct CountBody<'a> {
    #[serde(borrow)]
    #[schema(schema_with = filter_schema)]
    filter: Option<&'a RawValue>,
}

/// `{"filter"}`; an empty body means everything.
pub(super) fn count(body: &str) -> Result<Filter, Problem> {
    filter(members::<CountBody<'_>>(body)?.filter)
}

fn filter_schema() -> RefOr<Schema> {
    or_null("Filter")
}

fn sort_schema() -> RefOr<Schema> {
    or_null("Sort")
}

fn projection_schema() -> RefOr<Schema> {
    or_null("Projection")
}

/// What has this name in the document, or nothing.
fn or_null(name: &str) -> RefOr<Schema> {
    let null = Object::with_type(Type::Null);
    Schema::AnyOf(AnyOfBuilder::new().item(Ref::from_schema_name(name)).item(null).build()).into()
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewIndex)]
pub(super) struct IndexBody {
    path: String,
}

/// `{"path"}`.
pub(super) fn index(body: &str) -> Result<IndexPath, Problem> {
    let IndexBody { path } = serde_json::from_str(body).map_err(|error| refuse("the body", &error))?;
    index_path(&path)
}

/// A path that may have an index.
pub(super) fn index_path(text: &str) -> Result<IndexPath, Problem> {
    let path = Path::parse(text).map_err(|error| refuse("`path`", &error))?;
    IndexPath::new(path).map_err(|error| refuse("`path`", &error))
}

fn filter(json: Option<&RawValue>) -> Result<Filter, Problem> {
    let filter = json.map(|json| Filter::parse(json.get())).transpose().map_err(|error| refuse("`filter`", &error))?;
    Ok(filter.unwrap_or_default())
}

fn members<'a, T: Deserialize<'a> + Default>(body: &'a str) -> Result<T, Problem> {
    if body.trim().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(body).map_err(|error| refuse("the body", &error))
}

fn refuse(place: &str, problem: &dyn Display) -> Problem {
    Problem::bad_request(format!("{place}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_may_be_left_out_of_a_search() {
        for body in ["", " ", "{}", r#"{"filter":null,"sort":{},"projection":{}}"#] {
            let find = find(body).unwrap();
            assert!(find.filter.is_empty() && find.limit.is_none() && find.projection.is_none(), "{body}");
            assert!(count(if body.contains("sort") { "{}" } else { body }).unwrap().is_empty());
        }
        let whole = find(r#"{"filter":{"a":1},"sort":{"a":-1},"skip":2,"limit":3,"projection":{"a":1}}"#).unwrap();
        assert!((whole.skip, whole.limit) == (2, Some(3)) && whole.projection.is_some() && !whole.filter.is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_by_its_member() {
        for (body, word) in [
            ("[]", "the body: "),
            (r#"{"filter":{"$x":1}}"#, "`filter`: $x is not known"),
            (r#"{"sort":{"a":0}}"#, "`sort`: "),
            (r#"{"projection":[]}"#, "`projection`: "),
            (r#"{"limit":-1}"#, "the body: "),
            (r#"{"query":{}}"#, "the body: unknown field `query`"),
        ] {
            let detail = find(body).unwrap_err().detail;
            assert!(detail.starts_with(word), "{detail}");
        }
        assert!(count(r#"{"filter":{},"limit":1}"#).unwrap_err().detail.contains("unknown field `limit`"));
        assert!(index(r#"{"path":"a b"}"#).unwrap_err().detail.starts_with("`path`: `a b` can have no index"));
        assert!(index("{}").unwrap_err().detail.contains("missing field `path`"));
    }

    #[test]
    fn a_wrong_document_among_several_is_counted() {
        let detail = |body| insert(body).err().unwrap().detail;
        assert!(detail(r#"[{}, {"_id": 1}]"#).starts_with("the body, document 1 (counted from 0): the id of a document must be a string"));
        assert!(detail("[1]").ends_with("a document is a JSON object"));
        assert!(detail("").starts_with("the body: the document is not JSON"));
        assert!(detail("[{}").starts_with("the body: "));
        assert!(matches!(insert(" [] "), Ok(Inserted::Several(none)) if none.is_empty()));
        assert!(matches!(insert(r#"{"_id":"x"}"#), Ok(Inserted::One(id, _)) if id.as_str() == "x"));
    }
}
