use super::*;
use engine::{BranchName, DatabaseName, Epoch, Etag, ObjectKey, Previous};
use std::collections::HashSet;

pub(crate) const KINDS: [Kind; 69] = [
    Kind::BadRequest,
    Kind::Unauthorized,
    Kind::ReadOnlyToken,
    Kind::DatabaseReadOnly,
    Kind::TooManyFailures,
    Kind::AuthorityUnavailable,
    Kind::ForeignOrigin,
    Kind::ForeignHost,
    Kind::NoSuchRoute,
    Kind::NotFound,
    Kind::MethodNotAllowed,
    Kind::NotAcceptable,
    Kind::PreconditionFailed,
    Kind::BodyTooLarge,
    Kind::UnsupportedMediaType,
    Kind::NotReady,
    Kind::NoHost,
    Kind::HostUnreachable,
    Kind::HostLost,
    Kind::NoSuchDatabase,
    Kind::DatabaseOpening,
    Kind::DatabaseFailed,
    Kind::DatabaseClosing,
    Kind::DatabaseSuspended,
    Kind::Fenced,
    Kind::NoSuchBranch,
    Kind::BranchExists,
    Kind::BranchDeleted,
    Kind::BranchRefused,
    Kind::BranchHeldElsewhere,
    Kind::ContentChanged,
    Kind::OverwriteIdUsed,
    Kind::ManagedBySpec,
    Kind::BucketUnavailable,
    Kind::BucketFailed,
    Kind::Internal,
    Kind::SqlStatement,
    Kind::SqlArguments,
    Kind::SqlForbidden,
    Kind::SqlConstraint,
    Kind::SqlResultTooLarge,
    Kind::SqlLimit,
    Kind::SqlBusy,
    Kind::SqlTimeout,
    Kind::SqlFull,
    Kind::SqlCancelled,
    Kind::SqlTransactionEnded,
    Kind::SqlInternal,
    Kind::IdempotencyKeyReused,
    Kind::IdempotencyKeyInUse,
    Kind::BodyTimeout,
    Kind::WritesRefused,
    Kind::DatabaseBusy,
    Kind::NotVerified,
    Kind::NoSuchFile,
    Kind::FileLost,
    Kind::FileBusy,
    Kind::RangeNotSatisfiable,
    Kind::SpoolFull,
    Kind::ResultsCrowded,
    Kind::DurabilityUnknown,
    Kind::BadBaton,
    Kind::StreamExpired,
    Kind::StreamLost,
    Kind::StreamNotFound,
    Kind::StreamBusy,
    Kind::TooManyStreams,
    Kind::TooManyListeners,
    Kind::TooManyPasts,
];

fn sql(kind: SqlErrorKind, extended_code: i32) -> Problem {
    let message = "in SQLite's words".to_owned();
    Error::Sql(SqlError { kind, extended_code, message, offset: Some(7), statement_index: 1 }).into()
}

fn name() -> DatabaseName {
    DatabaseName::new("apps", "orders")
}

fn not_served(why: NotServed) -> Problem {
    Error::NotServed { database: name(), why }.into()
}

fn bucket(source: bucket::Error) -> Problem {
    Error::Bucket { database: name(), doing: "uploading the snapshot", source }.into()
}

#[test]
fn each_kind_of_sql_failure_has_the_documented_status() {
    use SqlErrorKind as K;
    let documented = [
        (K::Statement, 400),
        (K::Arguments, 400),
        (K::Forbidden, 403),
        (K::Constraint, 409),
        (K::ResultTooLarge, 413),
        (K::Limit, 422),
        (K::Cancelled, 499),
        (K::TransactionEnded, 409),
        (K::Internal, 500),
        (K::Busy, 503),
        (K::Timeout, 504),
        (K::Full, 507),
    ];
    for (kind, status) in documented {
        assert_eq!(sql(kind, 1).kind.status().as_u16(), status, "{kind:?}");
    }
}

#[test]
fn each_reason_not_to_serve_has_the_documented_status() {
    let rows = [
        (NotServed::Unknown, 404),
        (NotServed::Opening, 503),
        (NotServed::Failed, 503),
        (NotServed::Closing, 503),
        (NotServed::Suspended, 503),
    ];
    for (why, status) in rows {
        assert_eq!(not_served(why).kind.status().as_u16(), status, "{why:?}");
    }
}

#[test]
fn a_bucket_that_may_recover_is_503_and_one_that_refused_502() {
    let message = || "no route to host".to_owned();
    for error in [bucket::Error::Unavailable { message: message() }, bucket::Error::Unclear { message: message() }] {
        let problem = bucket(error);
        assert_eq!(problem.kind, Kind::BucketUnavailable);
        assert!(problem.detail.contains("uploading the snapshot") && problem.detail.contains("no route to host"), "{}", problem.detail);
    }
    let denied = bucket::Error::AccessDenied { code: "InvalidAccessKeyId".to_owned(), message: message() };
    for error in [bucket::Error::NoSuchBucket, bucket::Error::PreconditionFailed, denied] {
        assert_eq!(bucket(error).kind, Kind::BucketFailed);
    }
}

