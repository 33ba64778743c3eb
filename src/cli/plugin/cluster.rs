//! The cluster, as the user of `kubectl` reaches it, and the way to a database in it.
//!
//! Owns: which resource is meant, and by which Pod and token its database is asked. Does not own: bytes on the way (`forward.rs`).

use std::path::PathBuf;

use anyhow::Context as _;
use controller::crd::BucketDatabase;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use super::forward::{Forward, Listening};

/// Which cluster, and which namespace of it.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// The namespace; by default that of the context.
    #[arg(long, short, value_name = "NAME", global = true)]
    namespace: Option<String>,
    /// The context of the kubeconfig; by default the current one.
    #[arg(long, value_name = "NAME", global = true)]
    context: Option<String>,
    /// The kubeconfig; by default `KUBECONFIG`, or the one in the home directory.
    #[arg(long, value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    /// Certificates (PEM) of the authority that an operator with TLS has its certificate from, unless it is a public one.
    #[arg(long, value_name = "FILE", global = true)]
    server_ca_file: Option<PathBuf>,
}

/// A cluster.
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
    ca_file: Option<PathBuf>,
}

/// What a container of the operator listens at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) port: u16,
}

/// A Service, by the name that the cluster's DNS has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ServiceName {
    namespace: String,
    name: String,
}

impl Cluster {
    pub(super) async fn connect(arguments: Arguments) -> anyhow::Result<Self> {
        let Arguments { namespace, context, kubeconfig, server_ca_file } = arguments;
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let config = match kubeconfig {
            Some(path) => {
                let read = Kubeconfig::read_from(&path).with_context(|| format!("--kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(read, &options).await
            }
            None => Config::from_kubeconfig(&options).await,
        };
        let config = config.context("the kubeconfig names no cluster that can be reached")?;
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self { client: Client::try_from(config)?, namespace, ca_file: server_ca_file })
    }

    pub(super) fn databases(&self) -> Api<BucketDatabase> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The resource of this name.
    pub(super) async fn database(&self, name: &str) -> anyhow::Result<BucketDatabase> {
        let found = self.databases().get_opt(name).await.with_context(|| format!("reading bucketdatabase {name}"))?;
        found.with_context(|| {
            format!(
                "there is no bucketdatabase {name} in the namespace {}; `kubectl buckethead status` lists those that are",
                self.namespace
            )
        })
    }

    /// A way to a database, that lasts as long as what is returned.
    pub(super) async fn way(&self, name: &str) -> anyhow::Result<Way> {
        let resource = self.database(name).await?;
        let token = self.token(&resource).await?;
        Ok(Way { url: self.reach(&resource, None).await?, token })
    }

    /// Where a database is reached from here. `listen` is an address of ours, or else one that is free.
    pub(super) async fn reach(&self, resource: &BucketDatabase, listen: Option<std::net::SocketAddr>) -> anyhow::Result<Reached> {
        let name = resource.name_any();
        let status = resource.status.as_ref();
        let told = status.and_then(|status| status.url.as_deref()).with_context(|| not_served(resource))?;
        let url = Url::parse(told).with_context(|| format!("status.url of {name} is {told}"))?;
        let Some(service) = ServiceName::of(&url) else {
            // Whoever set `--public-url` made it reachable from outside.
            return Ok(Reached { url, _listening: None });
        };
        let behind = self.behind(service, &url, status.and_then(|status| status.host.clone()));
        // Whoever has no right to it, or finds nobody there, hears of it at once.
        behind.place().await?;
        let forward = Forward::new(behind, &url, self.ca_file.as_deref())?;
        let listening = Listening::begin(forward, listen).await?;
        let url = format!("http://{}/{}/{name}/", listening.address(), self.namespace);
        Ok(Reached { url: url.parse()?, _listening: Some(listening) })
    }

    /// The Pods behind the Service of a database, that which has it first.
    pub(super) async fn pods(&self, resource: &BucketDatabase) -> anyhow::Result<Vec<Place>> {
        let status = resource.status.as_ref();
        let told = status.and_then(|status| status.url.as_deref()).with_context(|| not_served(resource))?;
        let url = Url::parse(told)?;
        let service = ServiceName::of(&url).with_context(|| {
            format!("{told} is no Service of the cluster, so its Pods are not known: ask for them by the operator's labels")
        })?;
        self.behind(service, &url, status.and_then(|status| status.host.clone())).places().await
    }

    fn behind(&self, service: ServiceName, url: &Url, host: Option<String>) -> Behind {
        Behind { client: self.client.clone(), service, port: url.port_or_known_default(), host }
    }

    /// The token in the connection Secret. There is none where Kubernetes says who may ask.
    async fn token(&self, resource: &BucketDatabase) -> anyhow::Result<Option<String>> {
        let binding = resource.status.as_ref().and_then(|status| status.binding.as_ref()).with_context(|| not_served(resource))?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = secrets.get(&binding.name).await.with_context(|| format!("reading secret {}, which has the token", binding.name))?;
        let token = secret.data.and_then(|mut data| data.remove("token"));
        Ok(token.and_then(|token| String::from_utf8(token.0).ok()))
    }
}

/// The Pods behind a Service, as they are when somebody asks.
pub(super) struct Behind {
    client: Client,
    service: ServiceName,
    /// Of the Service.
    port: Option<u16>,
    /// The Pod that had the database when the resource was read.
    host: Option<String>,
}

impl Behind {
    /// A Pod that takes requests.
    pub(super) async fn place(&self) -> anyhow::Result<Place> {
        let ServiceName { namespace, name } = &self.service;
        self.places().await?.into_iter().next().with_context(|| format!("no Pod is ready behind the service {name} in {namespace}"))
    }

