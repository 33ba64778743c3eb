//! What the scenarios stand on: the cluster as `kubectl` shows it, a release of the chart, the store, and a client in a Pod.

#[path = "../../tests/it/support/certificate.rs"]
mod certificate;
mod client;
#[path = "../../tests/it/support/document.rs"]
mod document;
mod load;
mod manifest;
mod record;
mod release;
mod scenario;
mod store;
#[path = "../../tests/it/support/wait.rs"]
mod wait;

pub(crate) use certificate::make_certificate;
pub(crate) use client::Database;
pub(crate) use document::{adapted, document, printed, script};
pub(crate) use load::Load;
pub(crate) use manifest::{DATABASE, KEY, Resource};
pub(crate) use release::Release;
pub(crate) use scenario::{Scenario, rounds};
pub(crate) use store::Store;
pub(crate) use wait::until;
