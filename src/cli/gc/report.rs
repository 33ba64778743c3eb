//! What a run of gc found, in words and as names in the log.

use engine::{FileKey, FilesPrefix, GcReport, GcStage};

/// The names of what went, of what may go and of what is missing, into the log.
pub(super) fn log_names(prefix: &FilesPrefix, report: &GcReport, dry_run: bool) {
    let tell = |names: &std::collections::BTreeSet<FileKey>, what: &str| {
        for key in names {
            tracing::info!(object = %prefix.blob(key), "{what}");
        }
    };
    tell(&report.marked, if dry_run { "would be marked" } else { "marked" });
    tell(&report.deleted, if dry_run { "would be deleted" } else { "deleted" });
    tell(&report.dangling, "a file has no content");
}

/// For people.
pub(super) fn in_words(report: &GcReport, dry_run: bool) -> String {
    let mut lines = vec![format!("{} blobs, {} databases with {} branches", report.blobs, report.owners, report.branches)];
    let would = if dry_run { " (nothing was changed: --dry-run)" } else { "" };
    let rows = [
        ("deleted", report.deleted.len(), format!("{} bytes{would}", report.freed)),
        ("marked", report.marked.len(), format!("unused; a later run deletes those that stay so{would}")),
        ("skipped", report.skipped.len(), "unused, but younger than the grace".to_owned()),
        ("unowned", report.unowned.len(), "unused, and not written by buckethead".to_owned()),
        ("dangling", report.dangling.len(), "files without their content; put it again to repair them".to_owned()),
    ];
    for (name, count, meaning) in rows {
        lines.push(format!("  {name:<9} {count:>8}  {meaning}"));
    }
    let until = report.wait_until.map(|time| time.to_string()).unwrap_or_default();
    match report.stage {
        GcStage::Waiting => lines.push(format!("too early for what is marked; run it again after {until}")),
        GcStage::Busy => lines.push(format!("another run is deleting; if it died, a run after {until} goes on")),
        GcStage::Marked | GcStage::Deleted if !until.is_empty() => {
            lines.push(format!("to delete what is marked, run it again after {until}"));
        }
        GcStage::Clean | GcStage::Marked | GcStage::Deleted => {}
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use engine::WallTime;

    use super::*;

    #[test]
    fn a_report_is_one_json_object_or_a_few_lines() {
        let key = FileKey::parse(&"ab".repeat(32)).unwrap();
        let report = GcReport {
            stage: GcStage::Deleted,
            wait_until: Some(WallTime::UNIX_EPOCH),
            owners: 1,
            branches: 2,
            blobs: 9,
            marked: [key].into(),
            deleted: [key].into(),
            skipped: [].into(),
            dangling: [].into(),
            unowned: [].into(),
            freed: 5,
        };
        let json = r#"{"stage":"deleted","dry_run":false,"wait_until":"1970-01-01T00:00:00Z","owners":1,"branches":2,"blobs":9,"marked":1,"deleted":1,"skipped":0,"dangling":0,"unowned":0,"freed":5}"#;
        assert_eq!(serde_json::to_string(&report.summary(false)).unwrap(), json);
        let words = in_words(&report, false);
        assert!(words.contains("deleted          1  5 bytes\n") && words.contains("run it again after 1970-01-01T00:00:00Z"), "{words}");
    }
}
