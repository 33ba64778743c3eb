//! What went wrong, as the client reads it: a status code and a problem document (RFC 9457).
//!
//! Owns: which status each failure has, and the shape of the document. Does not own: why something failed.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::{Error, NotServed, SpoolError, SqlError, SqlErrorKind, bucket};
use serde::Serialize;
use utoipa::ToSchema;

use crate::codes;

/// Where the kinds of problems are described; the kind's word follows.
pub(crate) const TYPES: &str = "https://buckethead.dev/problems/";

/// What a client may tell apart. Its word in `type` is part of the API and stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    BadRequest,
    Unauthorized,
    ReadOnlyToken,
    DatabaseReadOnly,
    TooManyFailures,
    AuthorityUnavailable,
    ForeignOrigin,
    ForeignHost,
    NoSuchRoute,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    PreconditionFailed,
    IdempotencyKeyReused,
    IdempotencyKeyInUse,
    BodyTooLarge,
    BodyTimeout,
    UnsupportedMediaType,
    NotReady,
    NoHost,
    HostUnreachable,
    HostLost,
    NoSuchDatabase,
    DatabaseOpening,
    DatabaseFailed,
    DatabaseClosing,
    DatabaseSuspended,
    WritesRefused,
    DatabaseBusy,
    NotVerified,
    Fenced,
    NoSuchBranch,
    BranchExists,
    BranchDeleted,
    BranchRefused,
    BranchHeldElsewhere,
    ContentChanged,
    OverwriteIdUsed,
    ManagedBySpec,
    NoSuchFile,
    FileLost,
    FileBusy,
    RangeNotSatisfiable,
    SpoolFull,
    BucketUnavailable,
    BucketFailed,
    Internal,
    SqlStatement,
    SqlArguments,
    SqlForbidden,
    SqlConstraint,
    SqlResultTooLarge,
    SqlLimit,
    SqlBusy,
    ResultsCrowded,
    DurabilityUnknown,
    SqlTimeout,
    SqlFull,
    SqlCancelled,
    SqlTransactionEnded,
    SqlInternal,
    BadBaton,
    StreamExpired,
    StreamLost,
    StreamNotFound,
    StreamBusy,
    TooManyStreams,
    TooManyListeners,
    TooManyPasts,
}

