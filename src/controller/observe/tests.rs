#![allow(clippy::needless_pass_by_value, reason = "tests read better when their helpers take what they are given")]

use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{UID, resource};
use crate::scripted::{self, refusal};

const CREDENTIALS: &str = "/api/v1/namespaces/apps/secrets/orders-bucket";
const CONNECTION: &str = "/api/v1/namespaces/apps/secrets/orders-buckethead";

type Wanted = (Result<engine::DatabaseConfig, Problem>, Connection);

/// What is wanted, given what the server answers for each Secret in the order of reading.
async fn wanted_after(answers: &[(&str, u16, Value)]) -> Wanted {
    let (cluster, mut server) = scripted::cluster();
    let resource = resource(json!({}));
    let script = async {
        for (path, status, answer) in answers {
            server.expect(Method::GET, path, *status, answer.clone()).await;
        }
    };
    let (found, ()) = scripted::within(async { tokio::join!(wanted(&cluster, &resource), script) }).await;
    drop(cluster);
    server.finish().await;
    found
}

fn secret_of(data: Value, metadata: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
}

fn credentials() -> Value {
    secret_of(json!({"AWS_ACCESS_KEY_ID": "aWQ=", "AWS_SECRET_ACCESS_KEY": "a2V5"}), json!({}))
}

fn reason(wanted: &Wanted) -> Reason {
    wanted.0.as_ref().expect_err("something is wrong").reason
}

#[tokio::test(start_paused = true)]
async fn secrets_are_read_by_name_and_nothing_else_is_asked() {
    let owned = json!({"ownerReferences": [{"apiVersion": "v", "kind": "k", "name": "n", "uid": UID}]});
    let connection = secret_of(json!({"token": "dG9rZW4="}), owned);
    let (config, connection) = wanted_after(&[(CREDENTIALS, 200, credentials()), (CONNECTION, 200, connection)]).await;
    assert_eq!(config.unwrap().access, engine::Access::Tokens(vec![engine::TokenDigest::of("token")]));
    assert_eq!(connection, Connection::Stale { token: Some(Token::new("token")) }, "it lacks the url");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_not_there_is_missing_and_one_that_may_not_be_read_is_not() {
    let absent = (CONNECTION, 404, refusal(404, "NotFound"));
    let missing = wanted_after(&[(CREDENTIALS, 404, refusal(404, "NotFound")), absent]).await;
    assert_eq!(reason(&missing), Reason::CredentialsMissing);
    let forbidden = wanted_after(&[(CREDENTIALS, 403, refusal(403, "Forbidden"))]).await;
    assert_eq!((reason(&forbidden), forbidden.1), (Reason::ClusterRequestFailed, Connection::Unknown));
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_secret_of_that_name_stops_the_resource() {
    let foreign = (CONNECTION, 200, secret_of(json!({"token": "dG9rZW4="}), json!({})));
    assert_eq!(reason(&wanted_after(&[(CREDENTIALS, 200, credentials()), foreign]).await), Reason::ConnectionSecretTaken);
}
