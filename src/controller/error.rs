//! Why a reconciliation did not end as planned.

use std::sync::Arc;

use crate::problem::Problem;

/// What the controller does differently: all are tried again with growing pauses, but each is told in its own way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or failed a request.
    #[error("the API server failed while {doing}")]
    Cluster {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The host could not do a step.
    #[error(transparent)]
    Engine(Arc<engine::Error>),
    /// A branch could not be made or switched to.
    #[error(transparent)]
    Branch(Arc<engine::Error>),
    /// An object that goes with its resource could not be deleted.
    #[error(transparent)]
    Deletion(Arc<engine::Error>),
    /// The promotion of the spec was not carried out.
    #[error("the promotion was not carried out: {}", .0.message)]
    Promotion(Problem),
    /// A watch of the operator ended: nothing would be noticed any more.
    #[error("the watch of BucketDatabases ended")]
    WatchEnded,
    /// The folder of manifests cannot be read or watched.
    #[error("the folder {folder} cannot be {doing}")]
    Folder {
        /// Which one.
        folder: String,
        /// `read` or `watched`.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps an answer of the API server.
    pub(crate) fn cluster(doing: &'static str) -> impl Fn(kube::Error) -> Self {
        move |source| Self::Cluster { doing, source: Box::new(source) }
    }

    /// The message with that of its cause, for people who see no chain.
    pub(crate) fn with_source(&self) -> String {
        let source = std::error::Error::source(self);
        source.map_or_else(|| self.to_string(), |source| format!("{self}: {source}"))
    }

    /// A fixed word for metrics and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cluster { .. } => "cluster",
            Self::Engine(error) | Self::Branch(error) | Self::Deletion(error) => error.kind(),
            Self::Promotion(_) => "promotion",
            Self::WatchEnded => "watch-ended",
            Self::Folder { .. } => "folder",
        }
    }
}