impl Kind {
    /// Status, word and title: the error table of the API.
    pub(crate) fn row(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadRequest => (S::BAD_REQUEST, "bad-request", "The request is malformed"),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "A valid bearer token is needed"),
            Self::ReadOnlyToken => (S::FORBIDDEN, "read-only-token", "The token only permits reading"),
            Self::DatabaseReadOnly => (S::FORBIDDEN, "database-read-only", "The database is only shown"),
            Self::TooManyFailures => (S::TOO_MANY_REQUESTS, "too-many-failures", "Too many requests of this address were refused"),
            Self::AuthorityUnavailable => (S::SERVICE_UNAVAILABLE, "authority-unavailable", "Whoever knows the token does not answer"),
            Self::ForeignOrigin => (S::FORBIDDEN, "foreign-origin", "Web pages of this origin may not ask"),
            Self::ForeignHost => (S::MISDIRECTED_REQUEST, "foreign-host", "This server does not answer for that host"),
            Self::NoSuchRoute => (S::NOT_FOUND, "no-such-route", "There is no such route"),
            Self::NotFound => (S::NOT_FOUND, "not-found", "Nothing is stored under that name"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method-not-allowed", "This route does not know that method"),
            Self::NotAcceptable => (S::NOT_ACCEPTABLE, "not-acceptable", "No acceptable format is offered"),
            Self::PreconditionFailed => (S::PRECONDITION_FAILED, "precondition-failed", "What is stored is not as the request demands"),
            Self::IdempotencyKeyReused => (S::UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The key belongs to another request"),
            Self::IdempotencyKeyInUse => (S::CONFLICT, "idempotency-key-in-use", "A request with this key is under way"),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body-too-large", "The request's body is too large"),
            Self::BodyTimeout => (S::REQUEST_TIMEOUT, "body-timeout", "The body took too long to arrive"),
            Self::UnsupportedMediaType => (S::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body's type is not understood"),
            Self::NotReady => (S::SERVICE_UNAVAILABLE, "not-ready", "The server is starting or stopping"),
            Self::NoHost => (S::SERVICE_UNAVAILABLE, "no-host", "No process answers for the database just now"),
            Self::HostUnreachable => (S::SERVICE_UNAVAILABLE, "host-unreachable", "The process that has the database cannot be reached"),
            Self::HostLost => (S::BAD_GATEWAY, "host-lost", "Nobody knows whether the request was carried out"),
            Self::NoSuchDatabase => (S::NOT_FOUND, "no-such-database", "There is no such database"),
            Self::DatabaseOpening => (S::SERVICE_UNAVAILABLE, "database-opening", "The database is being restored"),
            Self::DatabaseFailed => (S::SERVICE_UNAVAILABLE, "database-failed", "The database could not be opened"),
            Self::DatabaseClosing => (S::SERVICE_UNAVAILABLE, "database-closing", "The database is being closed"),
            Self::DatabaseSuspended => (S::SERVICE_UNAVAILABLE, "database-suspended", "The database is suspended"),
            Self::WritesRefused => (S::SERVICE_UNAVAILABLE, "writes-refused", "The bucket is too far behind"),
            Self::DatabaseBusy => (S::SERVICE_UNAVAILABLE, "database-busy", "Too many requests ask the database"),
            Self::NotVerified => (S::SERVICE_UNAVAILABLE, "not-verified", "Nobody knows whether the database can be restored"),
            Self::Fenced => (S::CONFLICT, "fenced", "Somebody else took the branch over"),
            Self::NoSuchBranch => (S::NOT_FOUND, "no-such-branch", "There is no such branch"),
            Self::BranchExists => (S::CONFLICT, "branch-exists", "There is such a branch already"),
            Self::BranchDeleted => (S::GONE, "branch-deleted", "The branch was deleted"),
            Self::BranchRefused => (S::CONFLICT, "branch-refused", "This cannot be done with the branch"),
            Self::BranchHeldElsewhere => (S::CONFLICT, "branch-held-elsewhere", "Somebody else has the branch"),
            Self::ContentChanged => (S::PRECONDITION_FAILED, "content-changed", "The branch has another content by now"),
            Self::OverwriteIdUsed => (S::CONFLICT, "overwrite-id-used", "The id was used for another overwrite"),
            Self::ManagedBySpec => (S::CONFLICT, "managed-by-spec", "Branches are changed in the resource"),
            Self::NoSuchFile => (S::NOT_FOUND, "no-such-file", "The database has no such file"),
            Self::FileLost => (S::BAD_GATEWAY, "file-lost", "The content of the file is not in the bucket"),
            Self::FileBusy => (S::SERVICE_UNAVAILABLE, "file-busy", "gc is at work on this content"),
            Self::RangeNotSatisfiable => (S::RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "The file has no such bytes"),
            Self::SpoolFull => (S::SERVICE_UNAVAILABLE, "spool-full", "Too much is being uploaded"),
            Self::BucketUnavailable => (S::SERVICE_UNAVAILABLE, "bucket-unavailable", "The bucket does not answer"),
            Self::BucketFailed => (S::BAD_GATEWAY, "bucket-failed", "The bucket refused the request"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "The server failed"),
            Self::SqlStatement => (S::BAD_REQUEST, "sql-statement", "The SQL is not valid"),
            Self::SqlArguments => (S::BAD_REQUEST, "sql-arguments", "The values do not fit the parameters"),
            Self::SqlForbidden => (S::FORBIDDEN, "sql-forbidden", "The statement is not permitted"),
            Self::SqlConstraint => (S::CONFLICT, "sql-constraint", "A constraint of the schema does not hold"),
            Self::SqlResultTooLarge => (S::PAYLOAD_TOO_LARGE, "sql-result-too-large", "The result is too large"),
            Self::SqlLimit => (S::UNPROCESSABLE_ENTITY, "sql-limit", "The statement exceeds a limit"),
            Self::SqlBusy => (S::SERVICE_UNAVAILABLE, "sql-busy", "The writer is busy"),
            Self::ResultsCrowded => (S::SERVICE_UNAVAILABLE, "results-crowded", "Results take too much memory just now"),
            Self::DurabilityUnknown => (S::GATEWAY_TIMEOUT, "durability-unknown", "Nobody knows whether the bucket has it"),
            Self::SqlTimeout => (S::GATEWAY_TIMEOUT, "sql-timeout", "The statement ran for too long"),
            Self::SqlFull => (S::INSUFFICIENT_STORAGE, "sql-full", "The database is full"),
            // Nobody is left to read it, but the log and the metrics should count it among the client's own doings.
            Self::SqlCancelled => (client_closed_request(), "sql-cancelled", "The client went away"),
            Self::SqlTransactionEnded => (S::CONFLICT, "sql-transaction-ended", "The transaction had been rolled back"),
            Self::SqlInternal => (S::INTERNAL_SERVER_ERROR, "sql-internal", "SQLite failed"),
            // 400 for all that a client cannot go on with: it opens another stream.
            Self::BadBaton => (S::BAD_REQUEST, "bad-baton", "The baton is not valid"),
            Self::StreamExpired => (S::BAD_REQUEST, "stream-expired", "The stream was idle for too long"),
            Self::StreamLost => (S::BAD_REQUEST, "stream-lost", "The stream ended with another process"),
            Self::StreamNotFound => (S::BAD_REQUEST, "stream-not-found", "The stream was closed"),
            Self::StreamBusy => (S::BAD_REQUEST, "stream-busy", "The stream has a request under way"),
            Self::TooManyStreams => (S::TOO_MANY_REQUESTS, "too-many-streams", "The database has too many open streams"),
            Self::TooManyListeners => (S::TOO_MANY_REQUESTS, "too-many-listeners", "Too many listen to the database"),
            Self::TooManyPasts => (S::SERVICE_UNAVAILABLE, "too-many-pasts", "Past states take too much memory just now"),
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        self.row().0
    }

    /// Whether the same request may succeed later, though nobody changes it.
    pub(crate) fn is_retryable(self) -> bool {
        self == Self::IdempotencyKeyInUse || matches!(self.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
    }

    /// After how many seconds a client may ask again; none where time alone heals nothing.
    pub(crate) fn retry_after(self) -> Option<&'static str> {
        match self {
            Self::SqlBusy
            | Self::NoHost
            | Self::HostUnreachable
            | Self::DatabaseOpening
            | Self::DatabaseBusy
            | Self::ResultsCrowded
            | Self::IdempotencyKeyInUse
            | Self::TooManyFailures => Some("1"),
            Self::TooManyStreams | Self::TooManyListeners | Self::TooManyPasts => Some("10"),
            Self::BucketUnavailable | Self::FileBusy | Self::SpoolFull | Self::AuthorityUnavailable => Some("5"),
            // Somebody resumes it, at no known time: now and then is enough.
            Self::DatabaseSuspended => Some("60"),
            _ => None,
        }
    }

    /// What a reply of this kind tells besides its body.
    pub(crate) fn add_headers(self, headers: &mut HeaderMap) {
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if self == Self::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"buckethead\""));
        }
    }
}

