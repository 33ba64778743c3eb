use engine::GcStage;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::*;
use crate::objects::gc_job::JobEnd;

fn orders(schedule: &str, asked: Option<&str>) -> BucketDatabase {
    let annotations = asked.map_or(json!({}), |asked| json!({GC_REQUESTED_AT: asked}));
    resource(json!({"metadata": {"annotations": annotations}, "spec": {"files": {"gc": {"schedule": schedule}}}}))
}

fn known(mine: Option<Job>) -> Jobs {
    Jobs::Known { mine, begun: false, elsewhere: None }
}

fn idle() -> Seen {
    Seen { jobs: known(None), ..Seen::default() }
}

fn at(resource: &BucketDatabase, now: WallTime, seen: &Seen) -> Decision {
    decide(resource, &config(), now, seen)
}

/// The run that is to begin.
fn begins(decision: &Decision) -> Option<Run> {
    match &decision.work {
        Some(Work::Start(start)) => Some(start.run.clone()),
        Some(Work::Take(_) | Work::Inspect(_)) | None => None,
    }
}

fn ended(job: Job) -> Job {
    Job { state: JobState::Ended { end: JobEnd::Succeeded, at: second(50) }, ..job }
}

fn asked(value: &str) -> Run {
    Run::first(Some(value.to_owned()))
}

fn status(seen: &Seen) -> BucketDatabaseStatus {
    BucketDatabaseStatus { files: Some(seen.files.clone()), ..BucketDatabaseStatus::default() }
}

#[test]
fn the_next_run_is_the_nearest_that_lies_ahead() {
    let next = |next_gc: Option<i64>, wait_until: Option<i64>| {
        let last_gc = wait_until.map(|until| gc_status(GcStage::Marked, 1, Some(second(until))));
        let files = FilesStatus { next_gc: next_gc.map(second).map(Time), last_gc, ..FilesStatus::default() };
        next_run(&status(&Seen { files, ..idle() }), second(100))
    };
    assert_eq!(next(None, None), Duration::MAX);
    assert_eq!((next(Some(160), Some(130)), next(Some(110), Some(130))), (Duration::from_secs(30), Duration::from_secs(10)));
    assert_eq!(next(Some(100), Some(130)), Duration::from_secs(30), "what is due waits for something else");
    assert_eq!(next_run(&BucketDatabaseStatus::default(), second(0)), Duration::MAX);
}

#[test]
fn nothing_runs_that_nobody_asked_for() {
    let decision = at(&orders("", None), second(0), &idle());
    assert_eq!(decision, Decision { work: None, look_again: LOOK_AGAIN, due: None, stands: Stands::Idle });
}

#[test]
fn an_annotation_is_answered_once_for_each_value_after_all_who_share_the_prefix_are_flushed() {
    let other = DatabaseName::new("else", "where");
    let seen = Seen { sharers: vec![other.clone()], ..idle() };
    let decision = at(&orders("", Some("noon")), second(0), &seen);
    let start = Start { run: asked("noon"), config: config(), flush: vec![name(), other], replaces: None };
    assert_eq!(decision.work, Some(Work::Start(Box::new(start))));
    for (handled, expected) in [("noon", None), ("morning", Some(asked("noon")))] {
        let seen = Seen { handled: Some(handled.to_owned()), ..idle() };
        assert_eq!(begins(&at(&orders("", Some("noon")), second(0), &seen)), expected, "{handled}");
    }
}

#[test]
fn a_schedule_is_looked_at_in_time_and_what_lies_before_its_first_look_was_not_asked_for() {
    let daily = orders("@hourly", None);
    let decision = at(&daily, second(0), &idle());
    let due = decision.due.unwrap();
    assert_eq!(begins(&decision), None);
    let seen = Seen { files: FilesStatus { next_gc: Some(Time(due)), ..FilesStatus::default() }, ..idle() };
    let early = at(&daily, due - Duration::from_secs(7), &seen);
    assert_eq!((begins(&early), early.due), (None, Some(due)));
    assert_eq!(next_run(&status(&seen), due - Duration::from_secs(7)), Duration::from_secs(7));
    assert_eq!(begins(&at(&daily, due, &seen)), Some(Run::first(None)));
}

