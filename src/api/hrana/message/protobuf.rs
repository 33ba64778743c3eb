//! The same messages in Protocol Buffers, version 3.
//!
//! Owns: the numbers of fields. Does not own: what messages mean; each becomes one of those that JSON becomes.

use engine::Value;
use prost::{Message, Oneof};

use super::{Batch, Bound, Condition, Cursor, NamedArg, Pipeline, Request, Step, Stmt, Text, Violation};

impl Pipeline {
    pub(in crate::hrana) fn decode(content: &[u8]) -> Result<Self, Violation> {
        let PipelineMessage { baton, requests } = read(content)?;
        Ok(Self { baton, requests: requests.into_iter().map(Request::try_from).collect::<Result<_, _>>()? })
    }
}

impl Cursor {
    pub(in crate::hrana) fn decode(content: &[u8]) -> Result<Self, Violation> {
        let CursorMessage { baton, batch } = read(content)?;
        Ok(Self { baton, batch: there(batch, "batch")?.try_into()? })
    }
}

/// What cannot be read is told as what it is.
pub(in crate::hrana) fn read<M: Message + Default>(content: &[u8]) -> Result<M, Violation> {
    M::decode(content).map_err(|error| Violation(format!("the message is no Protocol Buffers of this kind: {error}")))
}

/// A message within another is never required by its form.
pub(in crate::hrana) fn there<T>(field: Option<T>, name: &str) -> Result<T, Violation> {
    field.ok_or_else(|| Violation(format!("`{name}` is missing, or of a kind that is not known")))
}

#[derive(Message)]
struct PipelineMessage {
    #[prost(string, optional, tag = "1")]
    baton: Option<String>,
    #[prost(message, repeated, tag = "2")]
    requests: Vec<RequestMessage>,
}

#[derive(Message)]
struct CursorMessage {
    #[prost(string, optional, tag = "1")]
    baton: Option<String>,
    #[prost(message, optional, tag = "2")]
    batch: Option<BatchMessage>,
}

#[derive(Message)]
struct RequestMessage {
    #[prost(oneof = "RequestKind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    kind: Option<RequestKind>,
}

#[derive(Oneof)]
enum RequestKind {
    #[prost(message, tag = "1")]
    Close(Empty),
    #[prost(message, tag = "2")]
    Execute(ExecuteMessage),
    #[prost(message, tag = "3")]
    Batch(OfBatchMessage),
    #[prost(message, tag = "4")]
    Sequence(TextMessage),
    #[prost(message, tag = "5")]
    Describe(TextMessage),
    #[prost(message, tag = "6")]
    StoreSql(StoreSqlMessage),
    #[prost(message, tag = "7")]
    CloseSql(CloseSqlMessage),
    #[prost(message, tag = "8")]
    GetAutocommit(Empty),
}

impl TryFrom<RequestMessage> for Request {
    type Error = Violation;

    fn try_from(message: RequestMessage) -> Result<Self, Violation> {
        Ok(match there(message.kind, "request")? {
            RequestKind::Close(Empty {}) => Self::Close,
            RequestKind::Execute(ExecuteMessage { stmt }) => Self::Execute { stmt: there(stmt, "stmt")?.try_into()? },
            RequestKind::Batch(OfBatchMessage { batch }) => Self::Batch { batch: there(batch, "batch")?.try_into()? },
            RequestKind::Sequence(text) => Self::Sequence(text.into()),
            RequestKind::Describe(text) => Self::Describe(text.into()),
            RequestKind::StoreSql(StoreSqlMessage { sql_id, sql }) => Self::StoreSql { sql_id, sql },
            RequestKind::CloseSql(CloseSqlMessage { sql_id }) => Self::CloseSql { sql_id },
            RequestKind::GetAutocommit(Empty {}) => Self::GetAutocommit,
        })
    }
}

#[derive(Message)]
pub(in crate::hrana) struct Empty {}

#[derive(Message)]
struct ExecuteMessage {
    #[prost(message, optional, tag = "1")]
    stmt: Option<StmtMessage>,
}

#[derive(Message)]
struct OfBatchMessage {
    #[prost(message, optional, tag = "1")]
    batch: Option<BatchMessage>,
}

#[derive(Message)]
struct TextMessage {
    #[prost(string, optional, tag = "1")]
    sql: Option<String>,
    #[prost(int32, optional, tag = "2")]
    sql_id: Option<i32>,
}

impl From<TextMessage> for Text {
    fn from(TextMessage { sql, sql_id }: TextMessage) -> Self {
        Self { sql, sql_id }
    }
}

#[derive(Message)]
pub(in crate::hrana) struct StoreSqlMessage {
    #[prost(int32, tag = "1")]
    pub(in crate::hrana) sql_id: i32,
    #[prost(string, tag = "2")]
    pub(in crate::hrana) sql: String,
}

#[derive(Message)]
pub(in crate::hrana) struct CloseSqlMessage {
    #[prost(int32, tag = "1")]
    pub(in crate::hrana) sql_id: i32,
}

