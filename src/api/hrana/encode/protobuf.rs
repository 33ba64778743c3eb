//! The pieces in Protocol Buffers, version 3. Entries of a cursor have their length before them.
//!
//! What holds rows is written as it is made, not from messages in memory. Owns: the numbers of fields of what is sent.

use bytes::{Buf as _, Bytes};
use engine::{Column, Effects, Row, SqlError, StatementShape, ValueRef};
use prost::encoding::{
    self, WireType, decode_varint, double, encode_key, encode_varint, encoded_len_varint, int32, key_len, sint64, uint32, uint64,
};

use super::{Content, Outcome};
use crate::hrana::message::{Failure, Kind};
use crate::hrana::results::Ended;

/// A field that holds what `write` writes.
fn field<R>(out: &mut Vec<u8>, tag: u32, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    encode_key(tag, WireType::LengthDelimited, out);
    delimited(out, write)
}

/// What `write` writes, after its length, which is known only then: so the rest moves by a few bytes.
fn delimited<R>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let begin = out.len();
    let written = write(out);
    let length = (out.len() - begin) as u64;
    let mut prefix = [0; 10];
    let mut left = &mut prefix[..];
    encode_varint(length, &mut left);
    let prefix = &prefix[..encoded_len_varint(length)];
    out.splice(begin..begin, prefix.iter().copied());
    written
}

/// A field within a field within a field, the innermost of which holds `content`: all lengths are known before.
fn path(out: &mut Vec<u8>, tags: &[u32], content: &[u8]) {
    let outer = |(lengths, inner): (Vec<usize>, usize), tag: &u32| {
        let mut lengths = lengths;
        lengths.push(inner);
        (lengths, key_len(*tag) + encoded_len_varint(inner as u64) + inner)
    };
    let (mut lengths, whole) = tags.iter().rev().fold((Vec::with_capacity(tags.len()), content.len()), outer);
    out.reserve(whole);
    for tag in tags {
        encode_key(*tag, WireType::LengthDelimited, out);
        encode_varint(lengths.pop().unwrap_or_default() as u64, out);
    }
    out.extend_from_slice(content);
}

fn boolean(out: &mut Vec<u8>, tag: u32, value: bool) {
    if value {
        encoding::bool::encode(tag, &true, out);
    }
}

fn text(out: &mut Vec<u8>, tag: u32, text: &str) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// Those of a statement, in fields of number `tag`.
pub(super) fn columns(out: &mut Vec<u8>, columns: &[Column], tag: u32) {
    for Column { name, decltype } in columns {
        field(out, tag, |out| {
            text(out, 1, name);
            if let Some(decltype) = decltype {
                text(out, 2, decltype);
            }
        });
    }
}

pub(super) fn row(out: &mut Vec<u8>, row: &Row<'_>, tag: u32) -> Result<(), SqlError> {
    field(out, tag, |out| {
        for at in 0..row.len() {
            value(out, row.value(at)?);
        }
        Ok(())
    })
}

/// One of a row's values.
fn value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    encode_key(1, WireType::LengthDelimited, out);
    match value {
        ValueRef::Null => out.extend_from_slice(&[2, 1 << 3 | WireType::LengthDelimited as u8, 0]),
        ValueRef::Integer(integer) => {
            encode_varint(sint64::encoded_len(2, &integer) as u64, out);
            sint64::encode(2, &integer, out);
        }
        ValueRef::Real(real) => {
            encode_varint(double::encoded_len(3, &real) as u64, out);
            double::encode(3, &real, out);
        }
        ValueRef::Text(text) => bytes_value(out, 4, text.as_bytes()),
        ValueRef::Blob(bytes) => bytes_value(out, 5, bytes),
    }
}

fn bytes_value(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    let length = bytes.len() as u64;
    encode_varint((key_len(tag) + encoded_len_varint(length)) as u64 + length, out);
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length, out);
    out.extend_from_slice(bytes);
}

/// How many rows, in field `tag`, and the rowid, in the one after it.
pub(super) fn effects(out: &mut Vec<u8>, effects: &Effects, tag: u32) {
    let Effects { rows_affected, last_insert_rowid, .. } = effects;
    if *rows_affected > 0 {
        uint64::encode(tag, rows_affected, out);
    }
    if let Some(rowid) = last_insert_rowid {
        sint64::encode(tag + 1, rowid, out);
    }
}

/// Maps from the numbers of steps: skipped ones are in neither.
pub(super) fn batch(steps: &[Ended]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, ended) in steps.iter().enumerate() {
        let key = |out: &mut Vec<u8>| uint32::encode(1, &number(at), out);
        match ended {
            Ended::Result(result) => field(&mut out, 1, |out| {
                key(out);
                path(out, &[2], result);
            }),
            Ended::Error(failure) => field(&mut out, 2, |out| {
                key(out);
                error(out, 2, failure);
            }),
            Ended::Skipped => {}
        }
    }
    out
}

/// Of a step. A message has no room for so many that they do not fit.
fn number(step: usize) -> u32 {
    u32::try_from(step).unwrap_or(u32::MAX)
}

pub(super) fn description(shape: &StatementShape) -> Vec<u8> {
    let StatementShape { params, columns: cols, is_explain, is_readonly } = shape;
    let mut out = Vec::new();
    for name in params {
        field(&mut out, 1, |out| {
            if let Some(name) = name {
                text(out, 1, name);
            }
        });
    }
    columns(&mut out, cols, 2);
    boolean(&mut out, 3, *is_explain);
    boolean(&mut out, 4, *is_readonly);
    out
}

