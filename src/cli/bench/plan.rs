//! Presets and suites: how much is done of what.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How thoroughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Preset {
    /// Less than a minute: does it work, and about how fast.
    Quick,
    /// Some minutes: figures to compare.
    Standard,
    /// Most of an hour: figures to keep.
    Thorough,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Suite {
    /// Keys set, read and deleted, by the size of their values.
    Latency,
    /// Reads, writes and both, by the number of clients.
    Throughput,
    /// The workloads A to F of YCSB.
    Ycsb,
    /// The same statements in memory, and in a file with SQLite's defaults.
    DiskCompare,
    /// Writes before, during and after a flush.
    FlushImpact,
    /// Requests over HTTP, by the number of clients.
    Http,
}

/// What a preset does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Scale {
    /// Of values, in bytes.
    pub(super) payload_bytes: Vec<usize>,
    /// Of each kind, for each size.
    pub(super) operations: usize,
    pub(super) clients: Vec<usize>,
    /// For each number of clients.
    pub(super) seconds: u64,
    pub(super) keys: usize,
    pub(super) ycsb_operations: usize,
    /// Of the database that is flushed.
    pub(super) flushed_bytes: usize,
}

const MIB: usize = 1 << 20;

impl Preset {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Standard => "standard",
            Self::Thorough => "thorough",
        }
    }

    pub(super) fn scale(self) -> Scale {
        let payload_bytes = vec![16, 64, 256, 1024, 4096, 16_384, 65_536];
        let clients = vec![1, 2, 4, 8, 16, 32, 64];
        let scale = |operations, seconds, keys, ycsb_operations, flushed_bytes| Scale {
            payload_bytes: payload_bytes.clone(),
            operations,
            clients: clients.clone(),
            seconds,
            keys,
            ycsb_operations,
            flushed_bytes,
        };
        match self {
            Self::Quick => Scale { clients: vec![1, 8, 64], ..scale(200, 1, 1_000, 500, 8 * MIB) },
            Self::Standard => scale(500, 5, 10_000, 5_000, 64 * MIB),
            Self::Thorough => scale(2_000, 10, 100_000, 50_000, 256 * MIB),
        }
    }
}

impl Scale {
    pub(super) fn in_words(&self) -> String {
        let Self { payload_bytes, operations, clients, seconds, keys, ycsb_operations, flushed_bytes } = self;
        format!(
            "values of {} to {} bytes, {operations} operations of each kind; 1 to {} clients for {seconds} s each; {keys} keys; {ycsb_operations} operations of each YCSB \
             workload; flushes of {} MiB",
            payload_bytes.first().unwrap_or(&0),
            payload_bytes.last().unwrap_or(&0),
            clients.last().unwrap_or(&0),
            flushed_bytes / MIB,
        )
    }
}

impl Suite {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Ycsb => "ycsb",
            Self::DiskCompare => "disk-compare",
            Self::FlushImpact => "flush-impact",
            Self::Http => "http",
        }
    }

    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Latency => "One client in the same process sets, reads and deletes keys, by the size of their values.",
            Self::Throughput => "Clients in the same process read, write and do both, by their number.",
            Self::Ycsb => {
                "The workloads of the Yahoo! Cloud Serving Benchmark: A half updates, B and D few writes, C reads, E ranges, F read-modify-write."
            }
            Self::DiskCompare => "The same statements on a database in memory, and on a file with SQLite's default settings.",
            Self::FlushImpact => "How long writes take before, during and after a flush of the whole database.",
            Self::Http => "Requests over HTTP on connections that are kept open, by the number of clients.",
        }
    }

    /// Steps that it tells of.
    pub(super) fn steps(self, scale: &Scale) -> usize {
        match self {
            Self::Latency => scale.payload_bytes.len(),
            Self::Throughput | Self::Http => 3 * scale.clients.len(),
            Self::Ycsb => 6,
            Self::DiskCompare => 2,
            Self::FlushImpact => 1,
        }
    }
}
