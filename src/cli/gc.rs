//! `buckethead gc`: contents of files that no database uses any more.

mod report;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use engine::bucket::Bucket;
use engine::{DatabaseKey, FilesPrefix, GcOptions, GcOutcome, GcReport, OwnerKey, SystemClock};

use super::store::{self, SettingsError, Store, StoreArguments, wrong};
use super::{Output, logs};

/// Deletes files' contents that no database uses any more.
///
/// Twice: the first run marks what the newest state of no branch of no database names, and a later one deletes what is still unused. In between
/// lie the grace and the longest flush interval of the databases that keep files under the prefix. If one of them cannot be read, nothing is
/// marked or deleted. Contents that buckethead did not write, such as those of the Python package, are only counted.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    store: StoreArguments,
    /// What the keys of the contents begin with.
    #[arg(long, value_name = "PREFIX", default_value = FilesPrefix::DEFAULT)]
    prefix: String,
    /// A database that keeps files there, besides those that have a record beside the prefix; by default `BUCKETHEAD_KEY`.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Contents younger than this are skipped, and marked ones wait at least so long.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    grace_seconds: u32,
    /// Only tell what would be marked and deleted.
    #[arg(long)]
    dry_run: bool,
    /// Delete unused contents that buckethead did not write, too. A database that this run does not know may use them.
    #[arg(long)]
    include_unowned: bool,
    /// Goes on where the store does not honour conditions on writes, as with `spec.durability.unsafeSingleWriter`. A content that somebody puts
    /// again at the very moment at which it is about to be deleted may be lost then.
    #[arg(long)]
    unsafe_single_writer: bool,
    /// The KMS key that the list of marks is encrypted with.
    #[arg(long, value_name = "ID")]
    kms_key_id: Option<String>,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Write the counts, or why it stopped, into this file, too: at most 4 KiB of JSON, without names.
    #[arg(long, value_name = "FILE")]
    pub(super) termination_log: Option<PathBuf>,
}

const HELP: &str = "\
Environment: R2_BUCKET, R2_ENDPOINT_URL or R2_ACCOUNT_ID, R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY, BUCKETHEAD_KEY, or AWS_ACCESS_KEY_ID, \
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_ENDPOINT_URL, AWS_REGION. The names of what was marked and deleted go to standard error.

Exit codes: 0 done, also where marked contents have to wait; 1 stopped, standard error says why; 2 settings are missing or wrong.

Examples:
  buckethead gc --dry-run
  buckethead gc --bucket orders-data --endpoint http://minio.storage:9000 --output json
  buckethead gc --key apps/orders.db --prefix blobs/ --grace-seconds 3600";

/// Everything that a run needs.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    store: Store,
    options: Options,
    output: Output,
    termination_log: Option<PathBuf>,
}

#[derive(Debug, PartialEq)]
struct Options {
    prefix: FilesPrefix,
    key: OwnerKey,
    grace: Duration,
    dry_run: bool,
    include_unowned: bool,
    single_writer: bool,
}

impl Arguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let env = store::trimmed(env);
        let mut store = self.store.settings(&env)?;
        store.config.kms_key_id = self.kms_key_id;
        let key = self.key.or_else(|| env("BUCKETHEAD_KEY"));
        let options = Options {
            prefix: FilesPrefix::parse(&self.prefix).map_err(wrong)?,
            key: key.map(|key| DatabaseKey::parse(&key)).transpose().map_err(wrong)?.map_or(OwnerKey::Default, OwnerKey::Named),
            grace: Duration::from_secs(self.grace_seconds.into()),
            dry_run: self.dry_run,
            include_unowned: self.include_unowned,
            single_writer: self.unsafe_single_writer,
        };
        let (output, termination_log) = (self.output, self.termination_log);
        Ok(Settings { store, options, output, termination_log })
    }
}

