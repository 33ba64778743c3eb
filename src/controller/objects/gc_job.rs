//! The Job of one run of gc, and the service account that it has: values made from a resource, and read back. Pure.
//!
//! Owns: what a run may do in the cluster (nothing) and on its node (compute, and reach the network), and that its credentials are those of
//! the database's own Secret, by reference. Does not own: when it runs (`plan::gc`).
//! Invariant: a resource has one Job at most, since the name is made from it. Everything is cleaned up with the resource, which owns it.

use std::collections::BTreeMap;

use engine::{DatabaseConfig, WallTime};
use k8s_openapi::api::batch::v1::{
    Job as JobObject, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, EnvVarSource, KeyToPath, LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec,
    ResourceRequirements, SeccompProfile, SecretKeySelector, SecretVolumeSource, SecurityContext, ServiceAccount, Toleration, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::FIELD_MANAGER;
use crate::crd::BucketDatabase;
use crate::gc::{Place, Run};

/// How Jobs of gc are made: the same for all databases of an operator.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GcJobOptions {
    /// The image of this very operator.
    pub image: String,
    /// When nodes ask the registry for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<String>,
    /// Secrets that open the registry. They must be in the namespace of each database.
    #[serde(default)]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// What a run may use. It holds the largest database of the prefix in memory.
    #[serde(default)]
    pub resources: Option<ResourceRequirements>,
    /// Nodes that it may run on.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that it puts up with.
    #[serde(default)]
    pub tolerations: Vec<Toleration>,
    /// How long a run may take, with all its tries.
    #[serde(default = "hour")]
    pub active_deadline_seconds: i64,
    /// How long the Job, and with it the log, is kept.
    #[serde(default = "day")]
    pub ttl_seconds_after_finished: i32,
    /// How often a run that failed is tried again.
    #[serde(default = "twice")]
    pub backoff_limit: i32,
}

fn hour() -> i64 {
    3600
}

fn day() -> i32 {
    86_400
}

fn twice() -> i32 {
    2
}

/// What finds all Jobs of gc, and nothing else.
pub(crate) const SELECTOR: &str = "app.kubernetes.io/managed-by=buckethead,app.kubernetes.io/component=gc";
/// Where a run works; see [`Place`].
pub(crate) const PLACE: &str = "buckethead.dev/gc-place";
/// The name of the resource.
const DATABASE: &str = "buckethead.dev/database";
/// Which [`Run`] it is, as JSON.
const RUN: &str = "buckethead.dev/gc-run";
const CONTAINER: &str = "gc";
/// `buckethead gc` says so of settings that no other try mends.
const BAD_SETTINGS: i32 = 2;
const CA_FOLDER: &str = "/ca";
const CA_FILE: &str = "ca.crt";
/// The variables of either family of keys. Which of them are in the Secret is for the run to see.
const KEYS: [&str; 5] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY"];

/// The name of a resource's Job. Another resource of its name has another one: the Job of an earlier one may still be there.
fn job_name(resource: &BucketDatabase) -> String {
    let (mut name, uid) = (resource.name_any(), resource.uid().unwrap_or_default());
    // A Pod's label bears the name of its Job, and has 63 characters at most. Names of resources are ASCII.
    name.truncate(50);
    format!("{}-gc-{}", name.trim_end_matches('-'), hex::encode(&Sha256::digest(uid.as_bytes())[..4]))
}

/// The name of a resource's service account.
pub(crate) fn account_name(resource: &BucketDatabase) -> String {
    format!("{}-buckethead-gc", resource.name_any())
}