#[test]
fn after_a_long_absence_one_run_makes_up_for_all_and_the_next_is_reckoned_from_now() {
    let hourly = orders("@hourly", None);
    let due = at(&hourly, second(0), &idle()).due.unwrap();
    let seen = Seen { files: FilesStatus { next_gc: Some(Time(due)), ..FilesStatus::default() }, ..idle() };
    let back = due + Duration::from_hours(100);
    assert_eq!(begins(&at(&hourly, back, &seen)), Some(Run::first(None)));
    let next = due_after(&hourly, back).unwrap();
    assert!(next > back && elapsed(back, next) <= Duration::from_hours(2), "{next}");
    // It began, and nobody wrote that down: the Job says so.
    let job = Job { created: back, ..ended(gc_job()) };
    let files = FilesStatus { gc_job: Some(job.uid.clone()), ..seen.files };
    let decision = at(&hourly, back + Duration::from_mins(1), &Seen { jobs: known(Some(job)), files, ..idle() });
    assert_eq!((begins(&decision), decision.due), (None, Some(next)));
}

#[test]
fn another_schedule_begins_anew_and_none_at_all_is_due_never() {
    let due = at(&orders("@hourly", None), second(0), &idle()).due.unwrap();
    let seen = Seen { files: FilesStatus { next_gc: Some(Time(due)), ..FilesStatus::default() }, ..idle() };
    let late = due + Duration::from_hours(3);
    let changed = at(&orders("17 3 * * *", None), late, &seen);
    assert!(begins(&changed).is_none() && changed.due.unwrap() > late, "{changed:?}");
    let removed = at(&orders("", None), late, &seen);
    assert_eq!((begins(&removed), removed.due), (None, None));
}

#[test]
fn what_is_marked_is_deleted_by_another_run_after_the_wait() {
    let last = gc_status(GcStage::Marked, 1, Some(second(120)));
    let seen = Seen { files: FilesStatus { last_gc: Some(last), ..FilesStatus::default() }, ..idle() };
    let early = at(&orders("", None), second(60), &seen);
    assert_eq!((begins(&early), next_run(&status(&seen), second(60))), (None, Duration::from_mins(1)));
    assert_eq!(begins(&at(&orders("", None), second(120), &seen)), Some(Run { number: 2, is_swept: true, request: None }));
    assert_eq!(begins(&at(&orders("", Some("noon")), second(120), &seen)), Some(asked("noon")), "a new wish begins a new chain");
}

#[test]
fn a_job_of_ours_is_followed_until_its_end_is_told_and_nothing_begins_meanwhile() {
    let wanted = orders("", Some("noon"));
    let look = |job: Job, now| at(&wanted, now, &Seen { jobs: known(Some(job)), ..idle() });
    let starting = look(gc_job(), second(10));
    assert_eq!((starting.work, starting.look_again, starting.stands), (None, Duration::from_secs(20), Stands::Running { is_up: false }));
    assert_eq!(look(gc_job(), second(30)).work, Some(Work::Inspect(gc_job())));
    let up = look(Job { state: JobState::Running, ..gc_job() }, second(400));
    assert_eq!((up.work, up.stands), (None, Stands::Running { is_up: true }));
    let end = look(ended(gc_job()), second(60));
    assert_eq!((end.work, end.look_again), (Some(Work::Take(ended(gc_job()))), SOON), "the run that goes on after it may be due already");

    let told = FilesStatus { gc_job: Some(gc_job().uid), ..FilesStatus::default() };
    let seen = Seen { jobs: known(Some(ended(gc_job()))), files: told, ..idle() };
    let Some(Work::Start(start)) = at(&wanted, second(60), &seen).work else { panic!("it is wanted") };
    assert_eq!((start.run, start.replaces), (asked("noon"), Some("job-1".to_owned())));
}