/// 499, the usual word for a client that went away before its answer.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).expect("499 has three digits")
}

/// Where in the request SQL failed, and what SQLite calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlPlace {
    extended_code: i32,
    statement_index: usize,
    offset: Option<usize>,
}

/// A failure on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    pub(crate) detail: String,
    sql: Option<SqlPlace>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), sql: None }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, detail)
    }

    /// The whole reply.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let mut response = (self.kind.status(), Json(self.document(request_id))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        self.kind.add_headers(headers);
        response
    }

    /// The document by itself, where the reply is on its way already.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, &self.document("")).expect("a vector takes every byte, and the document has names for keys");
    }

    fn document<'a>(&'a self, request_id: &'a str) -> Document<'a> {
        let (status, word, title) = self.kind.row();
        // 0 says that the refusal is ours alone: then SQLite has no word for it.
        let code = self.sql.as_ref().map(|sql| sql.extended_code).filter(|code| *code != 0);
        Document {
            kind: format!("{TYPES}{word}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            code: code.and_then(codes::primary),
            extended_code: code.and_then(codes::name),
            extended_errno: code,
            statement_index: self.sql.as_ref().map(|sql| sql.statement_index),
            offset: self.sql.as_ref().and_then(|sql| sql.offset),
            retryable: self.kind.is_retryable(),
            request_id,
        }
    }
}

