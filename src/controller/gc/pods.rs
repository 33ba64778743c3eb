//! What the Pods of a run tell of it: its report, or why there is none. Pure.
//!
//! Owns: the sentences about runs that failed. Does not own: that they are asked for (`plan::gc`), nor the form of a report (`engine`).

use engine::{GcOutcome, GcSummary};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};

use crate::objects::gc_job::{Job, JobEnd};
use crate::problem::Problem;
use crate::reason::Reason;

/// What a run that ended found, or why it found nothing.
pub(crate) fn report(job: &Job, end: &JobEnd, pods: &[Pod]) -> Result<GcSummary, Problem> {
    let mut ended: Vec<&ContainerStateTerminated> = pods.iter().filter_map(terminated).collect();
    ended.sort_by_key(|ended| ended.finished_at.as_ref().map(|time| time.0));
    let told = ended.iter().rev().find_map(|ended| GcOutcome::of_message(ended.message.as_deref()?));
    let look = format!("`kubectl logs job/{} -n {}`", job.name, job.namespace);
    match (end, told) {
        (JobEnd::Succeeded, Some(GcOutcome::Report(summary))) => Ok(summary),
        (JobEnd::Succeeded, _) => Err(Problem::passing(
            Reason::GcReportMissing,
            "the run succeeded, but its Pod was deleted before its report was read; the next run tells what is left",
        )),
        (_, Some(GcOutcome::Error(said))) => {
            Err(Problem::passing(Reason::GcStopped, format!("{said}; nothing is deleted on doubt. See {look}")))
        }
        (JobEnd::TooSlow, _) => Err(Problem::passing(
            Reason::GcDeadlineExceeded,
            "the run was ended at its deadline: raise gcJob.activeDeadlineSeconds of the chart, or look why its Pod did not start or the store is slow",
        )),
        (JobEnd::Failed { message }, _) => {
            let why = ended.last().map_or_else(|| message.clone(), |last| in_words(last));
            Err(Problem::passing(Reason::GcFailed, format!("the run ended without a report: {why}. See {look}")))
        }
    }
}

fn in_words(ended: &ContainerStateTerminated) -> String {
    let reason = ended.reason.as_deref().unwrap_or("no reason given");
    let remedy = if reason == "OOMKilled" {
        "; a run holds the largest database of the prefix in memory: raise gcJob.resources.limits.memory of the chart"
    } else {
        ""
    };
    format!("exit code {} ({reason}){remedy}", ended.exit_code)
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    // Of a Pod that is started anew the last state counts.
    let of = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| state.and_then(|state| state.terminated.clone()).is_some();
    if of(container.state.as_ref()) {
        container.state.as_ref()?.terminated.as_ref()
    } else {
        container.last_state.as_ref()?.terminated.as_ref()
    }
}

/// Reasons of a kubelet that cannot get the image.
const NO_IMAGE: [&str; 4] = ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"];

/// What keeps a run from starting whose Job was made a while ago; `None` if it is on its way.
pub(crate) fn hindrance(job: &Job, pods: &[Pod]) -> Option<Problem> {
    let describe = |what: &str| format!("`kubectl describe {what} -n {}`", job.namespace);
    let Some(pod) = pods.first() else {
        return Some(Problem::passing(
            Reason::GcPodRefused,
            format!(
                "the Job {} has no Pod: a quota, or what admits Pods, refuses it. It is tried again; {} has the words",
                job.name,
                describe(&format!("job {}", job.name))
            ),
        ));
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let waiting = status.container_statuses.as_ref().and_then(|all| all.first()?.state.as_ref()?.waiting.as_ref());
    if let Some(waiting) = waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let said = waiting.message.as_deref().unwrap_or(reason);
        if NO_IMAGE.contains(&reason) {
            let message = format!(
                "the node cannot get the image of gcJob.image: {said}. Correct image and imagePullSecrets of the chart; the Secrets must be in this \
                 namespace, too"
            );
            return Some(Problem::passing(Reason::GcImageMissing, message));
        }
        if !["ContainerCreating", "PodInitializing", ""].contains(&reason) {
            let message = format!("the Pod {name} does not start: {said}. See {}", describe(&format!("pod {name}")));
            return Some(Problem::passing(Reason::GcPodPending, message));
        }
    }
    let scheduled =
        status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let said = scheduled.message.as_deref().unwrap_or("no node takes it");
    let message = format!(
        "the Pod {name} has no node: {said}. Correct gcJob.resources, nodeSelector and tolerations of the chart, or wait for a node"
    );
    Some(Problem::passing(Reason::GcPodPending, message))
}