/// Runs gc once.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    let Settings { store, options, output, termination_log } = settings;
    let (prefix, dry_run) = (options.prefix.clone(), options.dry_run);
    let collected = async {
        logs::start(logs::Format::Text, "info")?;
        collect(store.reach()?, options).await
    };
    let collected = collected.await;
    if let Some(path) = &termination_log {
        let outcome = match &collected {
            Ok(report) => GcOutcome::Report(report.summary(dry_run)),
            Err(error) => GcOutcome::stopped(format!("{error:#}")),
        };
        leave(path, &outcome);
    }
    let found = collected?;
    report::log_names(&prefix, &found, dry_run);
    let text = match output {
        Output::Text => report::in_words(&found, dry_run),
        Output::Json => serde_json::to_string(&found.summary(dry_run)).context("the report cannot be written down")? + "\n",
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

async fn collect(bucket: Arc<dyn Bucket>, options: Options) -> anyhow::Result<GcReport> {
    let Options { prefix, key, grace, dry_run, include_unowned, single_writer } = options;
    let largest_database = GcOptions::LARGEST_DATABASE;
    let options = GcOptions { prefix, key, grace, dry_run, include_unowned, single_writer, largest_database };
    let pool = super::shared::pool();
    engine::collect_garbage(bucket, options, pool, Arc::new(SystemClock)).await.context("gc stopped")
}

/// Leaves word of how it ended. Whoever waits for it finds nothing if that fails, and the log says why.
pub(super) fn leave(path: &Path, outcome: &GcOutcome) {
    if let Err(error) = std::fs::write(path, outcome.to_message()) {
        tracing::error!(path = %path.display(), %error, "the termination log was not written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use engine::bucket::s3::Credentials;
    use url::Url;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn settings(arguments: &[&str], env: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let line = Line::try_parse_from([&["gc"], arguments].concat()).unwrap();
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        line.arguments.settings(env)
    }

    fn keys(store: &Store) -> &Credentials {
        store.config.credentials.keys().unwrap()
    }

    const R2: [(&str, &str); 4] =
        [("R2_BUCKET", "orders-data"), ("R2_ACCOUNT_ID", "abc"), ("R2_ACCESS_KEY_ID", "id"), ("R2_SECRET_ACCESS_KEY", "secret")];

    #[test]
    fn the_environment_of_the_package_is_enough() {
        let found = settings(&[], &R2).unwrap();
        assert_eq!(found.store.bucket.as_str(), "orders-data");
        assert_eq!(found.store.config.endpoint.as_ref().map(Url::as_str), Some("https://abc.r2.cloudflarestorage.com/"));
        assert_eq!((found.store.config.region.as_str(), keys(&found.store).access_key_id.as_str()), ("auto", "id"));
        assert_eq!(found.options.key, OwnerKey::Default);
        assert_eq!((found.options.prefix.as_str(), found.options.grace), ("files/", Duration::from_mins(5)));
        let with_url = [&R2[..], &[("R2_ENDPOINT_URL", "http://minio:9000"), ("BUCKETHEAD_KEY", "a.db")]].concat();
        let found = settings(&[], &with_url).unwrap();
        assert_eq!(found.store.config.endpoint.as_ref().map(Url::as_str), Some("http://minio:9000/"));
        assert_eq!(found.options.key, OwnerKey::Named(DatabaseKey::parse("a.db").unwrap()));
    }

    #[test]
    fn what_is_missing_is_named_all_at_once() {
        let missing =
            ["R2_BUCKET (or --bucket)", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "R2_ENDPOINT_URL or R2_ACCOUNT_ID (or --endpoint)"];
        assert_eq!(settings(&[], &[]), Err(SettingsError::Missing(missing.to_vec())));
        assert_eq!(settings(&[], &[("R2_BUCKET", "")]), Err(SettingsError::Missing(missing.to_vec())));
        let half = [("R2_BUCKET", "orders-data"), ("R2_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
        assert_eq!(settings(&["--endpoint", "http://a"], &half), Err(SettingsError::Missing(vec!["R2_SECRET_ACCESS_KEY"])));
    }

    #[test]
    fn keys_of_aws_need_no_endpoint() {
        let aws =
            [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_SESSION_TOKEN", "t"), ("AWS_REGION", "eu-west-1")];
        let found = settings(&["--bucket", "orders-data"], &aws).unwrap();
        assert_eq!(keys(&found.store).session_token.as_deref(), Some("t"));
        assert_eq!((found.store.config.endpoint, found.store.config.region.as_str()), (None, "eu-west-1"));
    }

    #[test]
    fn of_two_families_that_of_the_package_comes_first_unless_somebody_says_otherwise() {
        let aws = [("AWS_ACCESS_KEY_ID", "aws\n"), ("AWS_SECRET_ACCESS_KEY", "secret\r\n")];
        let both = [&R2[..], &aws[..]].concat();
        let id = |arguments: &[&str], env| keys(&settings(arguments, env).unwrap().store).access_key_id.clone();
        assert_eq!((id(&[], &both), id(&["--prefer-aws"], &both), id(&["--prefer-aws"], &R2)), ("id".into(), "aws".into(), "id".into()));
        let half = [&R2[..], &aws[1..]].concat();
        assert_eq!(settings(&["--prefer-aws"], &half), Err(SettingsError::Missing(vec!["AWS_ACCESS_KEY_ID"])));
    }

    #[test]
    fn arguments_win_and_wrong_ones_are_told() {
        let values = ["--bucket", "other-data", "--key", "b.db", "--prefix", "blobs", "--grace-seconds", "7"];
        let arguments = [&values[..], &["--dry-run", "--include-unowned", "--unsafe-single-writer"]].concat();
        let found = settings(&arguments, &[&R2[..], &[("BUCKETHEAD_KEY", "a.db")]].concat()).unwrap();
        assert_eq!(found.store.bucket.as_str(), "other-data");
        let key = OwnerKey::Named(DatabaseKey::parse("b.db").unwrap());
        let prefix = FilesPrefix::parse("blobs/").unwrap();
        let grace = Duration::from_secs(7);
        assert_eq!(found.options, Options { prefix, key, grace, dry_run: true, include_unowned: true, single_writer: true });
        for wrong in [["--bucket", "B"], ["--key", "a.prev"], ["--prefix", "//"], ["--endpoint", "minio:9000"], ["--endpoint", "nonsense"]]
        {
            assert!(matches!(settings(&wrong, &R2), Err(SettingsError::Wrong(_))), "{wrong:?}");
        }
    }
}
