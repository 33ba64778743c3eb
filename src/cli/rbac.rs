//! `buckethead rbac`

use std::io::Write as _;

use controller::rights::{Part, all_rules, rules};

/// Prints the rights that the operator needs, as rules of roles in YAML; `charts/buckethead` makes its roles of them.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only those that hold there, as the list of rules of one role.
    #[arg(long, value_enum)]
    part: Option<Where>,
}

/// Where a right holds.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Where {
    /// In each namespace whose databases are served.
    Namespaces,
    /// In the cluster as a whole.
    Cluster,
    /// In the operator's own namespace.
    Own,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let yaml = match arguments.part {
        None => all_rules(),
        Some(Where::Namespaces) => rules(Part::Namespaces),
        Some(Where::Cluster) => rules(Part::Cluster),
        Some(Where::Own) => rules(Part::Own),
    };
    std::io::stdout().write_all(yaml.as_bytes())?;
    Ok(())
}
