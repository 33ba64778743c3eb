//! Scenarios that have the cluster to themselves: their operator looks after all namespaces, or they take away what others stand on.

mod install;
mod leaving;
mod network;
mod node;
mod outage;
mod rebuild;
mod start;
mod upgrade;
