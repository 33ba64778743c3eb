//! What clients of Hrana send. In JSON unknown members are ignored, and each optional one may be null.
//!
//! Owns: the shape of messages and the rules that can be checked without a database. Does not own: what statements do.

pub(super) mod protobuf;

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use engine::{Params, Value};
use serde::de::{self, Deserializer, IgnoredAny, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::BASE64;

/// How deep conditions may be nested.
const DEEPEST: usize = 32;

/// What kind of request it is, which its response repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Execute,
    Batch,
    Sequence,
    Describe,
    StoreSql,
    CloseSql,
    GetAutocommit,
    Close,
    OpenStream,
    CloseStream,
    OpenCursor,
    FetchCursor,
    CloseCursor,
}

impl Kind {
    /// As it is called in JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Batch => "batch",
            Self::Sequence => "sequence",
            Self::Describe => "describe",
            Self::StoreSql => "store_sql",
            Self::CloseSql => "close_sql",
            Self::GetAutocommit => "get_autocommit",
            Self::Close => "close",
            Self::OpenStream => "open_stream",
            Self::CloseStream => "close_stream",
            Self::OpenCursor => "open_cursor",
            Self::FetchCursor => "fetch_cursor",
            Self::CloseCursor => "close_cursor",
        }
    }
}

/// The body of `POST pipeline`.
#[derive(Debug, Deserialize)]
pub(super) struct Pipeline {
    pub(super) baton: Option<String>,
    pub(super) requests: Vec<Request>,
}

/// The body of `POST cursor`.
#[derive(Debug, Deserialize)]
pub(super) struct Cursor {
    pub(super) baton: Option<String>,
    pub(super) batch: Batch,
}

/// What a stream is asked.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Request {
    Execute { stmt: Stmt },
    Batch { batch: Batch },
    Sequence(Text),
    Describe(Text),
    StoreSql { sql_id: i32, sql: String },
    CloseSql { sql_id: i32 },
    GetAutocommit,
    Close,
}

/// The body of `POST v1/execute`.
#[derive(Debug, Deserialize)]
pub(super) struct OneStmt {
    pub(super) stmt: Stmt,
}

/// The body of `POST v1/batch`.
#[derive(Debug, Deserialize)]
pub(super) struct OneBatch {
    pub(super) batch: Batch,
}

impl Request {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Execute { .. } => Kind::Execute,
            Self::Batch { .. } => Kind::Batch,
            Self::Sequence(_) => Kind::Sequence,
            Self::Describe(_) => Kind::Describe,
            Self::StoreSql { .. } => Kind::StoreSql,
            Self::CloseSql { .. } => Kind::CloseSql,
            Self::GetAutocommit => Kind::GetAutocommit,
            Self::Close => Kind::Close,
        }
    }
}

/// SQL, or the number under which it was stored.
#[derive(Debug, Deserialize)]
pub(super) struct Text {
    pub(super) sql: Option<String>,
    pub(super) sql_id: Option<i32>,
}

impl Text {
    /// The SQL itself.
    pub(super) fn sql(self, stored: &StoredSql) -> Result<String, Violation> {
        match (self.sql, self.sql_id) {
            (Some(sql), None) => Ok(sql),
            (None, Some(id)) => stored.get(id),
            (Some(_), Some(_)) => Err(Violation("give `sql` or `sql_id`, not both".to_owned())),
            (None, None) => Err(Violation("`sql` is missing; or give `sql_id`".to_owned())),
        }
    }
}

/// One statement with what is bound to it.
#[derive(Debug, Deserialize)]
pub(super) struct Stmt {
    sql: Option<String>,
    sql_id: Option<i32>,
    args: Option<Vec<Bound>>,
    named_args: Option<Vec<NamedArg>>,
    want_rows: Option<bool>,
}

/// A statement whose text is known.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) sql: String,
    /// `None` if values are bound both by position and by name.
    pub(super) params: Option<Params>,
    pub(super) want_rows: bool,
}

impl Stmt {
    pub(super) fn asked(self, stored: &StoredSql) -> Result<Asked, Violation> {
        let sql = Text { sql: self.sql, sql_id: self.sql_id }.sql(stored)?;
        let (args, named) = (self.args.unwrap_or_default(), self.named_args.unwrap_or_default());
        let params = match (args.is_empty(), named.is_empty()) {
            (true, true) => Some(Params::None),
            (false, true) => Some(Params::Positional(args.into_iter().map(|Bound(value)| value).collect())),
            (true, false) => Some(Params::Named(named.into_iter().map(|NamedArg { name, value: Bound(value) }| (name, value)).collect())),
            (false, false) => None,
        };
        Ok(Asked { sql, params, want_rows: self.want_rows.unwrap_or(true) })
    }
}

#[derive(Debug, Deserialize)]
struct NamedArg {
    name: String,
    value: Bound,
}