#[test]
fn a_lost_branch_is_409_and_what_ends_an_opening_503() {
    let key = || ObjectKey::new("a.db");
    let (ours, theirs) = (Epoch(3), Epoch(4));
    let fenced = Error::Fenced { database: name(), branch: BranchName::main(), ours, theirs, by: None, lost: 2 };
    assert_eq!(Problem::from(fenced).kind.status().as_u16(), 409);
    let detail = "not a database".to_owned();
    for error in [
        Error::SnapshotCorrupt { database: name(), key: key(), etag: Etag::new("a"), detail, previous: Previous::Absent },
        Error::SnapshotMissing { database: name(), key: key(), previous: Previous::Absent },
        Error::SnapshotTooLarge { database: name(), key: key(), size: 2, limit: 1 },
        Error::ChainBroken { database: name(), branch: BranchName::main(), detail: "a gap".to_owned(), offered: None },
        Error::StateTooLarge { database: name(), branch: BranchName::main(), limit: 1 },
        Error::NewerFormat { database: name(), key: key(), format: 3 },
    ] {
        assert_eq!(Problem::from(error).kind, Kind::DatabaseFailed);
    }
}

#[test]
fn words_of_kinds_are_distinct_and_fit_into_a_uri() {
    let words: HashSet<_> = KINDS.iter().map(|kind| kind.row().1).collect();
    assert_eq!(words.len(), KINDS.len());
    assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
}

#[test]
fn every_kind_stands_in_the_documentation_with_its_status() {
    let page = include_str!("../../../docs/api.md");
    for kind in KINDS {
        let (status, word, _) = kind.row();
        assert!(page.contains(&format!("| {} | `{word}` |", status.as_u16())), "docs/api.md lacks the row of {word} with status {status}");
    }
}

#[test]
fn only_what_time_may_heal_is_retryable() {
    for kind in KINDS {
        let heals =
            [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&kind.status()) || kind == Kind::IdempotencyKeyInUse;
        assert_eq!(kind.is_retryable(), heals, "{kind:?}");
        assert!(kind.retry_after().is_none() || kind.is_retryable(), "{kind:?}");
    }
    assert_eq!(sql(SqlErrorKind::Busy, 5).render("r").headers()[header::RETRY_AFTER], "1");
    assert_eq!(not_served(NotServed::Opening).render("r").headers()[header::RETRY_AFTER], "1");
    assert_eq!(not_served(NotServed::Suspended).render("r").headers()[header::RETRY_AFTER], "60");
    assert!(not_served(NotServed::Suspended).detail.contains("set spec.suspend to false"), "how to resume");
    assert!(!not_served(NotServed::Failed).render("r").headers().contains_key(header::RETRY_AFTER));
}

#[test]
fn a_constraint_is_told_by_sqlites_names_and_by_its_place() {
    let document = serde_json::to_string(&sql(SqlErrorKind::Constraint, 2067).document("r-1")).unwrap();
    assert_eq!(
        document,
        r#"{"type":"https://buckethead.dev/problems/sql-constraint","title":"A constraint of the schema does not hold","status":409,"#
            .to_owned()
            + r#""detail":"in SQLite's words","code":"SQLITE_CONSTRAINT","extended_code":"SQLITE_CONSTRAINT_UNIQUE","extended_errno":2067,"#
            + r#""statement_index":1,"offset":7,"retryable":false,"request_id":"r-1"}"#
    );
}

#[test]
fn a_refusal_of_ours_has_no_code_of_sqlite() {
    let document = serde_json::to_value(sql(SqlErrorKind::Forbidden, 0).document("r")).unwrap();
    assert!(document.get("code").is_none() && document.get("extended_errno").is_none(), "{document}");
    assert_eq!(document["statement_index"], 1);
    let document = serde_json::to_value(Problem::bad_request("no").document("r")).unwrap();
    assert!(document.get("statement_index").is_none() && document.get("offset").is_none(), "{document}");
}

#[test]
fn a_code_that_is_newer_than_our_table_keeps_its_number() {
    let document = serde_json::to_value(sql(SqlErrorKind::Constraint, 0x7f13).document("r")).unwrap();
    assert_eq!(document["code"], "SQLITE_CONSTRAINT");
    assert!(document.get("extended_code").is_none());
    assert_eq!(document["extended_errno"], 0x7f13);
}

#[test]
fn whoever_lacks_a_token_is_told_how_to_send_one() {
    let response = Problem::new(Kind::Unauthorized, "no").render("r");
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"buckethead\"");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
}
