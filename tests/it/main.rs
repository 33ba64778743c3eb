//! Whole programs on real parts: `buckethead` itself, a real API server, a real store, SQLite, the seed's package.
//!
//! One test program, because linking costs more than running. What the tests share stands in `support`; each topic has a file.
//! Each test has a namespace, buckets and an operator of its own, so that all of them run at once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod api_document;
mod clients;
mod command;
mod crashes;
mod damage;
mod dev;
mod documents;
mod ending;
mod failing_store;
mod faults;
mod frozen;
mod gc;
mod gitops;
mod history;
mod idle;
mod interop;
mod kills;
mod life;
mod litestream;
mod lost_answers;
mod measure;
mod monitoring;
mod outages;
mod pods;
mod promotion;
mod refusals;
mod rights;
mod support;
mod takeover;
mod telemetry;
mod tenancy;
mod tls;
