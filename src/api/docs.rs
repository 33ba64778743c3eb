//! `docs` lists collections, `docs/{collection}` takes and lists documents, and what is below asks for them.

mod operations;
mod request;

use axum::extract::{FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use engine::docs::{Cursor, IndexPath, Name};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Kind, Problem};
use crate::query::{Query, whole};
use crate::{Admitted, App, Reading, body, reply};
pub(crate) use operations::operations;
use request::Inserted;

/// The collection that the path names.
pub(crate) struct CollectionInPath(Name);

/// The collection and the document that the path names.
pub(crate) struct DocumentInPath(Name, Name);

impl FromRequestParts<App> for CollectionInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Spelled {
            collection: String,
        }
        let Spelled { collection } = spelled(parts, app).await?;
        Ok(Self(Name::collection(collection).map_err(wrong)?))
    }
}

impl FromRequestParts<App> for DocumentInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Spelled {
            collection: String,
            id: String,
        }
        let Spelled { collection, id } = spelled(parts, app).await?;
        Ok(Self(Name::collection(collection).map_err(wrong)?, Name::id(id).map_err(wrong)?))
    }
}

async fn spelled<T: DeserializeOwned + Send>(parts: &mut Parts, app: &App) -> Result<T, Problem> {
    whole(parts.uri.path(), "the path")?;
    let Path(names) = Path::from_request_parts(parts, app).await.map_err(wrong)?;
    Ok(names)
}

fn wrong(error: impl std::fmt::Display) -> Problem {
    Problem::bad_request(format!("the path: {error}"))
}

#[derive(Serialize, ToSchema)]
#[schema(as = CollectionList)]
struct Collections<'a> {
    collections: Vec<Collection<'a>>,
    truncated: bool,
}

#[derive(Serialize, ToSchema)]
struct Collection<'a> {
    name: &'a str,
    documents: u64,
}

/// Which collections there are.
pub(crate) async fn collections(admitted: Admitted, uri: Uri) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    let found = admitted.handle.database.docs().collections().await?;
    let collections = found.collections.iter().map(|(name, documents)| Collection { name, documents: *documents }).collect();
    Ok(reply::document(&Collections { collections, truncated: found.truncated }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = InsertedDocument)]
struct InsertedOne<'a> {
    id: &'a str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = InsertedDocuments)]
struct InsertedSeveral<'a> {
    ids: Vec<&'a str>,
}

/// Puts one document or several into a collection.
pub(crate) async fn insert(admitted: Admitted, CollectionInPath(name): CollectionInPath, request: Request) -> Result<Response, Problem> {
    let collection = admitted.handle.database.docs().collection(name);
    let reply = match request::insert(&text(request).await?)? {
        Inserted::One(id, document) => {
            collection.insert(vec![(id.clone(), document)]).await?;
            reply::document(&InsertedOne { id: id.as_str() })
        }
        Inserted::Several(documents) => {
            let ids = collection.insert(documents).await?;
            reply::document(&InsertedSeveral { ids: ids.iter().map(Name::as_str).collect() })
        }
    };
    Ok((StatusCode::CREATED, reply).into_response())
}

/// All documents by their age, a page at a time.
pub(crate) async fn list(admitted: Admitted, CollectionInPath(name): CollectionInPath, uri: Uri) -> Result<Response, Problem> {
    let query = Query::parse(uri.query(), &["limit", "after"])?;
    let malformed = || Problem::bad_request("query parameter `after` must be the `next` of an answer");
    let after = query.get("after").map(|text| Cursor::parse(text).ok_or_else(malformed)).transpose()?;
    let page = admitted.handle.database.docs().collection(name).page(after, query.limit()?).await?;
    let next = serde_json::Value::from(page.next.map(|next| next.to_string()));
    Ok(documents(&page.documents, "next", &next))
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeletedDocuments)]
struct Cleared {
    deleted: u64,
}

/// Deletes all documents of a collection.
pub(crate) async fn clear(admitted: Admitted, CollectionInPath(name): CollectionInPath, uri: Uri) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    Ok(reply::document(&Cleared { deleted: admitted.handle.database.docs().collection(name).clear().await? }))
}

