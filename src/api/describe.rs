//! What is here, for people who look around with curl or a browser.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use engine::{DatabaseName, Facts, State as DatabaseState, WallTime};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Kind, Problem};
use crate::guard::Opinion;
use crate::openapi::{Family, Operation, Schema, Tag, text};
use crate::{Admitted, App, address, guard, reply};

/// `GET version`: which program answers, in words. It is told to everybody, and of databases that do not exist as well: clients ask without a token.
pub(crate) async fn version() -> &'static str {
    concat!("buckethead ", env!("CARGO_PKG_VERSION"), "\n")
}

#[derive(Serialize, ToSchema)]
struct Index {
    name: &'static str,
    version: &'static str,
    links: IndexLinks,
    /// Those that the caller may ask; absent in a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    databases: Option<Vec<Listed>>,
}

#[derive(Serialize, ToSchema)]
struct IndexLinks {
    openapi: &'static str,
    reference: &'static str,
    live: &'static str,
    ready: &'static str,
    metrics: &'static str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ListedDatabase)]
struct Listed {
    namespace: String,
    name: String,
    state: Word,
    links: DatabaseLinks,
}

/// How far a database is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DatabaseState)]
enum Word {
    Absent,
    Opening,
    Open,
    Failed,
    Closing,
    Suspended,
}

/// Paths of its routes.
#[derive(Serialize, ToSchema)]
struct DatabaseLinks {
    database: String,
    sql: String,
    kv: String,
    docs: String,
    files: String,
    branches: String,
    changes: String,
    snapshot: String,
    flush: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DatabaseDescription)]
struct Description {
    namespace: String,
    name: String,
    branch: String,
    size: u64,
    /// The number of the newest state that is in the bucket.
    txid: u64,
    /// Every commit before this moment is in the bucket.
    #[schema(required, format = DateTime)]
    durable_time: Option<String>,
    /// There are later commits.
    pending: bool,
    links: DatabaseLinks,
}

/// This server, and in `dev` its databases.
pub(crate) async fn index(State(app): State<App>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    let token = guard::bearer(&headers);
    let databases = app.guard.is_dev().then(|| {
        let mut names = app.host.names();
        names.sort();
        let visible = |name: &DatabaseName| matches!(app.guard.opinion(app.host.access(name).as_deref(), token), Opinion::Permits(_));
        names.into_iter().filter(visible).map(|name| listed(&name, &app.host.state(&name))).collect()
    });
    Ok(reply::document(&Index {
        name: "buckethead",
        version: env!("CARGO_PKG_VERSION"),
        links: IndexLinks { openapi: "/openapi.json", reference: "/reference", live: "/livez", ready: "/readyz", metrics: "/metrics" },
        databases,
    }))
}

/// One database.
pub(crate) async fn database(admitted: Admitted, uri: Uri) -> Result<Response, Problem> {
    reply::no_query(uri.query())?;
    Ok(reply::document(&describe(&admitted.name, &admitted.base(), &admitted.handle.database.facts())))
}

/// What the document tells of them. The version is told without a token.
pub(crate) fn operations() -> Family {
    let index = Operation::of_server(
        Tag::Server,
        "get",
        "/",
        "describeServer",
        "Tells which version runs, and where to look; in `dev` also its databases.",
    )
    .gives(StatusCode::OK, Schema::of::<Index>(), "The version, links, and in `dev` the databases that the caller may ask.")
    .fails(&[Kind::BadRequest]);
    let database = Operation::of_database(
        Tag::Database,
        "get",
        "/",
        "describeDatabase",
        "Tells the size of a database, what of it is in the bucket, and its routes.",
    )
    .more("With `Upgrade: websocket` it becomes a socket that speaks Hrana, also without the slash at the end.")
    .gives(StatusCode::OK, Schema::of::<Description>(), "What the database is.")
    .gives_nothing(StatusCode::SWITCHING_PROTOCOLS, "A socket of libSQL's clients.")
    .telling(["Upgrade"]);
    let version = Operation::of_any(Tag::Hrana, "get", "/version", "showVersion", "Tells which program answers, to clients of sqld.")
        .gives_as(StatusCode::OK, "text/plain", text(), "Its name and version, in a line.");
    Family::of(vec![index, database, version])
}

fn listed(name: &DatabaseName, state: &DatabaseState) -> Listed {
    Listed { namespace: name.namespace().to_owned(), name: name.name().to_owned(), state: word(state), links: links(&address::base(name)) }
}

fn describe(name: &DatabaseName, base: &str, facts: &Facts) -> Description {
    Description {
        namespace: name.namespace().to_owned(),
        name: name.name().to_owned(),
        branch: facts.branch.as_str().to_owned(),
        size: facts.size,
        txid: facts.txid,
        durable_time: facts.durable_time.as_ref().map(WallTime::to_string),
        pending: facts.pending,
        links: links(base),
    }
}

fn word(state: &DatabaseState) -> Word {
    match state {
        DatabaseState::Absent => Word::Absent,
        DatabaseState::Opening => Word::Opening,
        DatabaseState::Open(_) => Word::Open,
        DatabaseState::Failed { .. } => Word::Failed,
        DatabaseState::Closing => Word::Closing,
        DatabaseState::Suspended { .. } => Word::Suspended,
    }
}

/// Paths alone: under which name the client reached us is its own knowledge.
fn links(base: &str) -> DatabaseLinks {
    let at = |route: &str| format!("{base}{route}");
    DatabaseLinks {
        database: at(""),
        sql: at("sql"),
        kv: at("kv"),
        docs: at("docs"),
        files: at("files"),
        branches: at("branches"),
        changes: at("changes"),
        snapshot: at("snapshot"),
        flush: at("flush"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Origin, Uploads};

    #[test]
    fn a_description_links_to_every_route_of_its_database() {
        let facts = Facts {
            size: 4096,
            memory: engine::MemoryUse::default(),
            txid: 3,
            branch: engine::BranchName::main(),
            by_hand: false,
            unconditional: None,
            epoch: engine::Epoch(2),
            origin: Origin::Empty,
            durable_time: Some("2026-11-23T08:00:00Z".parse().unwrap()),
            lag: None,
            interval: std::time::Duration::from_secs(1),
            refuses_writes: false,
            pending: true,
            last_snapshot: None,
            uploads: Uploads::Fine,
            outside: None,
            damaged: None,
            verified: None,
            unverified: None,
            verify_interval: std::time::Duration::from_hours(24),
            slow_readers: 0,
            usage: engine::Usage::default(),
        };
        let json = serde_json::to_string(&describe(&DatabaseName::new("apps", "orders"), "/apps/orders/", &facts)).unwrap();
        assert_eq!(
            json,
            r#"{"namespace":"apps","name":"orders","branch":"main","size":4096,"txid":3,"durable_time":"2026-11-23T08:00:00Z","pending":true,"#.to_owned()
                + r#""links":{"database":"/apps/orders/","sql":"/apps/orders/sql","kv":"/apps/orders/kv","docs":"/apps/orders/docs","#
                + r#""files":"/apps/orders/files","branches":"/apps/orders/branches","changes":"/apps/orders/changes","snapshot":"/apps/orders/snapshot","flush":"/apps/orders/flush"}}"#
        );
    }
}
