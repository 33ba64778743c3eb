//! How a database stands, for people: the page of one, and the table of many. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use controller::crd::{BranchStatus, BucketDatabase, BucketDatabaseStatus, ByteSize};
use engine::WallTime;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::gc;
use crate::cli::show;

/// Events that are shown.
const EVENTS: usize = 5;

/// All that is known of one.
pub(super) struct Page {
    pub(super) resource: BucketDatabase,
    /// The newest first, or why there are none.
    pub(super) events: Result<Vec<Event>, String>,
    /// What it tells of itself, or why it does not.
    pub(super) live: Result<Value, String>,
    pub(super) now: WallTime,
}

impl Page {
    pub(super) fn as_json(&self) -> Value {
        let mut told = brief(&self.resource);
        let error = |error: &String| json!({"error": error});
        told["status"] = json!(self.resource.status);
        told["live"] = self.live.as_ref().map_or_else(error, Clone::clone);
        told["events"] = self.events.as_ref().map_or_else(error, |events| json!(events.iter().map(event_as_json).collect::<Vec<_>>()));
        told
    }

    pub(super) fn in_words(&self) -> String {
        let none = BucketDatabaseStatus::default();
        let status = self.resource.status.as_ref().unwrap_or(&none);
        let mut text = format!("{} in {}: {}\n", self.resource.name_any(), self.resource.namespace().unwrap_or_default(), standing(status));
        for (name, told) in self.facts(status) {
            text += format!("  {name:<10} {told}").trim_end();
            text.push('\n');
        }
        if !status.branches.is_empty() {
            text += "\nBranches\n";
            text += &indented(&branches(status, self.now));
        }
        let wrong: Vec<_> = status.conditions.iter().filter(|condition| is_worth_a_look(condition)).collect();
        if !wrong.is_empty() {
            text += "\nConditions\n";
            text += &indented(&conditions(&wrong, self.now));
        }
        match &self.events {
            Ok(events) if events.is_empty() => {}
            Ok(events) => {
                text += "\nEvents\n";
                text += &indented(&table_of(events, self.now));
            }
            Err(error) => drop(write!(text, "\nEvents: {error}\n")),
        }
        text.trim_end().to_owned()
    }

    /// What it is, line by line; nothing of what is not known.
    fn facts(&self, status: &BucketDatabaseStatus) -> Vec<(&'static str, String)> {
        let spec = &self.resource.spec;
        let ago = |time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| format!("{} ago", age(self.now, time.0));
        let mut facts = vec![("bucket", format!("{}, key {}", spec.bucket, spec.key))];
        let mut tell = |name, told: Option<String>| facts.extend(told.map(|told| (name, told)));
        tell("url", status.url.clone());
        tell("host", status.host.clone().map(|host| status.epoch.map_or(host.clone(), |epoch| format!("{host}, epoch {epoch}"))));
        tell("branch", self.branch(status));
        tell("durable", Some(self.durable(status)));
        tell(
            "snapshot",
            status.last_snapshot.as_ref().map(|snapshot| format!("txid {}, {}, {}", snapshot.txid, snapshot.size, ago(&snapshot.time))),
        );
        tell(
            "verified",
            status.last_verified.as_ref().map(|verified| {
                let verdict = if verified.ok { "sound" } else { "NOT RESTORABLE" };
                format!("txid {}, {}: {verdict}", verified.txid, ago(&verified.time))
            }),
        );
        tell(
            "promotion",
            status.promotion.as_ref().map(|promotion| {
                let of = |name: &Option<String>| name.clone().unwrap_or_else(|| "?".to_owned());
                let phase = promotion.phase.map_or_else(String::new, |phase| format!(": {phase:?}"));
                let txid = promotion.txid.map_or_else(String::new, |txid| format!(" at txid {txid}"));
                let time = promotion.time.as_ref().map_or_else(String::new, |time| format!(", {}", ago(time)));
                let message =
                    promotion.message.as_ref().filter(|_| promotion.txid.is_none()).map_or_else(String::new, |said| format!("; {said}"));
                format!("{}, {} into {}{phase}{txid}{time}{message}", promotion.id, of(&promotion.from), of(&promotion.to))
            }),
        );
        if let Some(files) = &status.files {
            let size = files.size.as_ref().map_or_else(String::new, |size| format!(", {size}"));
            tell("files", files.count.map(|count| format!("{count}{size}")));
            let next = files.next_gc.as_ref().map_or_else(String::new, |next| format!("; next in {}", age(next.0, self.now)));
            tell("gc", files.last_gc.as_ref().map(|run| format!("{}, {}{next}", ago(&run.time), gc::in_words(run))));
        }
        facts
    }

