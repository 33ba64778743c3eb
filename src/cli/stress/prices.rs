//! What stores charge.

use clap::ValueEnum;
use engine::RequestClass;
use serde::{Deserialize, Serialize};

use super::load::Asked;
use crate::cli::measure::real;

/// Whose prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Prices {
    /// Cloudflare R2, standard storage.
    R2,
    /// AWS S3 Standard in us-east-1.
    S3,
}

/// In US dollars.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// A million requests that change or list.
    pub(super) class_a: f64,
    /// A million requests that read.
    pub(super) class_b: f64,
    /// 10^9 bytes for a month.
    pub(super) storage: f64,
    /// What is free each month: requests of both classes, and 10^9 bytes.
    pub(super) free: (f64, f64, f64),
}

impl Prices {
    pub(super) fn table(self) -> Table {
        match self {
            Self::R2 => Table { name: "Cloudflare R2", class_a: 4.50, class_b: 0.36, storage: 0.015, free: (1e6, 10e6, 10.0) },
            Self::S3 => Table { name: "AWS S3 Standard, us-east-1", class_a: 5.00, class_b: 0.40, storage: 0.023, free: (0.0, 0.0, 0.0) },
        }
    }
}

/// What was asked of a store, and what lies there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Bill {
    pub(super) class_a: f64,
    pub(super) class_b: f64,
    pub(super) free: f64,
    /// Of those of both classes, what opening and closing the database took: a month of it has that once.
    pub(super) once_class_a: f64,
    pub(super) once_class_b: f64,
    /// On average.
    pub(super) stored_bytes: f64,
    pub(super) seconds: f64,
}

/// In US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Cost {
    pub(super) prices: Prices,
    /// Of the time that it is about, without what is free.
    pub(super) run: f64,
    /// Of thirty days like that, without what is free.
    pub(super) month: f64,
    /// Of thirty days like that, after what is free.
    pub(super) month_after_free: f64,
}

pub(super) const MONTH: f64 = 30.0 * 24.0 * 3600.0;
const MILLION: f64 = 1e6;
const GIGABYTE: f64 = 1e9;

impl Bill {
    /// Of these requests.
    pub(super) fn of(requests: &[Asked]) -> Self {
        let mut bill = Self::default();
        for asked in requests {
            let of = match RequestClass::of(&asked.operation) {
                RequestClass::A => &mut bill.class_a,
                RequestClass::B => &mut bill.class_b,
                RequestClass::Free => &mut bill.free,
            };
            *of += real(asked.count);
        }
        bill
    }

    /// Thirty days like this, with as much in the bucket.
    pub(super) fn month(&self) -> Self {
        let times = MONTH / self.seconds;
        let Self { class_a, class_b, free, once_class_a, once_class_b, stored_bytes, .. } = *self;
        let month = |all: f64, once: f64| once + (all - once).max(0.0) * times;
        let (class_a, class_b) = (month(class_a, once_class_a), month(class_b, once_class_b));
        Self { class_a, class_b, free: free * times, once_class_a, once_class_b, stored_bytes, seconds: MONTH }
    }

    pub(super) fn cost(&self, prices: Prices) -> Cost {
        let (table, month) = (prices.table(), self.month());
        let of = |bill: &Self| {
            let requests = bill.class_a * table.class_a / MILLION + bill.class_b * table.class_b / MILLION;
            requests + bill.stored_bytes / GIGABYTE * table.storage * bill.seconds / MONTH
        };
        let (free_a, free_b, free_gigabytes) = table.free;
        let after_free = Self {
            class_a: (month.class_a - free_a).max(0.0),
            class_b: (month.class_b - free_b).max(0.0),
            stored_bytes: (month.stored_bytes - free_gigabytes * GIGABYTE).max(0.0),
            ..month
        };
        Cost { prices, run: of(self), month: of(&month), month_after_free: of(&after_free) }
    }
}

/// Dollars, with as many digits as say something.
pub(super) fn dollars(amount: f64) -> String {
    if amount > 0.0 && amount < 0.01 { format!("${amount:.6}") } else { format!("${amount:.2}") }
}