/// A problem document (RFC 9457), with its members in the order in which they are written.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document<'a> {
    /// What is wrong: the last part is a word that stays.
    #[serde(rename = "type")]
    kind: String,
    /// The same for people.
    title: &'a str,
    /// The status of the reply.
    status: u16,
    /// What is wrong here.
    detail: &'a str,
    /// SQLite's name of the primary result code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    code: Option<&'a str>,
    /// SQLite's name of the extended result code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    extended_code: Option<&'a str>,
    /// SQLite's extended result code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    extended_errno: Option<i32>,
    /// Which of the statements failed, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    statement_index: Option<usize>,
    /// The byte in the text of that statement, where SQLite knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    offset: Option<usize>,
    /// The same request may succeed later.
    retryable: bool,
    /// What the header `X-Request-Id` names; absent in the last line of a reply that failed late.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(required = false)]
    request_id: &'a str,
}

/// The whole reply to a malformed request, for a port that is none of the API's.
pub fn bad_request(detail: impl Into<String>) -> Response {
    Problem::bad_request(detail).render("")
}

/// Carries the problem to `observe`, which knows the request's id and writes the document.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<SpoolError> for Problem {
    fn from(error: SpoolError) -> Self {
        Self::new(spool_kind(&error), error.to_string())
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let kind = match error {
            Error::Sql(sql) => return Self::from_sql(sql),
            Error::NotServed { why, .. } => match why {
                NotServed::Unknown => Kind::NoSuchDatabase,
                NotServed::Opening => Kind::DatabaseOpening,
                NotServed::Failed => Kind::DatabaseFailed,
                NotServed::Closing => Kind::DatabaseClosing,
                NotServed::Suspended => Kind::DatabaseSuspended,
            },
            Error::Bucket { source, .. } => bucket_kind(source),
            Error::Lagging { .. } => Kind::WritesRefused,
            Error::StateChanged { .. } => Kind::PreconditionFailed,
            Error::OnlyShown { .. } => Kind::DatabaseReadOnly,
            Error::TooManyRequests { .. } => Kind::DatabaseBusy,
            Error::TooManyListeners { .. } => Kind::TooManyListeners,
            Error::NoRoomForPast { .. } => Kind::TooManyPasts,
            Error::Fenced { .. } => Kind::Fenced,
            Error::BranchNotFound { .. } => Kind::NoSuchBranch,
            Error::BranchExists { .. } => Kind::BranchExists,
            Error::BranchDeleted { .. } => Kind::BranchDeleted,
            Error::BranchRefused { .. }
            | Error::NoSuchState { .. }
            | Error::NoStateAt { .. }
            | Error::PastTooLarge { .. }
            | Error::HistoryLost { .. } => Kind::BranchRefused,
            Error::HeldByOther { .. } | Error::HeldElsewhere { .. } | Error::ServedElsewhere { .. } => Kind::BranchHeldElsewhere,
            Error::ContentChanged { .. } => Kind::ContentChanged,
            Error::PromotionIdUsed { .. } => Kind::OverwriteIdUsed,
            // These end an opening, and requests see `NotServed::Failed`.
            Error::SnapshotCorrupt { .. }
            | Error::SnapshotMissing { .. }
            | Error::SnapshotTooLarge { .. }
            | Error::ChainBroken { .. }
            | Error::StateTooLarge { .. }
            | Error::PromotionUnknown { .. }
            | Error::NewerFormat { .. }
            | Error::HeadDamaged { .. }
            | Error::ConditionsIgnored { .. }
            | Error::MemoryBudget { .. } => Kind::DatabaseFailed,
            Error::FileNotFound { .. } => Kind::NoSuchFile,
            Error::FileLost { .. } => Kind::FileLost,
            Error::FileBusy { .. } => Kind::FileBusy,
            Error::Spool { source, .. } => spool_kind(source),
            Error::Unreadable { .. } => Kind::BucketFailed,
            Error::OutOfTime { .. } => Kind::DatabaseClosing,
            Error::Internal { .. } => Kind::Internal,
        };
        let detail = match error {
            Error::Bucket { source, .. } => format!("{error}: {source}"),
            _ => error.to_string(),
        };
        Self::new(kind, detail)
    }
}

