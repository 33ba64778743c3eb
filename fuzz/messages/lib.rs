//! What the API reads of a client before it asks a database, from the API's own files, without HTTP: a fuzzer's build of it takes a fraction
//! of the time that one of the whole API takes.
#![allow(dead_code, unused_imports, reason = "the rest of the API is not here to use it")]

use std::io::{Cursor, Read, Write};

use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

/// The most that a message over a socket may have, as the API has it.
const LARGEST: usize = 16 << 20;

mod body {
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

    pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
}

mod error {
    /// Why something is refused.
    pub(crate) struct Problem(pub(crate) String);

    impl Problem {
        pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
            Self(detail.into())
        }
    }
}

#[path = "../../src/api/sql/request.rs"]
mod request;

#[path = "../../src/api/hrana"]
mod hrana {
    pub(crate) mod message;

    pub(crate) mod socket {
        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Version {
            Hrana1,
            Hrana2,
            Hrana3,
        }

        mod message;

        pub(crate) fn read(content: &[u8]) {
            for read in [serde_json::from_slice(content).ok(), message::FromClient::decode(content).ok()] {
                if let Some(message::FromClient::Request { request, .. }) = read {
                    assert!(!request.kind().word().is_empty() && request.since() >= Version::Hrana1);
                }
            }
        }
    }

    pub(crate) fn read(body: &[u8]) {
        let stored = message::StoredSql::default();
        let pipelines = [serde_json::from_slice(body).ok(), message::Pipeline::decode(body).ok()];
        for request in pipelines.into_iter().flatten().flat_map(|message::Pipeline { requests, .. }| requests) {
            assert!(!request.kind().word().is_empty());
            match request {
                message::Request::Batch { batch } => check(batch),
                message::Request::Sequence(text) | message::Request::Describe(text) => drop(text.sql(&stored)),
                _ => {}
            }
        }
        let cursors = [serde_json::from_slice(body).ok(), message::Cursor::decode(body).ok()];
        for message::Cursor { batch, .. } in cursors.into_iter().flatten() {
            check(batch);
        }
    }

    fn check(batch: message::Batch) {
        for (at, step) in batch.steps.iter().enumerate() {
            if let Some(condition) = &step.condition {
                drop(condition.check(at));
            }
        }
    }
}

/// A body as `sql` and Hrana's routes read it.
pub fn body(bytes: &[u8]) {
    // What is refused says why.
    for refused in [request::from_json(bytes).err(), request::from_text(bytes).err(), request::from_sqld(bytes).err()].into_iter().flatten() {
        assert!(!refused.0.is_empty());
    }
    hrana::read(bytes);
    hrana::socket::read(bytes);
}

/// What comes over a socket after its handshake.
pub fn frames(bytes: &[u8]) {
    let config = WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
    let mut socket = WebSocket::from_raw_socket(Wire(Cursor::new(bytes)), Role::Server, Some(config));
    while let Ok(message) = socket.read() {
        match message {
            Message::Text(text) => hrana::socket::read(text.as_bytes()),
            Message::Binary(bytes) => hrana::socket::read(&bytes),
            _ => {}
        }
    }
}

/// Whatever is answered goes nowhere.
struct Wire<'a>(Cursor<&'a [u8]>);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
