//! Who is told of what a role does: metrics always, profiles, the admin port and a collector where they are wanted.

use std::sync::Arc;

use engine::{HookSet, Hooks};

use super::admin::{self, Admin};
use super::environment;
use super::logs::Levels;
use super::profile::{self, Io, Profile};
use super::telemetry::{self, Telemetry};

/// All of them.
pub(super) struct Observed {
    pub(super) work: Arc<api::Work>,
    pub(super) profile: Option<Arc<Profile>>,
    /// For the host and the stores.
    pub(super) hooks: HookSet,
    /// As long as it is kept.
    pub(super) admin: Option<Admin>,
    pub(super) telemetry: Option<Telemetry>,
}

impl Observed {
    pub(super) async fn begin(
        profile: profile::Arguments,
        admin: &admin::Arguments,
        telemetry: &telemetry::Arguments,
        levels: Levels,
    ) -> anyhow::Result<Self> {
        let (work, io) = (Arc::new(api::Work::default()), Arc::new(Io::default()));
        let telemetry = telemetry.begin(environment)?;
        let profile = profile.begin(&io)?;
        let admin = admin.start(Arc::clone(&io), levels).await?;
        let told: [Arc<dyn Hooks>; 2] = [Arc::<api::Work>::clone(&work), io];
        let asked =
            profile.clone().map(|profile| profile as Arc<dyn Hooks>).into_iter().chain(telemetry.as_ref().and_then(Telemetry::hooks));
        let hooks = HookSet::new(told.into_iter().chain(asked));
        Ok(Self { work, profile, hooks, admin, telemetry })
    }
}
