//! Who is told of what a role does: metrics always, profiles and the admin port where they are wanted.

use std::sync::Arc;

use engine::{HookSet, Hooks};

use super::admin::{self, Admin};
use super::logs::Levels;
use super::profile::{self, Io, Profile};

/// All of them.
pub(super) struct Observed {
    pub(super) work: Arc<api::Work>,
    pub(super) profile: Option<Arc<Profile>>,
    /// For the host and the stores.
    pub(super) hooks: HookSet,
    /// As long as it is kept.
    pub(super) admin: Option<Admin>,
}

impl Observed {
    pub(super) async fn begin(profile: profile::Arguments, admin: &admin::Arguments, levels: Levels) -> anyhow::Result<Self> {
        let (work, io) = (Arc::new(api::Work::default()), Arc::new(Io::default()));
        let profile = profile.begin(&io)?;
        let admin = admin.start(Arc::clone(&io), levels).await?;
        let told: [Arc<dyn Hooks>; 2] = [Arc::<api::Work>::clone(&work), io];
        let hooks = HookSet::new(told.into_iter().chain(profile.clone().map(|profile| profile as Arc<dyn Hooks>)));
        Ok(Self { work, profile, hooks, admin })
    }
}
