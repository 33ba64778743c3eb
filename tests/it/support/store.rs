//! Stores, and what lies in them, seen past `buckethead`.

use std::collections::BTreeMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::ByteStream;
use engine::BucketName;
use engine::bucket::embedded::{Dialect, EmbeddedOptions, EmbeddedStore, Fault, FaultEffect};
use serde::Deserialize;
use tempfile::TempDir;

use super::bench::BENCH;

/// An account of a store.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    pub(crate) endpoint: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    #[serde(default = "any_region")]
    pub(crate) region: String,
}

fn any_region() -> String {
    "auto".to_owned()
}

/// Which program answers as the store.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ServedBy {
    /// A real one.
    Minio,
    /// Ours, in this process, as strict as R2.
    EmbeddedAsR2,
}

/// A bucket of one test.
pub(crate) struct Place {
    pub(crate) account: Account,
    pub(crate) bucket: String,
    client: Client,
    embedded: Option<(EmbeddedStore, TempDir)>,
}

impl Place {
    pub(crate) async fn create(served_by: ServedBy, bucket: &str) -> Self {
        match served_by {
            ServedBy::Minio => Self::create_in(BENCH.facts.s3.clone(), bucket).await,
            ServedBy::EmbeddedAsR2 => {
                let (store, account, folder) = embedded_store(Dialect::R2).await;
                store.create_bucket(&BucketName::parse(bucket).unwrap()).await.unwrap();
                Self { embedded: Some((store, folder)), ..Self::of(account, bucket) }
            }
        }
    }

    pub(super) async fn create_in(account: Account, bucket: &str) -> Self {
        let place = Self::of(account, bucket);
        place.client.create_bucket().bucket(bucket).send().await.unwrap();
        place
    }

    /// A bucket that somebody else made, or nobody.
    pub(crate) fn of(account: Account, bucket: &str) -> Self {
        Self { client: client(&account), account, bucket: bucket.to_owned(), embedded: None }
    }

    /// How `buckethead`'s commands, and the seed, are told of it.
    pub(crate) fn settings(&self) -> [(&'static str, &str); 4] {
        [
            ("R2_ENDPOINT_URL", &self.account.endpoint),
            ("R2_BUCKET", &self.bucket),
            ("R2_ACCESS_KEY_ID", &self.account.access_key_id),
            ("R2_SECRET_ACCESS_KEY", &self.account.secret_access_key),
        ]
    }

    /// The same for AWS's own command line.
    pub(crate) fn settings_of_aws(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.account.endpoint),
            ("AWS_DEFAULT_REGION", &self.account.region),
            ("AWS_ACCESS_KEY_ID", &self.account.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", &self.account.secret_access_key),
        ]
    }

    /// From now on the store, which is ours, carries out writes whose condition does not hold.
    pub(crate) fn ignore_conditions(&self) {
        let (store, _) = self.embedded.as_ref().expect("the store is ours");
        store.faults().add(Fault::new(FaultEffect::IgnoreConditions));
    }

    /// The bytes of an object; `None` only if the store answers that it is not there.
    pub(crate) async fn find(&self, key: &str) -> Option<Vec<u8>> {
        match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(answer) => Some(answer.body.collect().await.unwrap().to_vec()),
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => None,
            Err(error) => panic!("GET {key}: {error:?}"),
        }
    }

    /// The ETag of an object that must be there, without its quotes.
    pub(crate) async fn etag(&self, key: &str) -> String {
        let answer = self.client.head_object().bucket(&self.bucket).key(key).send().await.unwrap();
        answer.e_tag().unwrap().trim_matches('"').to_owned()
    }

    /// The keys that begin so.
    pub(crate) async fn list(&self, prefix: &str) -> Vec<String> {
        let answer = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).send().await.unwrap();
        answer.contents().iter().map(|object| object.key().unwrap().to_owned()).collect()
    }

    /// All that lies there, each key with its ETag.
    pub(crate) async fn objects(&self) -> Vec<(String, String)> {
        let answer = self.client.list_objects_v2().bucket(&self.bucket).send().await.unwrap();
        assert_ne!(answer.is_truncated(), Some(true), "this is for small buckets");
        answer.contents().iter().map(|object| (object.key().unwrap().to_owned(), object.e_tag().unwrap().to_owned())).collect()
    }

    /// Deletes an object.
    pub(crate) async fn delete(&self, key: &str) {
        self.client.delete_object().bucket(&self.bucket).key(key).send().await.unwrap();
    }

    /// Writes whatever is there.
    pub(crate) async fn put(&self, key: &str, bytes: Vec<u8>) {
        self.put_with(key, bytes, BTreeMap::new()).await;
    }

    /// The same with metadata.
    pub(crate) async fn put_with(&self, key: &str, bytes: Vec<u8>, metadata: BTreeMap<String, String>) {
        let mut request = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(bytes));
        for (name, value) in metadata {
            request = request.metadata(name, value);
        }
        request.send().await.unwrap();
    }
}

/// A store in this process, with its account and the folder in which its objects lie.
pub(crate) async fn embedded_store(dialect: Dialect) -> (EmbeddedStore, Account, TempDir) {
    let folder = TempDir::new().unwrap();
    let (access_key_id, secret_access_key) = ("embedded".to_owned(), "embedded-secret".to_owned());
    let credentials = engine::bucket::s3::Credentials {
        access_key_id: access_key_id.clone(),
        secret_access_key: secret_access_key.clone(),
        session_token: None,
    };
    let options = EmbeddedOptions { root: folder.path().to_owned(), listen: ([127, 0, 0, 1], 0).into(), credentials, dialect };
    let store = EmbeddedStore::start(options).await.unwrap();
    let endpoint = store.endpoint().as_str().trim_end_matches('/').to_owned();
    (store, Account { endpoint, access_key_id, secret_access_key, region: any_region() }, folder)
}

fn client(account: &Account) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(&account.endpoint)
        .region(Region::new(account.region.clone()))
        .credentials_provider(Credentials::new(&account.access_key_id, &account.secret_access_key, None, None, "test"))
        .force_path_style(true)
        // R2 refuses the checksums that the SDK would send by itself.
        .request_checksum_calculation(aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(aws_sdk_s3::config::ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}