#[test]
fn a_request_that_a_job_answers_is_not_carried_out_again_after_a_restart() {
    let job = Job { run: asked("noon"), ..ended(gc_job()) };
    let files = FilesStatus { gc_job: Some(job.uid.clone()), ..FilesStatus::default() };
    let seen = Seen { jobs: known(Some(job)), files, ..idle() };
    assert_eq!(at(&orders("", Some("noon")), second(60), &seen).work, None);
}

#[test]
fn one_place_has_one_run_at_a_time_and_the_others_wait_for_its_end() {
    let other = DatabaseName::new("else", "where");
    let jobs = Jobs::Known { mine: None, begun: false, elsewhere: Some(other.clone()) };
    let decision = at(&orders("", Some("noon")), second(0), &Seen { jobs: jobs.clone(), ..idle() });
    assert_eq!((decision.work, decision.stands), (None, Stands::Queued(other)));
    assert_eq!(at(&orders("", None), second(0), &Seen { jobs, ..idle() }).stands, Stands::Idle, "nobody waits who wants nothing");
    let begun = Jobs::Known { mine: None, begun: true, elsewhere: None };
    let decision = at(&orders("", Some("noon")), second(0), &Seen { jobs: begun, ..idle() });
    assert_eq!((decision.work, decision.stands), (None, Stands::Running { is_up: false }), "the Job is on its way to the watch");
}

#[test]
fn nothing_begins_before_all_jobs_are_known() {
    let decision = at(&orders("", Some("noon")), second(0), &Seen { jobs: Jobs::Unknown, ..idle() });
    assert_eq!((decision.work, decision.stands, decision.look_again), (None, Stands::Unknown, SOON));
}

#[test]
fn what_was_hindered_is_tried_again_after_a_minute_and_not_with_each_look() {
    let wanted = orders("", Some("noon"));
    let hindered = Seen { hindered: Some(second(0)), inspected: Some(second(0)), ..idle() };
    let early = at(&wanted, second(45), &hindered);
    assert_eq!((early.work, early.look_again), (None, Duration::from_secs(15)));
    assert_eq!(begins(&at(&wanted, second(60), &hindered)), Some(asked("noon")));
    for (job, now, is_due) in [(gc_job(), 45, false), (gc_job(), 60, true), (ended(gc_job()), 45, false), (ended(gc_job()), 60, true)] {
        let decision = at(&wanted, second(now), &Seen { jobs: known(Some(job.clone())), ..hindered.clone() });
        assert_eq!(decision.work.is_some(), is_due, "{job:?} at {now}");
    }
}

#[test]
fn gc_is_part_of_the_plan_of_an_open_database_alone() {
    let steps = |resource: &BucketDatabase, seen: &crate::plan::Observed| crate::plan::plan(resource, seen).steps;
    let wanted = orders("", Some("noon"));
    assert!(matches!(&steps(&wanted, &served())[..], [crate::plan::Step::Gc(Work::Start(_))]));
    let closed = crate::plan::Observed { applied: Some(config()), hosted: failed(unreachable(), 1, second(0)), ..seen() };
    assert_eq!(steps(&wanted, &closed), []);
    let no_gc = |steps: Vec<crate::plan::Step>| steps.iter().all(|step| !matches!(step, crate::plan::Step::Gc(_)));
    let mut suspended = wanted.clone();
    suspended.spec.suspend = true;
    assert!(no_gc(steps(&suspended, &served())));
    let patch: Value = json!({"metadata": {"annotations": {GC_REQUESTED_AT: "noon"}}});
    assert!(no_gc(steps(&deleted(patch), &served())));
}