    /// Which branch is served, and what it has: the database knows the present better than the resource.
    fn branch(&self, status: &BucketDatabaseStatus) -> Option<String> {
        let branch = status.branch.as_ref()?;
        let live = self.live.as_ref().ok().filter(|live| live["branch"] == **branch);
        let number = |name: &str| live.and_then(|live| live[name].as_u64());
        let txid = number("txid").or(status.txid).map_or_else(String::new, |txid| format!(", txid {txid}"));
        let size = number("size").map(ByteSize::from).or_else(|| status.size.clone()).map_or_else(String::new, |size| format!(", {size}"));
        let most = status.max_size.as_ref().map_or_else(String::new, |most| format!(" of {most}"));
        Some(format!("{branch}{txid}{size}{most}"))
    }

    /// How far the bucket is behind.
    fn durable(&self, status: &BucketDatabaseStatus) -> String {
        let told = |until: Option<WallTime>| until.map_or_else(|| "not known".to_owned(), |until| format!("everything until {until:.0}"));
        let Ok(live) = &self.live else {
            let why = self.live.as_ref().err().map_or("", String::as_str);
            return format!("{}; not asked now: {why}", told(status.durable_time.as_ref().map(|time| time.0)));
        };
        let until = live["durable_time"].as_str().and_then(|time| time.parse().ok());
        if live["pending"] == true {
            let behind = until.map_or_else(String::new, |until| format!(", {} behind", age(self.now, until)));
            format!("{}{behind}; later commits are on their way", told(until))
        } else {
            format!("all that is committed, as of txid {}", live["txid"])
        }
    }
}

/// A database in a list of them.
pub(super) fn brief(resource: &BucketDatabase) -> Value {
    let ready = resource.status.as_ref().and_then(|status| status.conditions.iter().find(|condition| condition.type_ == "Ready"));
    json!({
        "namespace": resource.namespace(), "name": resource.name_any(), "bucket": resource.spec.bucket, "key": resource.spec.key,
        "ready": ready.map(|ready| &ready.status), "reason": ready.map(|ready| &ready.reason), "message": ready.map(|ready| &ready.message),
    })
}

/// Many, a line each.
pub(super) fn table(found: &[BucketDatabase], with_namespace: bool, now: WallTime) -> String {
    let none = BucketDatabaseStatus::default();
    let rows = found.iter().map(|resource| {
        let status = resource.status.as_ref().unwrap_or(&none);
        let or_dash = |told: Option<String>| told.unwrap_or_else(|| "-".to_owned());
        let row = vec![
            resource.name_any(),
            standing(status),
            or_dash(status.branch.clone()),
            or_dash(status.txid.map(|txid| txid.to_string())),
            or_dash(status.size.as_ref().map(ToString::to_string)),
            or_dash(status.last_snapshot.as_ref().map(|snapshot| age(now, snapshot.time.0))),
            or_dash(
                status.last_verified.as_ref().map(|verified| if verified.ok { age(now, verified.time.0) } else { "FAILED".to_owned() }),
            ),
            or_dash(status.host.clone()),
        ];
        let namespace = with_namespace.then(|| resource.namespace().unwrap_or_default());
        namespace.into_iter().chain(row).collect()
    });
    let names = ["namespace", "name", "state", "branch", "txid", "size", "snapshot", "verified", "host"];
    show::table(&names[usize::from(!with_namespace)..], rows)
}

/// In a word, and why if it is not ready.
fn standing(status: &BucketDatabaseStatus) -> String {
    let is = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True");
    match (is("Ready"), is("Stalled"), status.conditions.iter().find(|condition| condition.type_ == "Ready")) {
        (_, Some(stalled), _) => format!("Stalled ({})", stalled.reason),
        (Some(_), None, _) => "Ready".to_owned(),
        (None, None, Some(ready)) => format!("not ready ({})", ready.reason),
        (None, None, None) => "nobody has looked at it".to_owned(),
    }
}

