//! Connections that nobody uses just now, of all databases together: a certain number is kept, those that were used last.
//!
//! An open connection costs some hundred kilobytes, so it is the databases in use that have one, not all that are open.

use std::collections::VecDeque;

use parking_lot::Mutex;
use rusqlite::Connection;

use crate::connection::{Role, Rules, Session};

/// What a connection is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A caller's reads.
    Read,
    /// A caller's writes.
    Write,
    /// A caller's stream, which may open transactions.
    Stream {
        /// It never writes.
        read_only: bool,
    },
    /// The engine's own statements.
    Engine,
}

impl Use {
    /// How its connections are opened.
    pub(super) fn role(self) -> Role {
        match self {
            Self::Read | Self::Stream { read_only: true } => Role::Reader,
            Self::Write | Self::Stream { read_only: false } | Self::Engine => Role::Writer,
        }
    }

    /// Who says where transactions begin and end.
    pub(super) fn rules(self) -> Rules {
        match self {
            Self::Read | Self::Write | Self::Engine => Rules::Request,
            Self::Stream { .. } => Rules::Stream,
        }
    }
}

/// A connection of one of the kinds that there are.
pub(super) enum Open {
    Session(Session),
    Plain(Connection),
}

struct Kept {
    /// The file that it has open.
    file: u64,
    purpose: Use,
    /// The thread that used it last.
    thread: usize,
    connection: Open,
}

/// Tells this thread from the others that there are.
fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// The connections that are kept, the one used last at the end.
pub(super) struct Connections {
    most: usize,
    kept: Mutex<VecDeque<Kept>>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    /// The connection that was used last, since its cache is the warmest; for reads the last one of this thread, if there is one: all that
    /// another core has touched comes to this one line by line. What one writer's connection has cached, the next commit of another ends.
    pub(super) fn take(&self, file: u64, purpose: Use) -> Option<Open> {
        self.take_if(file, purpose, |_| true)
    }

    /// The same of those sessions alone that have read the schema with this cookie.
    pub(super) fn take_with_schema(&self, file: u64, purpose: Use, schema: u32) -> Option<Session> {
        let has_read = |open: &Open| matches!(open, Open::Session(session) if session.schema() == Some(schema));
        match self.take_if(file, purpose, has_read)? {
            Open::Session(session) => Some(session),
            Open::Plain(_) => None,
        }
    }

    fn take_if(&self, file: u64, purpose: Use, suits: impl Fn(&Open) -> bool) -> Option<Open> {
        let here = this_thread();
        let mut kept = self.kept.lock();
        let fits = |kept: &Kept| kept.file == file && kept.purpose == purpose && suits(&kept.connection);
        let last = kept.iter().rposition(fits)?;
        let is_here = |kept: &Kept| kept.thread == here && fits(kept);
        let at = if purpose == Use::Write || is_here(&kept[last]) { last } else { kept.iter().rposition(is_here).unwrap_or(last) };
        kept.remove(at).map(|kept| kept.connection)
    }

    /// Keeps a connection, and closes the one that nobody has used for the longest time if there are too many.
    pub(super) fn put(&self, file: u64, purpose: Use, connection: Open) {
        let thread = this_thread();
        let too_many = {
            let mut kept = self.kept.lock();
            kept.push_back(Kept { file, purpose, thread, connection });
            if kept.len() > self.most { kept.pop_front() } else { None }
        };
        // Here, outside the lock.
        drop(too_many);
    }

    /// Closes all of a file.
    pub(super) fn forget(&self, file: u64) {
        let mut kept = self.kept.lock();
        let (gone, stay): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut *kept).into_iter().partition(|kept| kept.file == file);
        *kept = stay;
        drop(kept);
        drop(gone);
    }

    #[cfg(test)]
    pub(super) fn of(&self, file: u64) -> usize {
        self.kept.lock().iter().filter(|kept| kept.file == file).count()
    }
}