#[derive(Message)]
pub(in crate::hrana) struct StmtMessage {
    #[prost(string, optional, tag = "1")]
    sql: Option<String>,
    #[prost(int32, optional, tag = "2")]
    sql_id: Option<i32>,
    #[prost(message, repeated, tag = "3")]
    args: Vec<ValueMessage>,
    #[prost(message, repeated, tag = "4")]
    named_args: Vec<NamedArgMessage>,
    #[prost(bool, optional, tag = "5")]
    want_rows: Option<bool>,
}

impl TryFrom<StmtMessage> for Stmt {
    type Error = Violation;

    fn try_from(message: StmtMessage) -> Result<Self, Violation> {
        let StmtMessage { sql, sql_id, args, named_args, want_rows } = message;
        let named = |NamedArgMessage { name, value }| Ok(NamedArg { name, value: there(value, "value")?.try_into()? });
        Ok(Self {
            sql,
            sql_id,
            args: Some(args.into_iter().map(Bound::try_from).collect::<Result<_, _>>()?),
            named_args: Some(named_args.into_iter().map(named).collect::<Result<_, Violation>>()?),
            want_rows,
        })
    }
}

#[derive(Message)]
struct NamedArgMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<ValueMessage>,
}

#[derive(Message)]
struct ValueMessage {
    #[prost(oneof = "ValueKind", tags = "1, 2, 3, 4, 5")]
    kind: Option<ValueKind>,
}

#[derive(Oneof)]
enum ValueKind {
    #[prost(message, tag = "1")]
    Null(Empty),
    #[prost(sint64, tag = "2")]
    Integer(i64),
    #[prost(double, tag = "3")]
    Float(f64),
    #[prost(string, tag = "4")]
    Text(String),
    #[prost(bytes = "vec", tag = "5")]
    Blob(Vec<u8>),
}

impl TryFrom<ValueMessage> for Bound {
    type Error = Violation;

    fn try_from(message: ValueMessage) -> Result<Self, Violation> {
        Ok(Self(match there(message.kind, "value")? {
            ValueKind::Null(Empty {}) => Value::Null,
            ValueKind::Integer(value) => Value::Integer(value),
            ValueKind::Float(value) => Value::Real(value),
            ValueKind::Text(value) => Value::Text(value),
            ValueKind::Blob(value) => Value::Blob(value),
        }))
    }
}

#[derive(Message)]
pub(in crate::hrana) struct BatchMessage {
    #[prost(message, repeated, tag = "1")]
    steps: Vec<StepMessage>,
}

impl TryFrom<BatchMessage> for Batch {
    type Error = Violation;

    fn try_from(message: BatchMessage) -> Result<Self, Violation> {
        Ok(Self { steps: message.steps.into_iter().map(Step::try_from).collect::<Result<_, _>>()? })
    }
}

#[derive(Message)]
struct StepMessage {
    #[prost(message, optional, tag = "1")]
    condition: Option<ConditionMessage>,
    #[prost(message, optional, tag = "2")]
    stmt: Option<StmtMessage>,
}

impl TryFrom<StepMessage> for Step {
    type Error = Violation;

    fn try_from(StepMessage { condition, stmt }: StepMessage) -> Result<Self, Violation> {
        Ok(Self { stmt: there(stmt, "stmt")?.try_into()?, condition: condition.map(Condition::try_from).transpose()? })
    }
}

/// How deep they are nested is limited by whoever reads messages, far beyond what we allow.
#[derive(Message)]
struct ConditionMessage {
    #[prost(oneof = "ConditionKind", tags = "1, 2, 3, 4, 5, 6")]
    kind: Option<ConditionKind>,
}

#[derive(Oneof)]
enum ConditionKind {
    #[prost(uint32, tag = "1")]
    StepOk(u32),
    #[prost(uint32, tag = "2")]
    StepError(u32),
    #[prost(message, tag = "3")]
    Not(Box<ConditionMessage>),
    #[prost(message, tag = "4")]
    And(ConditionsMessage),
    #[prost(message, tag = "5")]
    Or(ConditionsMessage),
    #[prost(message, tag = "6")]
    IsAutocommit(Empty),
}

#[derive(Message)]
struct ConditionsMessage {
    #[prost(message, repeated, tag = "1")]
    conds: Vec<ConditionMessage>,
}

impl TryFrom<ConditionMessage> for Condition {
    type Error = Violation;

    fn try_from(message: ConditionMessage) -> Result<Self, Violation> {
        // A step that no batch has is found out by the check.
        let step = |step: u32| usize::try_from(step).unwrap_or(usize::MAX);
        let all = |list: ConditionsMessage| list.conds.into_iter().map(Self::try_from).collect::<Result<Vec<_>, _>>();
        Ok(match there(message.kind, "condition")? {
            ConditionKind::StepOk(at) => Self::Ok { step: step(at) },
            ConditionKind::StepError(at) => Self::Error { step: step(at) },
            ConditionKind::Not(inner) => Self::Not { cond: Box::new((*inner).try_into()?) },
            ConditionKind::And(list) => Self::And { conds: all(list)? },
            ConditionKind::Or(list) => Self::Or { conds: all(list)? },
            ConditionKind::IsAutocommit(Empty {}) => Self::IsAutocommit,
        })
    }
}
