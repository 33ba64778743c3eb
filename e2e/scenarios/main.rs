//! What we ship, in a real cluster: the image, the charts and the operator as a Pod, by Helm, kubectl and HTTP alone.
//!
//! `e2e/run.sh` starts a cluster and runs this program where `kubectl` and `helm` reach it. What the scenarios share stands in `support`; each
//! has a file, and under the file's name its namespaces, its bucket and, when it failed, its folder in `target/e2e/`.
//!
//! Those in `alone` have the cluster to themselves, and come first; of the others several run at once, by their names: `answered`, which takes
//! longest, begins first. Each tells how long it took.
#![allow(clippy::unwrap_used, reason = "a scenario that cannot go on fails")]

mod alone;
mod answered;
mod deletion;
mod garbage;
mod gitops;
mod guides;
mod kill;
mod libsql;
mod plugin;
mod promotion;
mod replicas;
mod restart;
mod rotation;
mod secret;
mod secure;
mod service;
mod support;
mod views;