fn labels(resource: &BucketDatabase) -> BTreeMap<String, String> {
    let labels = [
        ("app.kubernetes.io/name", FIELD_MANAGER.to_owned()),
        ("app.kubernetes.io/component", CONTAINER.to_owned()),
        ("app.kubernetes.io/managed-by", FIELD_MANAGER.to_owned()),
        (DATABASE, resource.name_any()),
        (PLACE, Place::of(&resource.spec).as_str().to_owned()),
    ];
    labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn metadata(resource: &BucketDatabase, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: resource.namespace(),
        labels: Some(labels(resource)),
        owner_references: resource.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// An account without rights and without a token: otherwise a run would have that of the namespace's `default`.
pub(crate) fn account(resource: &BucketDatabase) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(resource, account_name(resource)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// The Job of a run.
pub(crate) fn job(resource: &BucketDatabase, config: &DatabaseConfig, run: &Run, options: &GcJobOptions) -> JobObject {
    let mut metadata = metadata(resource, job_name(resource));
    let run = serde_json::to_string(run).expect("a run is plain data");
    metadata.annotations = Some(BTreeMap::from([(RUN.to_owned(), run)]));
    JobObject {
        metadata,
        spec: Some(JobSpec {
            active_deadline_seconds: Some(options.active_deadline_seconds),
            backoff_limit: Some(options.backoff_limit),
            pod_failure_policy: Some(PodFailurePolicy {
                rules: vec![PodFailurePolicyRule {
                    action: "FailJob".to_owned(),
                    on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                        container_name: Some(CONTAINER.to_owned()),
                        operator: "In".to_owned(),
                        values: vec![BAD_SETTINGS],
                    }),
                    on_pod_conditions: None,
                }],
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels(resource)), ..ObjectMeta::default() }),
                spec: Some(pod(resource, config, options)),
            },
            ttl_seconds_after_finished: Some(options.ttl_seconds_after_finished),
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn pod(resource: &BucketDatabase, config: &DatabaseConfig, options: &GcJobOptions) -> PodSpec {
    let ca = resource.spec.endpoint_tls.as_ref().map(|tls| Volume {
        name: "ca".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(tls.ca_ref.name.clone()),
            items: Some(vec![KeyToPath { key: tls.ca_ref.key.clone(), path: CA_FILE.to_owned(), mode: None }]),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    });
    let mounts = ca.as_ref().map(|volume| {
        let mount =
            VolumeMount { name: volume.name.clone(), mount_path: CA_FOLDER.to_owned(), read_only: Some(true), ..VolumeMount::default() };
        vec![mount]
    });
    PodSpec {
        automount_service_account_token: Some(false),
        containers: vec![Container {
            name: CONTAINER.to_owned(),
            image: Some(options.image.clone()),
            image_pull_policy: options.image_pull_policy.clone(),
            args: Some(arguments(resource, config)),
            env: Some(environment(resource)),
            resources: options.resources.clone(),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
                read_only_root_filesystem: Some(true),
                ..SecurityContext::default()
            }),
            volume_mounts: mounts,
            ..Container::default()
        }],
        enable_service_links: Some(false),
        image_pull_secrets: some(options.image_pull_secrets.clone()),
        node_selector: Some(options.node_selector.clone()).filter(|selector| !selector.is_empty()),
        restart_policy: Some("Never".to_owned()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
            ..PodSecurityContext::default()
        }),
        service_account_name: Some(account_name(resource)),
        // A run may end after any request.
        termination_grace_period_seconds: Some(5),
        tolerations: some(options.tolerations.clone()),
        volumes: ca.map(|volume| vec![volume]),
        ..PodSpec::default()
    }
}

fn some<T>(items: Vec<T>) -> Option<Vec<T>> {
    Some(items).filter(|items| !items.is_empty())
}