#[cfg(test)]
mod tests {
    use engine::GcStage;
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::{gc_job, gc_summary};

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "orders-gc-1"}, "status": status})).unwrap()
    }

    fn ended(minute: u32, exit_code: i32, message: &str) -> Pod {
        let at = format!("2026-11-23T08:{minute:02}:00Z");
        let reason = if exit_code == 137 { "OOMKilled" } else { "Error" };
        let state = json!({"terminated": {"exitCode": exit_code, "finishedAt": at, "message": message, "reason": reason}});
        pod(&json!({"containerStatuses": [{"name": "gc", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}))
    }

    fn waiting(reason: &str, message: &str) -> Pod {
        let state = json!({"waiting": {"reason": reason, "message": message}});
        pod(&json!({"containerStatuses": [{"name": "gc", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}))
    }

    fn problem(end: &JobEnd, pods: &[Pod]) -> (Reason, String) {
        let problem = report(&gc_job(), end, pods).unwrap_err();
        (problem.reason, problem.message)
    }

    #[test]
    fn the_newest_word_of_a_run_counts() {
        let summary = gc_summary(GcStage::Clean, None);
        let (first, second) = (
            ended(1, 1, &GcOutcome::stopped("away".to_owned()).to_message()),
            ended(5, 0, &GcOutcome::Report(summary.clone()).to_message()),
        );
        assert_eq!(report(&gc_job(), &JobEnd::Succeeded, &[second, first]), Ok(summary));
    }

    #[test]
    fn a_run_that_failed_tells_why_and_what_to_do() {
        let failed = JobEnd::Failed { message: "BackoffLimitExceeded".to_owned() };
        let said = ended(1, 1, &GcOutcome::stopped("a.db keeps files here, but cannot be read".to_owned()).to_message());
        let told = |end: &JobEnd, pods: &[Pod], reason: Reason, words: &[&str]| {
            let (found, message) = problem(end, pods);
            assert_eq!(found, reason);
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        };
        told(&failed, &[said], Reason::GcStopped, &["a.db keeps files here", "kubectl logs job/orders-gc"]);
        told(&failed, &[ended(1, 137, "")], Reason::GcFailed, &["137", "gcJob.resources.limits.memory"]);
        told(&failed, &[ended(1, 101, "panicked")], Reason::GcFailed, &["exit code 101"]);
        told(&failed, &[], Reason::GcFailed, &["BackoffLimitExceeded"]);
        told(&JobEnd::TooSlow, &[], Reason::GcDeadlineExceeded, &["gcJob.activeDeadlineSeconds"]);
        told(&JobEnd::Succeeded, &[], Reason::GcReportMissing, &["its Pod was deleted"]);
    }

    #[test]
    fn a_pod_that_does_not_start_tells_why_and_one_on_its_way_does_not() {
        let unscheduled = pod(&json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]}));
        for (pods, reason, words) in [
            (vec![], Reason::GcPodRefused, "kubectl describe job orders-gc"),
            (vec![waiting("ImagePullBackOff", "no such image")], Reason::GcImageMissing, "no such image"),
            (vec![waiting("CreateContainerConfigError", "secret not found")], Reason::GcPodPending, "secret not found"),
            (vec![unscheduled], Reason::GcPodPending, "0/1 nodes"),
        ] {
            let problem = hindrance(&gc_job(), &pods).unwrap();
            assert_eq!(problem.reason, reason);
            assert!(problem.message.contains(words), "{}", problem.message);
        }
        for pod in [waiting("ContainerCreating", ""), pod(&json!({"phase": "Running"}))] {
            assert_eq!(hindrance(&gc_job(), &[pod]), None);
        }
    }
}
