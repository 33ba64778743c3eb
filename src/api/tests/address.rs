//! Databases that have a Service of their own: the `Host` decides before the path.

use super::*;

const TOKEN: (&str, &str) = ("authorization", "Bearer secret");

/// `apps/orders` behind its own Service, opened by a token.
async fn behind_its_service() -> Server {
    served_as(DatabaseName::new("apps", "orders"), Guard::Operator, true).await
}

async fn served_as(name: DatabaseName, guard: Guard, own_service: bool) -> Server {
    let access = writers(&["secret"]);
    let (host, store) = Server::host_with_database(|config| DatabaseConfig { name, access, own_service, ..config }).await;
    Server::of(host, guard, Some(store))
}

impl Server {
    async fn ask_host(&self, host: &str, path: &str) -> Reply {
        self.ask("POST", path, &[("host", host), TOKEN], "select 1").await
    }
}

fn no_such_route() -> (u16, String) {
    (404, "no-such-route".to_owned())
}

#[tokio::test]
async fn a_database_is_at_the_root_of_its_own_service() {
    let server = behind_its_service().await;
    for host in ["orders.apps", "orders.apps:80", "orders.apps.svc", "ORDERS.apps.svc.cluster.local.:8080"] {
        assert_eq!(server.ask_host(host, "/sql").await.rows(), json!([[1]]), "{host}");
    }
    let reply = server.ask("GET", "http://orders.apps.svc/sql?q=select+1", &[TOKEN], "").await;
    assert_eq!(reply.rows(), json!([[1]]), "as HTTP/2 names the host");
    assert_eq!(
        server.ask_host("buckethead.system.svc", "/apps/orders/sql").await.rows(),
        json!([[1]]),
        "the operator's Service still has it"
    );
}

#[tokio::test]
async fn every_route_by_its_own_service_needs_the_token() {
    let server = behind_its_service().await;
    for (method, route) in ROUTES {
        for (token, is_admitted) in [(None, false), (Some("Bearer guess"), false), (Some("Bearer secret"), true)] {
            let token = token.map(|token| ("authorization", token));
            let headers: Vec<_> = [("host", "orders.apps.svc")].into_iter().chain(token).collect();
            let reply = server.ask(method, &format!("/{route}"), &headers, "select 1").await;
            assert_eq!(reply.status != StatusCode::UNAUTHORIZED, is_admitted, "{method} /{route} {token:?}");
        }
    }
}

#[tokio::test]
async fn nothing_else_is_reached_by_a_databases_own_service() {
    let server = behind_its_service().await;
    for path in ["/apps/orders/sql", "/apps/orders/", "//apps/orders/sql", "/other/database/sql", "/metrics", "/livez"] {
        let reply = server.ask("GET", path, &[("host", "orders.apps.svc"), TOKEN], "").await;
        assert_eq!(reply.problem(), no_such_route(), "{path}");
    }
}

#[tokio::test]
async fn a_database_without_a_service_is_not_named_by_a_host() {
    let server = served_as(DatabaseName::new("apps", "orders"), Guard::Operator, false).await;
    for host in ["orders.apps", "orders.apps.svc", "orders.apps.svc.cluster.local"] {
        assert_eq!(server.ask_host(host, "/sql").await.problem(), no_such_route(), "{host}");
        assert_eq!(server.ask_host(host, "/apps/orders/sql").await.rows(), json!([[1]]), "the path decides: {host}");
    }
}

#[tokio::test]
async fn hosts_that_contradict_each_other_leave_the_decision_to_the_path() {
    let server = behind_its_service().await;
    let twice = [("host", "orders.apps.svc"), ("host", "other.apps.svc"), TOKEN];
    assert_eq!(server.ask("POST", "/sql", &twice, "select 1").await.problem(), no_such_route());
    assert_eq!(server.ask("POST", "/apps/orders/sql", &twice, "select 1").await.rows(), json!([[1]]));
}

#[tokio::test]
async fn a_database_that_is_called_like_the_public_name_gets_no_requests_of_others() {
    let server = served_as(DatabaseName::new("example", "databases"), Guard::Operator, true).await;
    assert_eq!(server.ask_host("databases.example.svc", "/sql").await.rows(), json!([[1]]));
    for host in ["databases.example", "databases.example:443", "DATABASES.example."] {
        assert_eq!(server.ask_host(host, "/sql").await.problem(), no_such_route(), "{host}");
        assert_eq!(server.ask_host(host, "/example/databases/sql").await.rows(), json!([[1]]), "{host}");
    }
}

#[tokio::test]
async fn clients_of_its_own_service_are_told_paths_that_lead_there() {
    let server = behind_its_service().await;
    let host = ("host", "orders.apps.svc");
    let described = server.ask("GET", "/", &[host, TOKEN], "").await.json();
    assert_eq!((&described["name"], &described["links"]["sql"]), (&json!("orders"), &json!("/sql")));
    let put = server.ask("POST", "/files", &[host, TOKEN], "a content").await;
    let location = put.headers[header::LOCATION].to_str().unwrap().to_owned();
    let got = server.ask("GET", &location, &[host, TOKEN], "").await;
    assert_eq!(got.body, b"a content", "{location}");
}

#[tokio::test]
async fn a_url_without_room_for_its_database_is_refused() {
    let path = format!("/sql?q={}", "a".repeat(65_525));
    let reply = behind_its_service().await.ask("GET", &path, &[("host", "orders.apps.svc"), TOKEN], "").await;
    assert_eq!(reply.problem(), (400, "bad-request".to_owned()));
}

#[tokio::test]
async fn dev_refuses_the_names_of_services_like_any_foreign_host() {
    let server = served_as(DatabaseName::new("apps", "orders"), dev(None), true).await;
    for host in ["orders.apps", "orders.apps.svc", "orders.apps.svc:8080"] {
        for path in ["/sql", "/apps/orders/sql"] {
            assert_eq!(server.ask_host(host, path).await.problem(), (421, "foreign-host".to_owned()), "{host}{path}");
        }
    }
}

#[tokio::test]
async fn requests_by_a_service_are_counted_like_all_others() {
    let server = behind_its_service().await;
    server.ask_host("orders.apps.svc", "/sql").await.rows();
    let text = String::from_utf8(server.get("/metrics").await.body).unwrap();
    assert!(text.contains("route=\"/{namespace}/{name}/sql\",method=\"POST\",status=\"2xx\"} 1"), "{text}");
}