/// What is not as it is when all is well.
fn is_worth_a_look(condition: &Condition) -> bool {
    let is_well = match condition.type_.as_str() {
        "Reconciling" | "Stalled" => condition.status == "False",
        _ => condition.status == "True",
    };
    !is_well
}

fn conditions(found: &[&Condition], now: WallTime) -> String {
    let rows = found.iter().map(|condition| {
        let Condition { type_, status, reason, message, last_transition_time, .. } = condition;
        vec![type_.clone(), status.clone(), reason.clone(), age(now, last_transition_time.0), message.clone()]
    });
    show::table(&["type", "status", "reason", "since", "message"], rows)
}

fn table_of(events: &[Event], now: WallTime) -> String {
    let rows = events.iter().take(EVENTS).map(|event| {
        let when = time_of(event).map_or_else(|| "-".to_owned(), |time| age(now, time));
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![when, text(&event.type_), text(&event.reason), text(&event.message)]
    });
    show::table(&["age", "type", "reason", "message"], rows)
}

/// When it happened last.
pub(super) fn time_of(event: &Event) -> Option<WallTime> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    series.or(last).or_else(|| event.event_time.as_ref().map(|time| time.0))
}

fn event_as_json(event: &Event) -> Value {
    let time = time_of(event).map(|time| time.to_string());
    json!({"time": time, "type": event.type_, "reason": event.reason, "message": event.message})
}

/// The branches as a tree: each below the one that it was made from.
fn branches(status: &BucketDatabaseStatus, now: WallTime) -> String {
    let names: Vec<&str> = status.branches.iter().map(|branch| branch.name.as_str()).collect();
    let mut below: BTreeMap<Option<&str>, Vec<&BranchStatus>> = BTreeMap::new();
    for branch in &status.branches {
        // One whose parent is gone begins a tree of its own.
        let parent = branch.parent.as_deref().filter(|parent| names.contains(parent) && *parent != branch.name);
        below.entry(parent).or_default().push(branch);
    }
    let mut rows = Vec::new();
    grow(&below, None, "", &mut rows);
    let shown: Vec<&str> = rows.iter().map(|(_, branch)| branch.name.as_str()).collect();
    // Two that are each other's parents, as somebody else may have written it, hang on nothing.
    let lost: Vec<_> =
        status.branches.iter().filter(|branch| !shown.contains(&branch.name.as_str())).map(|branch| (String::new(), branch)).collect();
    let rows = rows.into_iter().chain(lost).map(|(twig, branch)| {
        let mark = if status.branch.as_deref() == Some(branch.name.as_str()) { "served" } else { "" };
        let or_nothing = |told: Option<String>| told.unwrap_or_default();
        vec![
            format!("{twig}{}", branch.name),
            or_nothing(branch.txid.map(|txid| txid.to_string())),
            or_nothing(branch.size.as_ref().map(ToString::to_string)),
            or_nothing(branch.last_modified.as_ref().map(|time| age(now, time.0))),
            mark.to_owned(),
        ]
    });
    show::table(&["name", "txid", "size", "snapshot", ""], rows)
}

fn grow<'a>(
    below: &BTreeMap<Option<&str>, Vec<&'a BranchStatus>>,
    of: Option<&str>,
    indent: &str,
    rows: &mut Vec<(String, &'a BranchStatus)>,
) {
    let twigs = below.get(&of).map(Vec::as_slice).unwrap_or_default();
    for (at, branch) in twigs.iter().enumerate() {
        let is_last = at + 1 == twigs.len();
        let (twig, deeper) = match (of, is_last) {
            (None, _) => ("", ""),
            (Some(_), false) => ("├─ ", "│  "),
            (Some(_), true) => ("└─ ", "   "),
        };
        rows.push((format!("{indent}{twig}"), branch));
        grow(below, Some(&branch.name), &format!("{indent}{deeper}"), rows);
    }
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |mut all, line| {
        writeln!(all, "  {line}").expect("a string takes all");
        all
    })
}

/// How long it is from one moment to a later one, in its largest unit, as kubectl says it.
fn age(later: WallTime, earlier: WallTime) -> String {
    let seconds = later.as_second().saturating_sub(earlier.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
