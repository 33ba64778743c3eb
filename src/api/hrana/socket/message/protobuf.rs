//! The same in Protocol Buffers.

use prost::{Message, Oneof};

use super::{FromClient, Request};
use crate::hrana::message::protobuf::{BatchMessage, CloseSqlMessage, StmtMessage, StoreSqlMessage, read, there};
use crate::hrana::message::{Text, Violation};

impl FromClient {
    pub(in crate::hrana::socket) fn decode(content: &[u8]) -> Result<Self, Violation> {
        let ClientMessage { kind } = read(content)?;
        Ok(match there(kind, "message")? {
            ClientKind::Hello(Hello { jwt }) => Self::Hello { jwt },
            ClientKind::Request(RequestMessage { request_id, kind }) => {
                Self::Request { request_id, request: there(kind, "request")?.try_into()? }
            }
        })
    }
}

#[derive(Message)]
struct ClientMessage {
    #[prost(oneof = "ClientKind", tags = "1, 2")]
    kind: Option<ClientKind>,
}

#[derive(Oneof)]
enum ClientKind {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Request(RequestMessage),
}

#[derive(Message)]
struct Hello {
    #[prost(string, optional, tag = "1")]
    jwt: Option<String>,
}

#[derive(Message)]
struct RequestMessage {
    #[prost(int32, tag = "1")]
    request_id: i32,
    #[prost(oneof = "RequestKind", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    kind: Option<RequestKind>,
}

#[derive(Oneof)]
enum RequestKind {
    #[prost(message, tag = "2")]
    OpenStream(OfStream),
    #[prost(message, tag = "3")]
    CloseStream(OfStream),
    #[prost(message, tag = "4")]
    Execute(Execute),
    #[prost(message, tag = "5")]
    Batch(OfBatch),
    #[prost(message, tag = "6")]
    OpenCursor(OpenCursor),
    #[prost(message, tag = "7")]
    CloseCursor(CloseCursor),
    #[prost(message, tag = "8")]
    FetchCursor(FetchCursor),
    #[prost(message, tag = "9")]
    Sequence(OfText),
    #[prost(message, tag = "10")]
    Describe(OfText),
    #[prost(message, tag = "11")]
    StoreSql(StoreSqlMessage),
    #[prost(message, tag = "12")]
    CloseSql(CloseSqlMessage),
    #[prost(message, tag = "13")]
    GetAutocommit(OfStream),
}

impl TryFrom<RequestKind> for Request {
    type Error = Violation;

    fn try_from(kind: RequestKind) -> Result<Self, Violation> {
        Ok(match kind {
            RequestKind::OpenStream(OfStream { stream_id }) => Self::OpenStream { stream_id },
            RequestKind::CloseStream(OfStream { stream_id }) => Self::CloseStream { stream_id },
            RequestKind::Execute(Execute { stream_id, stmt }) => Self::Execute { stream_id, stmt: there(stmt, "stmt")?.try_into()? },
            RequestKind::Batch(OfBatch { stream_id, batch }) => Self::Batch { stream_id, batch: there(batch, "batch")?.try_into()? },
            RequestKind::OpenCursor(OpenCursor { stream_id, cursor_id, batch }) => {
                Self::OpenCursor { stream_id, cursor_id, batch: there(batch, "batch")?.try_into()? }
            }
            RequestKind::CloseCursor(CloseCursor { cursor_id }) => Self::CloseCursor { cursor_id },
            RequestKind::FetchCursor(FetchCursor { cursor_id, max_count }) => Self::FetchCursor { cursor_id, max_count },
            RequestKind::Sequence(OfText { stream_id, sql, sql_id }) => Self::Sequence { stream_id, text: Text { sql, sql_id } },
            RequestKind::Describe(OfText { stream_id, sql, sql_id }) => Self::Describe { stream_id, text: Text { sql, sql_id } },
            RequestKind::StoreSql(StoreSqlMessage { sql_id, sql }) => Self::StoreSql { sql_id, sql },
            RequestKind::CloseSql(CloseSqlMessage { sql_id }) => Self::CloseSql { sql_id },
            RequestKind::GetAutocommit(OfStream { stream_id }) => Self::GetAutocommit { stream_id },
        })
    }
}

#[derive(Message)]
struct OfStream {
    #[prost(int32, tag = "1")]
    stream_id: i32,
}

#[derive(Message)]
struct Execute {
    #[prost(int32, tag = "1")]
    stream_id: i32,
    #[prost(message, optional, tag = "2")]
    stmt: Option<StmtMessage>,
}

#[derive(Message)]
struct OfBatch {
    #[prost(int32, tag = "1")]
    stream_id: i32,
    #[prost(message, optional, tag = "2")]
    batch: Option<BatchMessage>,
}

#[derive(Message)]
struct OfText {
    #[prost(int32, tag = "1")]
    stream_id: i32,
    #[prost(string, optional, tag = "2")]
    sql: Option<String>,
    #[prost(int32, optional, tag = "3")]
    sql_id: Option<i32>,
}

#[derive(Message)]
struct OpenCursor {
    #[prost(int32, tag = "1")]
    stream_id: i32,
    #[prost(int32, tag = "2")]
    cursor_id: i32,
    #[prost(message, optional, tag = "3")]
    batch: Option<BatchMessage>,
}

#[derive(Message)]
struct FetchCursor {
    #[prost(int32, tag = "1")]
    cursor_id: i32,
    #[prost(uint32, tag = "2")]
    max_count: u32,
}

#[derive(Message)]
struct CloseCursor {
    #[prost(int32, tag = "1")]
    cursor_id: i32,
}