fn error(out: &mut Vec<u8>, tag: u32, failure: &Failure) {
    field(out, tag, |out| {
        text(out, 1, &failure.message);
        text(out, 2, &failure.code);
    });
}

pub(super) fn step_begin(out: &mut Vec<u8>, step: usize, cols: &[Column]) {
    let begin = |out: &mut Vec<u8>| {
        field(out, 1, |out| {
            uint32::encode(1, &number(step), out);
            columns(out, cols, 2);
        });
    };
    delimited(out, begin);
}

pub(super) fn entry_row(out: &mut Vec<u8>, values: &Row<'_>) -> Result<(), SqlError> {
    delimited(out, |out| row(out, values, 4))
}

pub(super) fn step_end(out: &mut Vec<u8>, done: &Effects) {
    delimited(out, |out| field(out, 2, |out| effects(out, done, 1)));
}

pub(super) fn step_error(out: &mut Vec<u8>, step: usize, failure: &Failure) {
    let told = |out: &mut Vec<u8>| {
        field(out, 3, |out| {
            uint32::encode(1, &number(step), out);
            error(out, 2, failure);
        });
    };
    delimited(out, told);
}

pub(super) fn fatal(out: &mut Vec<u8>, failure: &Failure) {
    delimited(out, |out| error(out, 5, failure));
}

/// Without their lengths.
pub(super) fn entries(chunk: &Bytes) -> Vec<Bytes> {
    let (mut left, mut entries) = (chunk.clone(), Vec::new());
    while left.has_remaining() {
        let length = decode_varint(&mut left).expect("we wrote whole entries");
        entries.push(left.split_to(usize::try_from(length).expect("it was the length of a part of this")));
    }
    entries
}

/// What a response of some kind holds, from the path to its field.
fn response_of(out: &mut Vec<u8>, at: &[u32], content: &Content) {
    match content {
        Content::Nothing => path(out, at, &[]),
        Content::Result(result) => path(out, &[at, &[1]].concat(), result),
        Content::IsAutocommit(is_autocommit) => {
            let mut inner = Vec::with_capacity(2);
            boolean(&mut inner, 1, *is_autocommit);
            path(out, at, &inner);
        }
        Content::Entries { entries, done } => {
            let mut inner = Vec::new();
            for entry in entries {
                path(&mut inner, &[1], entry);
            }
            boolean(&mut inner, 2, *done);
            path(out, at, &inner);
        }
    }
}

pub(super) fn pipeline_outcome(out: &mut Vec<u8>, outcome: Outcome<'_>) {
    match outcome {
        Ok((kind, content)) => response_of(out, &[3, 1, over_http(kind)], content),
        Err(failure) => field(out, 3, |out| error(out, 2, failure)),
    }
}

pub(super) fn pipeline_end(out: &mut Vec<u8>, baton: Option<&str>) {
    if let Some(baton) = baton {
        text(out, 1, baton);
    }
}

pub(super) fn cursor_begin(out: &mut Vec<u8>, baton: &str) {
    delimited(out, |out| text(out, 1, baton));
}

pub(super) fn hello(outcome: Result<(), &Failure>) -> Vec<u8> {
    let mut out = Vec::new();
    match outcome {
        Ok(()) => path(&mut out, &[1], &[]),
        Err(failure) => field(&mut out, 2, |out| error(out, 1, failure)),
    }
    out
}

pub(super) fn response(request_id: i32, outcome: Outcome<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let id = |out: &mut Vec<u8>| {
        if request_id != 0 {
            int32::encode(1, &request_id, out);
        }
    };
    match outcome {
        Ok((kind, content)) => field(&mut out, 3, |out| {
            id(out);
            response_of(out, &[over_sockets(kind)], content);
        }),
        Err(failure) => field(&mut out, 4, |out| {
            id(out);
            error(out, 2, failure);
        }),
    }
    out
}

/// The field of a `StreamResponse`. The kinds of which sockets alone know have none.
fn over_http(kind: Kind) -> u32 {
    match kind {
        Kind::Close => 1,
        Kind::Execute => 2,
        Kind::Batch => 3,
        Kind::Sequence => 4,
        Kind::Describe => 5,
        Kind::StoreSql => 6,
        Kind::CloseSql => 7,
        Kind::GetAutocommit => 8,
        Kind::OpenStream | Kind::CloseStream | Kind::OpenCursor | Kind::FetchCursor | Kind::CloseCursor => {
            unreachable!("a pipeline has no such request")
        }
    }
}

/// The field of a `ResponseOkMsg`. Over sockets nothing but streams and cursors is closed.
fn over_sockets(kind: Kind) -> u32 {
    match kind {
        Kind::OpenStream => 2,
        Kind::CloseStream => 3,
        Kind::Execute => 4,
        Kind::Batch => 5,
        Kind::OpenCursor => 6,
        Kind::CloseCursor => 7,
        Kind::FetchCursor => 8,
        Kind::Sequence => 9,
        Kind::Describe => 10,
        Kind::StoreSql => 11,
        Kind::CloseSql => 12,
        Kind::GetAutocommit => 13,
        Kind::Close => unreachable!("a socket has no such request"),
    }
}
