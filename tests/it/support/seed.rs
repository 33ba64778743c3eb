//! Chance that can be repeated.

use std::fmt;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// A number that decides about everything random of a test. What the machine does beside it stays its own: the same seed asks for the same
/// moments, and does not promise the same outcome.
pub(crate) struct Seed {
    variable: &'static str,
    value: u64,
}

impl Seed {
    /// From an environment variable, or 1.
    pub(crate) fn of(variable: &'static str) -> Self {
        Self { variable, value: setting(variable, 1) }
    }

    pub(crate) fn rng(&self) -> StdRng {
        StdRng::seed_from_u64(self.value)
    }
}

/// As it is set to ask for the same again.
impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.variable, self.value)
    }
}

impl Drop for Seed {
    #[allow(clippy::print_stderr, reason = "the test has failed, and this says how to repeat it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- to ask for the same again: {self}");
        }
    }
}

/// A number from an environment variable.
pub(crate) fn setting(variable: &str, usual: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}")),
        Err(_) => usual,
    }
}
