//! The branches of a database: listed, made, deleted, compared, overwritten, switched to.

mod differences;
mod operations;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use engine::{BranchFacts, BranchName, DatabaseName, OverwriteRequest, Overwritten, WallTime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Known;
use crate::error::{Kind, Problem};
use crate::{Admitted, App, body, point, reply};
pub(crate) use differences::differences;
use operations::OF_LOOKING;
pub(crate) use operations::operations;

/// What `POST branches` takes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBranch {
    #[schema(pattern = "^[A-Za-z0-9_-]{1,63}$")]
    name: String,
    /// The branch that is served, unless another is named.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,63}$")]
    from: Option<String>,
    /// An earlier state of it to begin with. Not with `at`.
    #[schema(minimum = 1)]
    txid: Option<u64>,
    /// Its newest state at an earlier moment. Not with `txid`.
    #[schema(format = DateTime)]
    at: Option<String>,
}

/// What `POST branches/{name}/overwrite` takes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewContent {
    /// The branch whose content is wanted.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,63}$")]
    from: String,
    /// An earlier state of it.
    txid: Option<u64>,
    /// Only while the branch has the content of this state.
    expected_txid: Option<u64>,
    /// What it is remembered by, so that it is done once.
    #[schema(pattern = "^[!-~]{1,63}$")]
    id: Option<String>,
    /// The name of a branch that keeps what the branch held.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,63}$")]
    keep_previous_as: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = BranchList)]
struct List<'a> {
    current: &'a str,
    branches: Vec<Branch<'a>>,
}

#[derive(Serialize, ToSchema)]
struct Branch<'a> {
    name: &'a str,
    txid: u64,
    size: u64,
    etag: &'a str,
    #[schema(required, format = DateTime)]
    last_modified: Option<String>,
    #[schema(required)]
    parent: Option<Parent<'a>>,
    /// `namespace/name` of the resource that has it.
    #[schema(required)]
    holder: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ParentBranch)]
struct Parent<'a> {
    branch: &'a str,
    txid: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OverwrittenBranch)]
struct Overwrote<'a> {
    /// The state that it made.
    txid: u64,
    #[schema(format = DateTime)]
    time: String,
    /// Of the snapshot that it made; not known of one that was done before.
    #[schema(required)]
    size: Option<u64>,
    #[schema(required)]
    etag: Option<&'a str>,
    /// The txid of the content before.
    replaced: u64,
    /// It was done under this id before, and nothing was done now.
    done_before: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CurrentBranch)]
struct Current<'a> {
    current: &'a str,
}

impl<'a> Branch<'a> {
    fn of(facts: &'a BranchFacts) -> Self {
        Self {
            name: facts.name.as_str(),
            txid: facts.txid,
            size: facts.size,
            etag: facts.etag.as_str(),
            last_modified: facts.last_modified.as_ref().map(WallTime::to_string),
            parent: facts.parent.as_ref().map(|(branch, txid)| Parent { branch, txid: *txid }),
            holder: facts.holder.as_ref().map(|holder| &*holder.resource),
        }
    }
}

/// All branches that are there.
pub(crate) async fn list(State(app): State<App>, known: Known, uri: Uri) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    let branches = app.host.branches(&known.name).await.map_err(|error| Problem::from(&*error))?.branches;
    let current = app.host.branch_of(&known.name);
    Ok(reply::document(&List {
        current: current.as_ref().map_or("", BranchName::as_str),
        branches: branches.iter().map(Branch::of).collect(),
    }))
}

/// Makes one.
pub(crate) async fn create(State(app): State<App>, known: Known, request: Request) -> Result<Response, Problem> {
    may_change(&app, &known.name)?;
    let asked: NewBranch = wish(request).await?;
    let point = point::of(asked.txid, asked.at.as_deref())?;
    let (name, from) = (branch("name", &asked.name)?, asked.from.as_deref().map(|from| branch("from", from)).transpose()?);
    let made = app.host.create_branch_of(&known.name, &name, from.as_ref(), point).await;
    let made = made.map_err(|error| Problem::from(&*error))?;
    Ok((StatusCode::CREATED, reply::document(&Branch::of(&made))).into_response())
}

/// Deletes one. One that is not there is fine.
pub(crate) async fn delete(
    State(app): State<App>,
    known: Known,
    Path((_, _, name)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    may_change(&app, &known.name)?;
    app.host.delete_branch(&known.name, &branch("the path", &name)?).await.map_err(|error| Problem::from(&*error))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Puts the content of another branch into one.
pub(crate) async fn overwrite(
    State(app): State<App>,
    known: Known,
    Path((_, _, name)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    may_change(&app, &known.name)?;
    let asked: NewContent = wish(request).await?;
    let to = branch("the path", &name)?;
    let overwrite = OverwriteRequest {
        id: id(asked.id)?,
        from: branch("from", &asked.from)?,
        txid: asked.txid,
        expected: asked.expected_txid,
        keep_as: asked.keep_previous_as.as_deref().map(|name| branch("keepPreviousAs", name)).transpose()?,
        meant_for: None,
    };
    let done = app.host.overwrite_branch(&known.name, &to, overwrite).await.map_err(|error| Problem::from(&*error))?;
    let Overwritten { txid, time, before, snapshot, from: _ } = &done;
    Ok(reply::document(&Overwrote {
        txid: *txid,
        time: time.to_string(),
        size: snapshot.as_ref().map(|snapshot| snapshot.size),
        etag: snapshot.as_ref().map(|snapshot| snapshot.etag.as_str()),
        replaced: *before,
        done_before: done.was_done(),
    }))
}

/// Serves another branch. Only in `dev`: in a cluster the resource says which one is served.
pub(crate) async fn switch(
    State(app): State<App>,
    admitted: Admitted,
    Path((_, _, name)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    if !app.guard.is_dev() {
        return Err(Problem::new(Kind::ManagedBySpec, "the branch that is served is changed in spec.branch of the resource"));
    }
    let to = branch("the path", &name)?;
    app.host.switch_branch_by_hand(&admitted.name, &to).await.map_err(|error| Problem::from(&*error))?;
    Ok(reply::document(&Current { current: to.as_str() }))
}

/// In a cluster the resource says which branches there are, unless it leaves that to the API.
fn may_change(app: &App, name: &DatabaseName) -> Result<(), Problem> {
    if app.guard.is_dev() || app.host.leaves_branches_to_api(name) {
        return Ok(());
    }
    let detail = "branches are changed in spec.branches of the resource; with spec.api.branches: Write they are changed here, too";
    Err(Problem::new(Kind::ManagedBySpec, detail))
}

fn branch(field: &str, name: &str) -> Result<BranchName, Problem> {
    BranchName::parse(name).map_err(|error| Problem::bad_request(format!("{field}: {error}")))
}

/// The id under which an overwrite is remembered. Whoever names none cannot ask for the same one again.
fn id(asked: Option<String>) -> Result<Option<String>, Problem> {
    const LONGEST: usize = 63;
    match asked {
        Some(id) if id.is_empty() || id.len() > LONGEST || !id.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(Problem::bad_request(format!("id: must have 1 to {LONGEST} visible ASCII characters")))
        }
        asked => Ok(asked),
    }
}

async fn wish<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let (head, content) = request.into_parts();
    reply::no_query(head.uri.query())?;
    let text = body::read_json(&head.headers, content).await?;
    serde_json::from_str(&text).map_err(|error| Problem::bad_request(format!("the body: {error}")))
}
