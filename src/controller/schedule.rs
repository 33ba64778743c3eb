//! When runs by `spec.files.gc.schedule` are due. Pure.
//!
//! Owns: what a cron expression means (five fields in UTC, as Vixie's cron reads them), and how the runs of many resources with one
//! expression are spread. Does not own: which of them were carried out.
//! Invariant: the moments of one resource are those of its expression, in their order, each later by a delay that is always the same for the
//! same resource and moment. So a moment that is written down can be recognized after a restart, and after a change of the expression.

use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions};
use engine::WallTime;
use sha2::{Digest as _, Sha256};

/// No run is later than this.
const LONGEST_DELAY: Duration = Duration::from_mins(5);
/// And none by more than this part of the time to the next moment of the expression.
const PART: u64 = 10;

/// A cron expression as one resource follows it.
#[derive(Debug)]
pub(crate) struct Schedule {
    ticks: Crontab,
    /// Tells resources apart.
    seed: u64,
}

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScheduleError {
    /// It cannot be read.
    #[error("`{expression}` is no cron expression: {problem}; write five fields (minute, hour, day, month, weekday) such as `0 3 * * *`")]
    Malformed {
        /// As it was written.
        expression: String,
        /// In the parser's words.
        problem: String,
    },
    /// No day is meant by it.
    #[error("`{expression}` never comes: no month that it names has such a day")]
    Never {
        /// As it was written.
        expression: String,
    },
}

impl Schedule {
    /// Reads an expression for the resource of this UID.
    pub(crate) fn parse(expression: &str, uid: &str) -> Result<Self, ScheduleError> {
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let malformed = |error: cronexpr::Error| {
            // It repeats the expression, and points into it with spaces.
            let problem = error.to_string();
            let problem = problem.rsplit_once("^ ").map_or(problem.as_str(), |(_, problem)| problem).to_owned();
            ScheduleError::Malformed { expression: expression.to_owned(), problem }
        };
        let ticks = cronexpr::parse_crontab_with(in_full(expression), options).map_err(malformed)?;
        let digest = Sha256::digest(uid.as_bytes());
        let seed = digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        let schedule = Self { ticks, seed };
        // The parser looks four years ahead; from the beginning of a leap year that is every day there is.
        let leap_year = WallTime::constant(1_704_067_200, 0);
        schedule.tick_after(leap_year).map(|_| schedule).ok_or_else(|| ScheduleError::Never { expression: expression.to_owned() })
    }

    /// The first run that is due after a moment. `None` only at the end of the calendar.
    pub(crate) fn due_after(&self, moment: WallTime) -> Option<WallTime> {
        // A run of an earlier tick may still lie ahead.
        let mut tick = self.tick_after(moment.checked_sub(LONGEST_DELAY).ok()?.checked_sub(Duration::from_secs(1)).ok()?)?;
        loop {
            let next = self.tick_after(tick)?;
            let due = tick.checked_add(self.delay(tick, next)).ok()?;
            if due > moment {
                return Some(due);
            }
            tick = next;
        }
    }

    /// Whether a run is due at exactly this moment.
    pub(crate) fn is_due_at(&self, moment: WallTime) -> bool {
        moment.checked_sub(Duration::from_secs(1)).ok().and_then(|before| self.due_after(before)) == Some(moment)
    }

    fn delay(&self, tick: WallTime, next: WallTime) -> Duration {
        let gap = Duration::try_from(next.duration_since(tick)).unwrap_or_default();
        let most = (gap.as_secs() / PART).min(LONGEST_DELAY.as_secs());
        Duration::from_secs(self.seed % (most + 1))
    }

    fn tick_after(&self, moment: WallTime) -> Option<WallTime> {
        self.ticks.find_next(cronexpr::MakeTimestamp(moment)).ok().map(|found| found.timestamp())
    }
}