/// The documents that a filter means.
pub(crate) async fn find(
    Reading(admitted): Reading,
    CollectionInPath(name): CollectionInPath,
    request: Request,
) -> Result<Response, Problem> {
    let find = request::find(&text(request).await?)?;
    let found = admitted.handle.database.docs().collection(name).find(find).await?;
    Ok(documents(&found.documents, "truncated", &found.truncated.into()))
}

#[derive(Serialize, ToSchema)]
#[schema(as = DocumentCount)]
struct Counted {
    count: u64,
}

/// How many documents a filter means.
pub(crate) async fn count(
    Reading(admitted): Reading,
    CollectionInPath(name): CollectionInPath,
    request: Request,
) -> Result<Response, Problem> {
    let filter = request::count(&text(request).await?)?;
    Ok(reply::document(&Counted { count: admitted.handle.database.docs().collection(name).count(filter).await? }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = IndexList)]
struct Indexes {
    indexes: Vec<String>,
}

/// The paths that have an index.
pub(crate) async fn indexes(admitted: Admitted, _: CollectionInPath, uri: Uri) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    let indexes = admitted.handle.database.docs().indexes().await?;
    Ok(reply::document(&Indexes { indexes: indexes.iter().map(path).collect() }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = IndexMade)]
struct Created {
    path: String,
    /// It was not there before.
    created: bool,
}

/// Makes an index on a path.
pub(crate) async fn create_index(admitted: Admitted, _: CollectionInPath, request: Request) -> Result<Response, Problem> {
    let index = request::index(&text(request).await?)?;
    let created = admitted.handle.database.docs().create_index(index.clone()).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, reply::document(&Created { path: path(&index), created })).into_response())
}

/// Drops the index on a path.
pub(crate) async fn drop_index(admitted: Admitted, _: CollectionInPath, uri: Uri) -> Result<Response, Problem> {
    let query = Query::parse(uri.query(), &["path"])?;
    let text = query.get("path").ok_or_else(|| Problem::bad_request("query parameter `path` is missing: the path of the index"))?;
    let index = request::index_path(text)?;
    if admitted.handle.database.docs().drop_index(index.clone()).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(Problem::new(Kind::NotFound, format!("there is no index on `{}`", path(&index))))
}

/// One document.
pub(crate) async fn get(admitted: Admitted, DocumentInPath(name, id): DocumentInPath, uri: Uri) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    let document = admitted.handle.database.docs().collection(name.clone()).get(id.clone()).await?;
    Ok(reply::json(document.ok_or_else(|| missing(&name, &id))?.into_bytes()))
}

/// Puts another document in the place of this one.
pub(crate) async fn replace(admitted: Admitted, DocumentInPath(name, id): DocumentInPath, request: Request) -> Result<Response, Problem> {
    let document = request::document(&text(request).await?)?;
    done(admitted.handle.database.docs().collection(name.clone()).replace(id.clone(), document).await?, &name, &id)
}

/// Replaces members of a document, and answers with what became of it.
pub(crate) async fn update(admitted: Admitted, DocumentInPath(name, id): DocumentInPath, request: Request) -> Result<Response, Problem> {
    let patch = request::document(&text(request).await?)?;
    let merged = admitted.handle.database.docs().collection(name.clone()).update(id.clone(), patch).await?;
    Ok(reply::json(merged.ok_or_else(|| missing(&name, &id))?.into_bytes()))
}

/// Deletes a document.
pub(crate) async fn delete(admitted: Admitted, DocumentInPath(name, id): DocumentInPath, uri: Uri) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    done(admitted.handle.database.docs().collection(name.clone()).delete(id.clone()).await?, &name, &id)
}

/// The body of a request that takes no parameters.
async fn text(request: Request) -> Result<String, Problem> {
    let (head, content) = request.into_parts();
    reply::no_query(head.uri.query())?;
    body::read_json(&head.headers, content).await
}

/// Documents are JSON already.
fn documents(texts: &[String], name: &str, more: &serde_json::Value) -> Response {
    let texts = texts.join(",");
    reply::json(format!("{{\"documents\":[{texts}],\"{name}\":{more}}}").into_bytes())
}

fn done(is_done: bool, collection: &Name, id: &Name) -> Result<Response, Problem> {
    if is_done { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(missing(collection, id)) }
}

fn path(index: &IndexPath) -> String {
    index.path().to_string()
}

fn missing(collection: &Name, id: &Name) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no document `{id}` in the collection `{collection}`"))
}
