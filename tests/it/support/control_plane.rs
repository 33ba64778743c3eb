//! An API server of one test's own, which it may stop, start, and rob of all that it knows.

use super::bench::{Cluster, Pipe, serve};
use super::cluster::Namespace;
use super::manifest::Resource;
use super::store::Place;

pub(crate) struct ControlPlane {
    cluster: &'static Cluster,
    pipe: Pipe,
}

impl ControlPlane {
    pub(crate) fn start() -> Self {
        let (cluster, pipe) = serve::<Cluster>(&["k8s"]);
        // Kept as long as the tests, as that of all of them is.
        let cluster: &Cluster = Box::leak(Box::new(cluster));
        cluster.install_definition();
        Self { cluster, pipe }
    }

    /// A namespace with the credentials for a place.
    pub(crate) async fn namespace(&self, name: &'static str, place: &Place) -> Namespace {
        let namespace = Namespace::create_in(self.cluster, name).await;
        namespace.apply(&Resource::credentials(&place.account)).await;
        namespace
    }

    /// Any spec is let in, as an older or newer definition may have done.
    pub(crate) async fn let_anything_in(&self) {
        let patch = r#"[{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec",
                         "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}]"#;
        let arguments = ["patch", "crd", "bucketdatabases.buckethead.dev", "--type=json", "--patch", patch];
        self.cluster.run("default", &arguments, "").await.unwrap();
    }

    /// Nobody answers any more, and what was connected is cut off.
    pub(crate) fn stop_server(&mut self) {
        self.pipe.order("stop-apiserver");
    }

    /// It answers again, as it did.
    pub(crate) fn start_server(&mut self) {
        self.pipe.order("start-apiserver");
    }

    /// What it knew is lost; our resource is defined anew.
    pub(crate) fn wipe(&mut self) {
        self.pipe.order("wipe");
        self.cluster.install_definition();
    }
}