/// The names that the rule of the schema lets in besides five fields.
fn in_full(expression: &str) -> &str {
    match expression {
        "@hourly" => "0 * * * *",
        "@daily" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> WallTime {
        text.parse().unwrap()
    }

    fn schedule(expression: &str, uid: &str) -> Schedule {
        Schedule::parse(expression, uid).unwrap()
    }

    /// The tick that a run belongs to, for expressions of whole hours.
    fn hour(moment: WallTime) -> String {
        moment.strftime("%Y-%m-%dT%H").to_string()
    }

    #[test]
    fn what_the_rule_of_the_schema_lets_in_is_read_in_utc() {
        let expected = [
            ("@hourly", "2026-11-25T21"),
            ("@daily", "2026-11-26T00"),
            ("@weekly", "2026-11-29T00"),
            ("@monthly", "2026-12-01T00"),
            ("0 3 * * *", "2026-11-26T03"),
            ("0 3 * * Sun", "2026-11-29T03"),
            ("0 3 * * 7", "2026-11-29T03"),
            ("0 4 1,15 JAN-MAR *", "2027-01-01T04"),
            ("0 */6 * * *", "2026-11-26T00"),
            // A day of the month or a weekday, whichever comes first.
            ("0 3 30 * 5", "2026-11-27T03"),
            ("0 3 29 2 *", "2028-02-29T03"),
        ];
        for (expression, hour_of_run) in expected {
            let due = schedule(expression, "uid").due_after(at("2026-11-25T20:30:00Z")).unwrap();
            assert_eq!(hour(due), hour_of_run, "{expression}: {due}");
        }
    }

    #[test]
    fn what_never_comes_and_what_cannot_be_read_is_refused_with_the_reason() {
        for expression in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
            assert_eq!(Schedule::parse(expression, "u").unwrap_err(), ScheduleError::Never { expression: expression.to_owned() });
        }
        for (expression, problem) in [
            ("60 * * * *", "0..=59; found 60"),
            ("0 24 * * *", "0..=23"),
            ("0 22-6 * * *", "ascending order; found 22-6"),
            ("H 3 * * *", "`H 3 * * *` is no cron expression"),
            ("0 3 * * Sunday", "is no cron expression"),
            ("*/0 * * * *", "is no cron expression"),
            ("- - - - -", "is no cron expression"),
        ] {
            let said = Schedule::parse(expression, "u").unwrap_err().to_string();
            assert!(said.contains(problem) && !said.contains('\n') && !said.contains("   "), "{expression}: {said}");
        }
    }

    #[test]
    fn resources_with_one_expression_run_at_different_moments_within_five_minutes() {
        let now = at("2026-11-25T20:30:00Z");
        let runs: Vec<_> = (0..100).map(|n| schedule("@daily", &format!("uid-{n}")).due_after(now).unwrap()).collect();
        let midnight = at("2026-11-26T00:00:00Z");
        assert!(runs.iter().all(|due| *due >= midnight && *due <= midnight + LONGEST_DELAY), "{runs:?}");
        let different: std::collections::BTreeSet<_> = runs.iter().collect();
        assert!(different.len() > 50, "{} different moments", different.len());
    }

    proptest! {
        #[test]
        fn the_moments_of_a_resource_are_stable_ordered_and_as_many_as_the_ticks(uid in 0_u64.., minute in 0_i64..3_000_000, every in 1_u8..60) {
            let schedule = schedule(&format!("*/{every} * * * *"), &uid.to_string());
            let begin = WallTime::from_second(1_700_000_000 + minute * 60).unwrap();
            let mut due = schedule.due_after(begin).unwrap();
            // The tick that it belongs to: the last one that is not after it.
            let mut tick = schedule.tick_after(begin - LONGEST_DELAY - Duration::from_hours(1)).unwrap();
            while schedule.tick_after(tick).unwrap() <= due {
                tick = schedule.tick_after(tick).unwrap();
            }
            for _ in 0..10 {
                let next = schedule.tick_after(tick).unwrap();
                prop_assert!(tick <= due && due < next, "{tick} {due} {next}");
                prop_assert!(schedule.is_due_at(due));
                (due, tick) = (schedule.due_after(due).unwrap(), next);
            }
        }
    }
}
