//! What the operator asks of the API server, and no more: the one table that its roles are made from.
//!
//! Owns: each right and why it is needed. The chart's files and `buckethead rbac` are printed from it; `tests/it/rights.rs` runs an operator that
//! has these rights alone, and finds each of them used.
//! Invariant: Secrets are read by name, so that the operator can neither list nor watch them.

use std::fmt::Write as _;

/// Where a right holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// In each namespace whose databases are served.
    Namespaces,
    /// In the cluster as a whole: these concern no namespace.
    Cluster,
    /// In the operator's own namespace.
    Own,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Namespaces, Self::Cluster, Self::Own];

    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Cluster => "cluster",
            Self::Own => "own",
        }
    }

    fn where_it_holds(self) -> &'static str {
        match self {
            Self::Namespaces => "in each namespace whose BucketDatabases are served",
            Self::Cluster => "in the cluster as a whole, for databases with `spec.api.auth: Kubernetes`",
            Self::Own => "in its own namespace",
        }
    }

    fn rights(self) -> &'static [Right] {
        match self {
            Self::Namespaces => &NAMESPACES,
            Self::Cluster => &CLUSTER,
            Self::Own => &OWN,
        }
    }
}

/// What may be done with one kind of object.
struct Right {
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
}

const NAMESPACES: [Right; 9] = [
    Right {
        group: "buckethead.dev",
        resource: "bucketdatabases",
        verbs: &["list", "watch", "patch"],
        why: "What is to be served. The finalizer is patched, which keeps a deleted one until its last flush.",
    },
    Right { group: "buckethead.dev", resource: "bucketdatabases/status", verbs: &["patch"], why: "How it stands." },
    Right {
        group: "",
        resource: "secrets",
        verbs: &["get", "create", "patch"],
        why: "Those that a database names, by name and never as a list; and the connection Secret, which is made.",
    },
    Right {
        group: "",
        resource: "services",
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
        why: "Of databases with `spec.api.service`. Watched by label; only what goes with a resource is changed or deleted.",
    },
    Right {
        group: "discovery.k8s.io",
        resource: "endpointslices",
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
        why: "Where those Services lead.",
    },
    Right {
        group: "events.k8s.io",
        resource: "events",
        verbs: &["create", "patch"],
        why: "What happened; one that is told again is patched.",
    },
    Right {
        group: "batch",
        resource: "jobs",
        verbs: &["list", "watch", "create", "delete"],
        why: "gc: a Job beside the database, and the one before makes room for it.",
    },
    Right {
        group: "",
        resource: "serviceaccounts",
        verbs: &["get", "create", "patch"],
        why: "The account of that Job. It is given no rights, so that those of `default` are not the Job's.",
    },
    Right { group: "", resource: "pods", verbs: &["list"], why: "The Pods of that Job, for its report and for why none starts." },
];

const CLUSTER: [Right; 2] = [
    Right { group: "authentication.k8s.io", resource: "tokenreviews", verbs: &["create"], why: "Whose a token is." },
    Right { group: "authorization.k8s.io", resource: "subjectaccessreviews", verbs: &["create"], why: "What its bearer may do." },
];

const OWN: [Right; 1] = [Right {
    group: "coordination.k8s.io",
    resource: "leases",
    verbs: &["get", "list", "watch", "create", "update", "delete"],
    why: "Which Pods of the operator live.",
}];

/// The rules of a role, as YAML.
pub fn rules(part: Part) -> String {
    let mut yaml = String::new();
    for Right { group, resource, verbs, why } in part.rights() {
        let group = if group.is_empty() { "''" } else { group };
        let verbs = verbs.join(", ");
        write!(yaml, "# {why}\n- apiGroups: [{group}]\n  resources: [{resource}]\n  verbs: [{verbs}]\n").expect("a String takes all of it");
    }
    yaml
}

/// The rules of all roles, as YAML, by where they hold.
pub fn all_rules() -> String {
    Part::ALL.map(|part| format!("# {}\n{}:\n{}", part.where_it_holds(), part.as_str(), rules(part))).join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_files_of_the_chart_hold_what_the_table_says() {
        for part in Part::ALL {
            let path = format!("{}/../../charts/buckethead/files/rights/{}.yaml", env!("CARGO_MANIFEST_DIR"), part.as_str());
            let stored = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(stored == rules(part), "{path} is out of date; renew it with: make rights");
        }
    }

    #[test]
    fn what_is_printed_reads_as_rules_by_where_they_hold() {
        let all: Value = serde_yaml::from_str(&all_rules()).unwrap();
        for part in Part::ALL {
            let alone: Value = serde_yaml::from_str(&rules(part)).unwrap();
            assert_eq!(alone, all[part.as_str()]);
            assert_eq!(alone.as_array().unwrap().len(), part.rights().len());
        }
        assert_eq!(all["namespaces"][2]["apiGroups"][0], "");
    }

    #[test]
    fn nothing_is_granted_by_a_wildcard_or_twice_and_no_secret_is_listed() {
        for part in Part::ALL {
            let mut kinds: Vec<_> = part.rights().iter().map(|right| (right.group, right.resource)).collect();
            kinds.sort_unstable();
            kinds.dedup();
            assert_eq!(kinds.len(), part.rights().len());
            for right in part.rights() {
                assert!(!right.resource.contains('*') && !right.verbs.contains(&"*"), "{}", right.resource);
            }
        }
        let secrets = NAMESPACES.iter().find(|right| right.resource == "secrets").unwrap();
        assert_eq!(secrets.verbs, ["get", "create", "patch"]);
    }
}
