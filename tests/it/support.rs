//! What the tests stand on: the parts that run beside `buckethead`, and the ways to talk to all of them.

mod bench;
mod certificate;
mod cluster;
mod control_plane;
mod database;
mod document;
mod folders;
mod kubelet;
mod manifest;
mod own_store;
mod process;
mod prometheus;
mod proxy;
mod rows;
mod seed;
mod snapshot;
mod store;
mod wait;

pub(crate) use bench::{Pipe, kubeconfig, serve};
pub(crate) use certificate::make_certificate;
pub(crate) use cluster::Namespace;
pub(crate) use control_plane::ControlPlane;
pub(crate) use database::Database;
pub(crate) use document::{adapted, blocks, document, printed, program, script};
pub(crate) use folders::Folders;
pub(crate) use manifest::{DATABASE, Resource};
pub(crate) use own_store::OwnStore;
pub(crate) use process::{Dev, Operator, Program, Signal};
pub(crate) use prometheus::Prometheus;
pub(crate) use proxy::{Proxy, Weather};
pub(crate) use rows::{End, Found, Rows};
pub(crate) use seed::{Seed, setting};
pub(crate) use snapshot::Snapshot;
pub(crate) use store::{Account, Place, ServedBy, embedded_store};
pub(crate) use wait::until;