fn arguments(resource: &BucketDatabase, config: &DatabaseConfig) -> Vec<String> {
    let gc = &resource.spec.files.gc;
    let mut arguments = vec![
        "gc".to_owned(),
        format!("--bucket={}", config.location.bucket),
        format!("--region={}", config.store.region),
        format!("--prefix={}", config.files.prefix.as_str()),
        format!("--key={}", config.location.key),
        format!("--grace-seconds={}", gc.grace_seconds),
        "--prefer-aws".to_owned(),
        "--termination-log=/dev/termination-log".to_owned(),
    ];
    arguments.extend(config.store.endpoint.as_ref().map(|endpoint| format!("--endpoint={endpoint}")));
    arguments.extend(config.store.kms_key_id.as_ref().map(|id| format!("--kms-key-id={id}")));
    arguments.extend(resource.spec.endpoint_tls.as_ref().map(|_| format!("--ca-file={CA_FOLDER}/{CA_FILE}")));
    arguments.extend(gc.dry_run.then(|| "--dry-run".to_owned()));
    arguments.extend(gc.include_unowned.then(|| "--include-unowned".to_owned()));
    arguments.extend(config.single_writer.then(|| "--unsafe-single-writer".to_owned()));
    arguments
}

/// By reference: the values never pass through us, and a Secret that changes is the newest one at each run.
fn environment(resource: &BucketDatabase) -> Vec<EnvVar> {
    let Some(credentials) = &resource.spec.credentials else { return Vec::new() };
    let variable = |key: &str| EnvVar {
        name: key.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: credentials.secret_ref.name.clone(),
                key: key.to_owned(),
                optional: Some(true),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    KEYS.into_iter().map(variable).collect()
}

/// A Job of ours, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// Its name.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) namespace: String,
    /// Tells it from others of its name.
    pub(crate) uid: String,
    /// When it was made.
    pub(crate) created: WallTime,
    /// Which run it is.
    pub(crate) run: Run,
    /// How far it is.
    pub(crate) state: JobState,
}

/// How far a Job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobState {
    /// No Pod of it runs.
    Starting,
    /// One does.
    Running,
    /// It will not run again.
    Ended {
        /// How it ended.
        end: JobEnd,
        /// When.
        at: WallTime,
    },
}

/// How a Job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobEnd {
    /// A Pod of it came to its end.
    Succeeded,
    /// It reached its deadline.
    TooSlow,
    /// Its Pods failed too often, or in a way that no other try mends.
    Failed {
        /// In the words of the cluster.
        message: String,
    },
}

/// Reads a Job back; `None` if it is none of ours.
pub(crate) fn read(job: &JobObject) -> Option<Job> {
    let run = job.annotations().get(RUN)?;
    Some(Job {
        name: job.name_any(),
        namespace: job.namespace().unwrap_or_default(),
        uid: job.uid()?,
        created: job.creation_timestamp()?.0,
        run: serde_json::from_str(run).ok()?,
        state: state(job),
    })
}

/// The name of the resource that a Job belongs to, whether it is still there or not.
pub(crate) fn database_of(job: &JobObject) -> Option<engine::DatabaseName> {
    Some(engine::DatabaseName::new(job.namespace()?, job.labels().get(DATABASE)?.as_str()))
}

/// Where a Job works.
pub(crate) fn is_at(job: &JobObject, place: &Place) -> bool {
    job.labels().get(PLACE).is_some_and(|label| label == place.as_str())
}

fn state(job: &JobObject) -> JobState {
    let Some(status) = &job.status else { return JobState::Starting };
    let ended = status.conditions.iter().flatten().find_map(|condition| {
        let end = match (condition.type_.as_str(), condition.reason.as_deref()) {
            ("Complete", _) => JobEnd::Succeeded,
            ("Failed", Some("DeadlineExceeded")) => JobEnd::TooSlow,
            ("Failed", reason) => JobEnd::Failed { message: condition.message.clone().or(reason.map(str::to_owned)).unwrap_or_default() },
            _ => return None,
        };
        let at = condition.last_transition_time.as_ref().or(status.start_time.as_ref()).map_or(WallTime::UNIX_EPOCH, |time| time.0);
        (condition.status == "True").then_some(JobState::Ended { end, at })
    });
    let is_up = status.ready.unwrap_or_default() > 0;
    ended.unwrap_or(if is_up { JobState::Running } else { JobState::Starting })
}

#[cfg(test)]
mod tests;
