use serde_json::json;

use super::*;
use crate::fixtures::*;
use crate::gc::Run;
use crate::objects::gc_job::{Job, JobState};
use crate::plan::Verdict;
use crate::plan::gc::GC_REQUESTED_AT;
use crate::problem::Problem;
use crate::status;

fn asked() -> BucketDatabase {
    resource(json!({"metadata": {"annotations": {GC_REQUESTED_AT: "noon"}}}))
}

fn after(resource: &BucketDatabase, previous: &BucketDatabaseStatus, jobs: Jobs, news: Option<&News>) -> BucketDatabaseStatus {
    let seen = Observed {
        now: second(100),
        gc: gc::Seen {
            jobs,
            files: previous.files.clone().unwrap_or_default(),
            handled: previous.last_handled.as_ref().and_then(|handled| handled.gc.clone()),
            ..gc::Seen::default()
        },
        ..served()
    };
    let verdict = Verdict::Serving { but: None };
    let said = status::Said { verdict: &verdict, flushed: None, gc: news, url: "u", host: "h", binding: None };
    status::next(resource, previous, &seen, &said)
}

fn condition(status: &BucketDatabaseStatus) -> Option<(&str, &str, &str)> {
    find(status, GARBAGE_COLLECTED).map(|found| (&*found.status, &*found.reason, &*found.message))
}

/// Status and reason of the condition.
fn told(status: &BucketDatabaseStatus) -> Option<(&str, &str)> {
    condition(status).map(|(truth, reason, _)| (truth, reason))
}

fn ended(run: Run, result: Result<GcSummary, Problem>) -> News {
    News::Ended(Ended { job: Some("job-1".to_owned()), time: second(90), run, result })
}

fn empty() -> BucketDatabaseStatus {
    BucketDatabaseStatus::default()
}

#[test]
fn there_is_no_condition_where_nobody_asked() {
    assert_eq!(condition(&after(&resource(json!({})), &empty(), Jobs::NONE, None)), None);
}

#[test]
fn a_run_is_told_from_its_beginning_to_the_end_of_its_chain() {
    let run = Run::first(Some("noon".to_owned()));
    let begun = after(&asked(), &empty(), Jobs::NONE, Some(&News::Started(run.clone())));
    assert_eq!(told(&begun), Some(("Unknown", "GcRunning")));
    assert_eq!(begun.last_handled.as_ref().unwrap().gc.as_deref(), Some("noon"));

    let found = GcSummary { marked: 3, ..gc_summary(GcStage::Marked, Some(second(400))) };
    let marked = after(&asked(), &begun, Jobs::NONE, Some(&ended(run.clone(), Ok(found))));
    let (truth, reason, message) = condition(&marked).unwrap();
    assert_eq!((truth, reason), ("Unknown", "GcWaiting"));
    assert!(message.contains("marked: 3; a run after 2023-11-14T22:20:01Z deletes"), "{message}");
    let files = marked.files.clone().unwrap();
    assert_eq!((files.gc_job.as_deref(), files.last_gc.as_ref().unwrap().marked), (Some("job-1"), 3));

    let second_run = Run::after(files.last_gc.as_ref().unwrap());
    let begun = after(&asked(), &marked, Jobs::NONE, Some(&News::Started(second_run.clone())));
    assert_eq!(begun.files.as_ref().unwrap().last_gc.as_ref().unwrap().wait_until, None, "it is under way, and does not begin again");
    let found = GcSummary { deleted: 3, freed: 12, dangling: 1, ..gc_summary(GcStage::Deleted, None) };
    let done = after(&asked(), &begun, Jobs::NONE, Some(&ended(second_run, Ok(found))));
    let (truth, reason, message) = condition(&done).unwrap();
    assert_eq!(
        (truth, reason, message),
        ("True", "GcSucceeded", "deleted: 3 (12 bytes); dangling, rows whose content must be put again: 1")
    );
    assert_eq!(after(&asked(), &done, Jobs::NONE, None), done, "and that stays");
}

#[test]
fn a_dry_run_says_what_would_be_done() {
    let found = GcSummary { dry_run: true, deleted: 2, freed: 8, marked: 1, ..gc_summary(GcStage::Deleted, None) };
    let status = after(&asked(), &empty(), Jobs::NONE, Some(&ended(Run::first(None), Ok(found))));
    let message = "nothing was changed; a run would delete 2 (8 bytes) and mark 1";
    assert_eq!(condition(&status), Some(("True", "GcDryRun", message)));
}