impl Problem {
    fn from_sql(error: &SqlError) -> Self {
        let SqlError { kind, extended_code, message, offset, statement_index } = error;
        let place = SqlPlace { extended_code: *extended_code, statement_index: *statement_index, offset: *offset };
        Self { kind: sql_kind(*kind), detail: message.clone(), sql: Some(place) }
    }
}

fn sql_kind(kind: SqlErrorKind) -> Kind {
    match kind {
        SqlErrorKind::Statement => Kind::SqlStatement,
        SqlErrorKind::Arguments => Kind::SqlArguments,
        SqlErrorKind::Forbidden => Kind::SqlForbidden,
        SqlErrorKind::Constraint => Kind::SqlConstraint,
        SqlErrorKind::Limit => Kind::SqlLimit,
        SqlErrorKind::ResultTooLarge => Kind::SqlResultTooLarge,
        SqlErrorKind::Busy => Kind::SqlBusy,
        SqlErrorKind::Timeout => Kind::SqlTimeout,
        SqlErrorKind::Full => Kind::SqlFull,
        SqlErrorKind::Cancelled => Kind::SqlCancelled,
        SqlErrorKind::Crowded => Kind::ResultsCrowded,
        SqlErrorKind::Unconfirmed => Kind::DurabilityUnknown,
        SqlErrorKind::WritesRefused => Kind::WritesRefused,
        SqlErrorKind::TransactionEnded => Kind::SqlTransactionEnded,
        SqlErrorKind::Internal => Kind::SqlInternal,
    }
}

fn spool_kind(error: &SpoolError) -> Kind {
    match error {
        SpoolError::TooLarge { .. } => Kind::BodyTooLarge,
        SpoolError::Full { .. } => Kind::SpoolFull,
        SpoolError::Io { .. } => Kind::Internal,
    }
}

fn bucket_kind(error: &bucket::Error) -> Kind {
    match error {
        bucket::Error::Unavailable { .. } | bucket::Error::Unclear { .. } => Kind::BucketUnavailable,
        bucket::Error::NoSuchBucket
        | bucket::Error::AccessDenied { .. }
        | bucket::Error::EndpointRefused { .. }
        | bucket::Error::PreconditionFailed
        | bucket::Error::Refused { .. }
        | bucket::Error::Content(_) => Kind::BucketFailed,
    }
}

#[cfg(test)]
pub(crate) mod tests;
