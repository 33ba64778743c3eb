//! What we ship, in a real cluster: the image, the charts and the operator as a Pod, by Helm, kubectl and HTTP alone.
//!
//! `e2e/run.sh` starts a cluster and runs this program where `kubectl` and `helm` reach it. What the scenarios share stands in `support`; each
//! has a file, and under the file's name its namespaces, its bucket and, when it failed, its folder in `target/e2e/`.
//!
//! They run one after the other (`RUST_TEST_THREADS=1`): some have the whole cluster to themselves, and each tells how long it took.
#![allow(clippy::unwrap_used, reason = "a scenario that cannot go on fails")]

mod deletion;
mod garbage;
mod guides;
mod install;
mod kill;
mod libsql;
mod network;
mod outage;
mod promotion;
mod replicas;
mod restart;
mod secret;
mod secure;
mod service;
mod support;
mod sync;
mod upgrade;
mod views;