#[test]
fn a_failure_is_told_leaves_the_last_report_and_is_not_tried_again_by_itself() {
    let last = gc_status(GcStage::Marked, 1, Some(second(80)));
    let files = FilesStatus { last_gc: Some(last.clone()), ..FilesStatus::default() };
    let before = BucketDatabaseStatus { files: Some(files), ..empty() };
    let problem = Problem::passing(Reason::GcStopped, "cannot be read");
    let status = after(&asked(), &before, Jobs::NONE, Some(&ended(Run::first(None), Err(problem))));
    assert_eq!(condition(&status), Some(("False", "GcStopped", "cannot be read")));
    let files = status.files.unwrap();
    assert_eq!((files.gc_job.as_deref(), files.last_gc), (Some("job-1"), Some(GcStatus { wait_until: None, ..last })));
}

#[test]
fn what_keeps_a_run_from_beginning_is_told_and_its_wish_stays() {
    let news = News::Hindered(Problem::passing(Reason::GcFlushFailed, "away"));
    let status = after(&asked(), &empty(), Jobs::NONE, Some(&news));
    assert_eq!((told(&status), status.last_handled.clone()), (Some(("False", "GcFlushFailed")), None));
    assert_eq!(told(&after(&asked(), &status, Jobs::NONE, None)), Some(("False", "GcFlushFailed")));
    let ready = find(&status, "Ready").unwrap();
    assert_eq!(ready.status, "True", "the database serves all the same");
}

#[test]
fn a_job_that_nobody_wrote_down_tells_what_it_answers() {
    let job = Job { run: Run::first(Some("noon".to_owned())), state: JobState::Running, ..gc_job() };
    let status = after(&asked(), &empty(), Jobs::Known { mine: Some(job), begun: false, elsewhere: None }, None);
    assert_eq!(status.last_handled.as_ref().unwrap().gc.as_deref(), Some("noon"));
    assert_eq!(told(&status), Some(("Unknown", "GcRunning")));
}

#[test]
fn what_an_earlier_run_came_to_is_no_longer_told_while_another_starts() {
    let found = gc_summary(GcStage::Clean, None);
    let done = after(&asked(), &empty(), Jobs::NONE, Some(&ended(Run::first(None), Ok(found))));
    assert_eq!(told(&done), Some(("True", "GcSucceeded")));
    let job = Job { uid: "job-2".to_owned(), ..gc_job() };
    let status = after(&asked(), &done, Jobs::Known { mine: Some(job), begun: false, elsewhere: None }, None);
    assert_eq!(told(&status), Some(("Unknown", "GcRunning")));
}

#[test]
fn why_a_pod_does_not_start_is_told_until_it_does() {
    let mine = |state| Jobs::Known { mine: Some(Job { state, ..gc_job() }), begun: false, elsewhere: None };
    let stuck = News::Hindered(Problem::passing(Reason::GcImageMissing, "no such image"));
    let status = after(&asked(), &empty(), mine(JobState::Starting), Some(&stuck));
    let status = after(&asked(), &status, mine(JobState::Starting), None);
    assert_eq!(told(&status), Some(("False", "GcImageMissing")));
    assert_eq!(told(&after(&asked(), &status, mine(JobState::Running), None)), Some(("Unknown", "GcRunning")));
}

#[test]
fn a_job_that_somebody_deletes_is_missed() {
    let begun = after(&asked(), &empty(), Jobs::NONE, Some(&News::Started(Run::first(Some("noon".to_owned())))));
    assert_eq!(told(&after(&asked(), &begun, Jobs::Unknown, None)), Some(("Unknown", "GcRunning")), "nothing is known yet");
    assert_eq!(told(&after(&asked(), &begun, Jobs::NONE, None)), Some(("False", "GcReportMissing")));
}

#[test]
fn waiting_for_another_resource_is_told_and_forgotten_with_the_wish() {
    let other = engine::DatabaseName::new("else", "where");
    let queued = after(&asked(), &empty(), Jobs::Known { mine: None, begun: false, elsewhere: Some(other) }, None);
    let (truth, reason, message) = condition(&queued).unwrap();
    assert_eq!((truth, reason), ("Unknown", "GcWaiting"));
    assert!(message.contains("else/where"), "{message}");
    assert_eq!(condition(&after(&resource(json!({})), &queued, Jobs::NONE, None)), None);
}

#[test]
fn the_next_run_by_the_schedule_is_told() {
    let hourly = resource(json!({"spec": {"files": {"gc": {"schedule": "@hourly"}}}}));
    let status = after(&hourly, &empty(), Jobs::NONE, None);
    let due = status.files.as_ref().unwrap().next_gc.clone().unwrap();
    assert!(due.0 > second(100), "{due:?}");
    // In `dev` a run begins and ends in one look.
    let news = News::Ended(Ended { job: None, time: due.0, run: Run::first(None), result: Ok(gc_summary(GcStage::Clean, None)) });
    let next = after(&hourly, &status, Jobs::NONE, Some(&news)).files.unwrap().next_gc.unwrap();
    assert!(next.0 > due.0);
}
