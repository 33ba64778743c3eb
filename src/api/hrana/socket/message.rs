//! What clients send over a socket.

mod protobuf;

use serde::Deserialize;

use super::Version;
use crate::hrana::message::{Batch, Kind, Stmt, Text};

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromClient {
    Hello { jwt: Option<String> },
    Request { request_id: i32, request: Request },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Request {
    OpenStream {
        stream_id: i32,
    },
    CloseStream {
        stream_id: i32,
    },
    Execute {
        stream_id: i32,
        stmt: Stmt,
    },
    Batch {
        stream_id: i32,
        batch: Batch,
    },
    Sequence {
        stream_id: i32,
        #[serde(flatten)]
        text: Text,
    },
    Describe {
        stream_id: i32,
        #[serde(flatten)]
        text: Text,
    },
    StoreSql {
        sql_id: i32,
        sql: String,
    },
    CloseSql {
        sql_id: i32,
    },
    GetAutocommit {
        stream_id: i32,
    },
    OpenCursor {
        stream_id: i32,
        cursor_id: i32,
        batch: Batch,
    },
    FetchCursor {
        cursor_id: i32,
        max_count: u32,
    },
    CloseCursor {
        cursor_id: i32,
    },
}

impl Request {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::OpenStream { .. } => Kind::OpenStream,
            Self::CloseStream { .. } => Kind::CloseStream,
            Self::Execute { .. } => Kind::Execute,
            Self::Batch { .. } => Kind::Batch,
            Self::Sequence { .. } => Kind::Sequence,
            Self::Describe { .. } => Kind::Describe,
            Self::StoreSql { .. } => Kind::StoreSql,
            Self::CloseSql { .. } => Kind::CloseSql,
            Self::GetAutocommit { .. } => Kind::GetAutocommit,
            Self::OpenCursor { .. } => Kind::OpenCursor,
            Self::FetchCursor { .. } => Kind::FetchCursor,
            Self::CloseCursor { .. } => Kind::CloseCursor,
        }
    }

    /// The version that brought it.
    pub(super) fn since(&self) -> Version {
        match self {
            Self::OpenStream { .. } | Self::CloseStream { .. } | Self::Execute { .. } | Self::Batch { .. } => Version::Hrana1,
            Self::Sequence { .. } | Self::Describe { .. } | Self::StoreSql { .. } | Self::CloseSql { .. } => Version::Hrana2,
            Self::GetAutocommit { .. } | Self::OpenCursor { .. } | Self::FetchCursor { .. } | Self::CloseCursor { .. } => Version::Hrana3,
        }
    }
}