    /// All of them, that which has the database first.
    async fn places(&self) -> anyhow::Result<Vec<Place>> {
        let ServiceName { namespace, name } = &self.service;
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let found = services.get(name).await.with_context(|| format!("reading service {name} in {namespace}"))?;
        let asked = self.port.map(i32::from);
        let mut ports = found.spec.and_then(|spec| spec.ports).unwrap_or_default().into_iter();
        let none = || format!("service {name} in {namespace} has no port {}", asked.unwrap_or_default());
        let port = ports.find(|port| Some(port.port) == asked).with_context(none)?;
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
        let slices =
            slices.list(&of_service).await.with_context(|| format!("listing the endpointslices of service {name} in {namespace}"))?;
        let mut places: Vec<Place> = slices.iter().flat_map(|slice| ready(slice, port.name.as_deref())).collect();
        places.sort_by_key(|place| (Some(&place.pod) != self.host.as_ref(), place.pod.clone()));
        places.dedup();
        Ok(places)
    }

    /// A stream to that Pod.
    pub(super) async fn connect(&self) -> anyhow::Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
        let Place { namespace, pod, port } = self.place().await?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let begun = pods.portforward(&pod, &[port]).await;
        let mut streams = begun.with_context(|| format!("forwarding to pod {pod} in {namespace}"))?;
        streams.take_stream(port).context("the API server gave no stream")
    }
}

/// Why there is no way to it yet, in the words of its condition.
fn not_served(resource: &BucketDatabase) -> String {
    let conditions = resource.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    let why = ready.map_or_else(
        || "no operator has looked at it: is one running that watches its namespace?".to_owned(),
        |ready| format!("{}: {}", ready.reason, ready.message),
    );
    format!("{} is not served yet: {why}", resource.name_any())
}

impl ServiceName {
    /// Of a URL within the cluster.
    fn of(url: &Url) -> Option<Self> {
        let mut labels = url.host_str()?.split('.');
        match (labels.next(), labels.next(), labels.next()) {
            (Some(name), Some(namespace), Some("svc")) => Some(Self { namespace: namespace.to_owned(), name: name.to_owned() }),
            _ => None,
        }
    }
}

/// The Pods of a slice that take requests, at the port of this name.
fn ready(slice: &EndpointSlice, port: Option<&str>) -> Vec<Place> {
    // A port without a name is the only one.
    let is_it = |found: &&EndpointPort| found.name.as_deref().unwrap_or_default() == port.unwrap_or_default();
    let number = slice.ports.iter().flatten().find(is_it).and_then(|found| u16::try_from(found.port?).ok());
    let Some(number) = number else { return Vec::new() };
    let pods = slice.endpoints.iter().filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    let places = pods.filter_map(|endpoint| {
        let target = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"))?;
        let namespace = target.namespace.clone().or_else(|| slice.metadata.namespace.clone())?;
        Some(Place { namespace, pod: target.name.clone()?, port: number })
    });
    places.collect()
}

/// Where a database is reached, as long as this lives.
pub(super) struct Reached {
    pub(super) url: Url,
    _listening: Option<Listening>,
}

/// The same, with what its token is.
pub(super) struct Way {
    url: Reached,
    token: Option<String>,
}

impl Way {
    /// What commands find where the environment says which database is meant.
    pub(super) fn environment(&self) -> impl Fn(&str) -> Option<String> {
        |name| match name {
            "BUCKETHEAD_URL" => Some(self.url.url.to_string()),
            "BUCKETHEAD_TOKEN" => self.token.clone(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_names_within_the_cluster_are_services() {
        let service = |url: &str| ServiceName::of(&url.parse().unwrap()).map(|service| (service.namespace, service.name));
        let operator = Some(("storage".to_owned(), "buckethead".to_owned()));
        assert_eq!(service("http://buckethead.storage.svc/apps/orders/"), operator);
        assert_eq!(service("https://buckethead.storage.svc.cluster.local:8443/apps/orders/"), operator);
        assert_eq!(service("https://db.example.com/apps/orders/"), None);
        assert_eq!(service("http://127.0.0.1:8080/apps/orders/"), None);
    }

    #[test]
    fn pods_that_take_requests_are_found_by_the_name_of_the_port() {
        let pod = |name: &str, ready: bool| {
            json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready},
                   "targetRef": {"kind": "Pod", "name": name, "namespace": "storage"}})
        };
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "apps"}, "addressType": "IPv4",
            "ports": [{"name": "metrics", "port": 9090}, {"name": "http", "port": 8080}],
            "endpoints": [pod("one", true), pod("two", false), {"addresses": ["10.0.0.9"]}],
        }))
        .unwrap();
        let one = Place { namespace: "storage".to_owned(), pod: "one".to_owned(), port: 8080 };
        assert_eq!((ready(&slice, Some("http")), ready(&slice, Some("https"))), (vec![one], vec![]));
    }
}