/// Statements, each of which may depend on how others ended.
#[derive(Debug, Deserialize)]
pub(super) struct Batch {
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Step {
    pub(super) stmt: Stmt,
    pub(super) condition: Option<Condition>,
}

/// Whether a step runs.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Condition {
    Ok { step: usize },
    Error { step: usize },
    Not { cond: Box<Condition> },
    And { conds: Vec<Condition> },
    Or { conds: Vec<Condition> },
    IsAutocommit,
}

impl Condition {
    /// Looks at `ok` for the steps before: whether each ran and succeeded. A step that was skipped counts as an error.
    pub(super) fn holds(&self, ok: &[bool], is_autocommit: bool) -> bool {
        match self {
            Self::Ok { step } => ok.get(*step).is_some_and(|ok| *ok),
            Self::Error { step } => !ok.get(*step).is_some_and(|ok| *ok),
            Self::Not { cond } => !cond.holds(ok, is_autocommit),
            Self::And { conds } => conds.iter().all(|cond| cond.holds(ok, is_autocommit)),
            Self::Or { conds } => conds.iter().any(|cond| cond.holds(ok, is_autocommit)),
            Self::IsAutocommit => is_autocommit,
        }
    }

    /// Steps are known only once they have been: `before` counts them.
    pub(super) fn check(&self, before: usize) -> Result<(), Violation> {
        self.check_below(before, DEEPEST)
    }

    fn check_below(&self, before: usize, depth: usize) -> Result<(), Violation> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Violation(format!("conditions are nested deeper than {DEEPEST}")));
        };
        match self {
            Self::Ok { step } | Self::Error { step } if *step >= before => {
                Err(Violation(format!("the condition of step {before} looks at step {step}, which is not before it")))
            }
            Self::Ok { .. } | Self::Error { .. } | Self::IsAutocommit => Ok(()),
            Self::Not { cond } => cond.check_below(before, depth),
            Self::And { conds } | Self::Or { conds } => conds.iter().try_for_each(|cond| cond.check_below(before, depth)),
        }
    }
}

/// A message that breaks the protocol: the whole request fails, and its stream with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation(pub(super) String);

/// Texts that clients store under numbers of their own.
#[derive(Debug, Default)]
pub(super) struct StoredSql {
    texts: HashMap<i32, String>,
    bytes: usize,
}

impl StoredSql {
    const MOST: usize = 150;
    const MOST_BYTES: usize = 1 << 20;

    /// A number that is used already gets the new text.
    pub(super) fn store(&mut self, id: i32, sql: String) -> Result<(), Failure> {
        self.close(id);
        if self.texts.len() >= Self::MOST {
            return Err(Failure::new("SQL_STORE_TOO_MANY", format!("{} texts are stored already; close some with close_sql", Self::MOST)));
        }
        if self.bytes + sql.len() > Self::MOST_BYTES {
            let message = format!("stored texts may have {} bytes together; close some with close_sql", Self::MOST_BYTES);
            return Err(Failure::new("SQL_STORE_TOO_LARGE", message));
        }
        self.bytes += sql.len();
        self.texts.insert(id, sql);
        Ok(())
    }

    pub(super) fn close(&mut self, id: i32) {
        if let Some(sql) = self.texts.remove(&id) {
            self.bytes -= sql.len();
        }
    }

    fn get(&self, id: i32) -> Result<String, Violation> {
        self.texts.get(&id).cloned().ok_or_else(|| Violation(format!("no SQL is stored under sql_id {id}")))
    }
}

/// What went wrong within a stream, as clients read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HranaFailure)]
pub(super) struct Failure {
    pub(super) message: String,
    /// SQLite's name of the primary result code, or a word of ours.
    pub(super) code: Cow<'static, str>,
    /// SQLite's name of the extended result code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) extended_code: Option<&'static str>,
}

impl Failure {
    pub(super) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { message: message.into(), code: code.into(), extended_code: None }
    }
}

/// A value to bind.
#[derive(Debug, PartialEq)]
struct Bound(Value);

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(tag = "type", rename_all = "lowercase")]
        enum Tagged {
            Null(IgnoredAny),
            Integer { value: Integer },
            Float { value: f64 },
            Text { value: String },
            Blob { base64: String },
        }
        Ok(Self(match Tagged::deserialize(deserializer)? {
            Tagged::Null(_) => Value::Null,
            Tagged::Integer { value: Integer(value) } => Value::Integer(value),
            Tagged::Float { value } => Value::Real(value),
            Tagged::Text { value } => Value::Text(value),
            Tagged::Blob { base64 } => {
                Value::Blob(BASE64.decode(base64).map_err(|error| de::Error::custom(format!("`base64` is not base64: {error}")))?)
            }
        }))
    }
}

/// In a string, since JavaScript's numbers do not hold 64 bits; a number is taken as well.
struct Integer(i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Integer;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an integer of 64 bits, as a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Integer, E> {
                text.parse().map(Integer).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Integer, E> {
                Ok(Integer(value))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Integer, E> {
                i64::try_from(value).map(Integer).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
