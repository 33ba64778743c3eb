//! Requests for databases that are open in another process: passed on to it, and its answers back.
//!
//! Owns: whether a request is answered here or passed on, and what is told where that fails. Does not own: where a database is (`Peers`), who may
//! ask (the host looks at the token, which goes on as it came), nor what is told about requests that are answered here (`here`).
//! Invariants: bodies pass as they come, in both directions, and end when either end does; the host decides by the same target and names as we;
//! what may have been carried out is never called undone.

mod connect;
mod heads;
pub(crate) mod outcomes;
mod socket;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use engine::DatabaseName;
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prometheus_client::registry::Registry;

use crate::access::Peer;
use crate::error::{Kind, Problem};
use crate::peers::{Answers, Member, Peers};
use crate::serve::Stopping;
use crate::tls::Trust;
use crate::trace::TraceParent;
use crate::{Api, Shared, body, changes, here, hrana, observe, peers};
use connect::Connector;
use heads::Hops;
use outcomes::{Outcome, Outcomes};

/// How long a connection is kept that nobody uses: for less than its other end keeps it, so that no request meets its end.
const IDLE: Duration = Duration::from_secs(15);

/// How many headers an answer may have: those of a file are as many as whoever put it there wanted.
const HEADERS: usize = 256;

/// What passes requests on.
pub(crate) struct Forwarder {
    pub(crate) peers: Arc<dyn Peers>,
    client: Client<Connector, Body>,
    outcomes: Outcomes,
}

impl Forwarder {
    /// Adds its metric to `registry`.
    pub(crate) fn register(registry: &mut Registry, peers: Arc<dyn Peers>, trust: Trust) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_headers(HEADERS)
            .set_host(false)
            .build(Connector::trusting(trust));
        Self { peers, client, outcomes: Outcomes::register(registry) }
    }
}

/// Before all routes: the database whose host answers the request. `None` where there is one process alone, and for what is about no database.
pub(crate) fn enter<'a>(app: &'a Shared, request: &mut Request) -> Option<(&'a Arc<Forwarder>, DatabaseName)> {
    let forwarder = app.forwarder.as_ref()?;
    let extensions = request.extensions();
    if let Some(client) = heads::client(request.headers())
        && let Some(Peer(peer)) = extensions.get()
        && forwarder.peers.is_member(peer.ip().to_canonical())
    {
        request.extensions_mut().insert(Peer(SocketAddr::new(client, 0)));
    }
    // What is refused already is refused here.
    let is_refused = request.extensions().get::<Problem>().is_some();
    peers::named(request.uri()).filter(|_| !is_refused).map(|database| (forwarder, database))
}

/// By the host of the database, which may be this process.
pub(crate) async fn answer(api: Api, forwarder: &Forwarder, database: &DatabaseName, mut request: Request) -> Response {
    let hops = match Hops::of(request.headers()) {
        Ok(hops) => hops,
        Err(problem) => return refuse(api, request, problem).await,
    };
    match forwarder.peers.find(database, hops.origin()).await {
        Answers::Here(stay) => {
            request.extensions_mut().insert(here::ByHost);
            here::kept(route(api, request).await, stay, Arc::clone(&forwarder.peers))
        }
        Answers::Nobody { why } => refuse(api, request, why.problem()).await,
        Answers::At(member) => {
            let Some(hops) = hops.next().filter(|_| member.name != forwarder.peers.name()) else {
                forwarder.outcomes.count(Outcome::Looped);
                let detail = "the processes do not agree on which of them has the database; nothing was done, ask again";
                return refuse(api, request, Problem::new(Kind::NoHost, detail)).await;
            };
            forwarder.forward(api, database, &member, hops, request).await
        }
    }
}

/// By the routes of this process.
async fn route(mut api: Api, request: Request) -> Response {
    let Ok(response) = api.route(request).await;
    response
}

/// As a route refuses: with an id, in the shape that clients of the route read, counted and logged.
async fn refuse(api: Api, mut request: Request, problem: Problem) -> Response {
    request.extensions_mut().insert(problem);
    route(api, request).await
}

impl Forwarder {
    async fn forward(&self, api: Api, database: &DatabaseName, member: &Member, hops: Hops, request: Request) -> Response {
        let (mut head, body) = request.into_parts();
        // Both processes log it under one id.
        observe::identify(&mut head.headers);
        let socket = Socket::begin(&mut head);
        let client = head.extensions.get().map(|Peer(peer)| peer.ip().to_canonical());
        let span = api.app.spans.as_ref().map(|spans| {
            let parent = TraceParent::of(&head.headers);
            spans.passing_on(parent.as_ref(), &head.method, database, member.url.host_str().unwrap_or_default())
        });
        if let Some(span) = &span {
            span.pass_on(&mut head.headers);
        }
        let answer = self.ask(member, hops, client, &head, body, socket).await;
        if let Some(span) = span {
            match &answer {
                Ok(response) => span.answered(response.status(), None, None),
                Err(problem) => span.answered(problem.kind.status(), None, Some(problem.kind.row().1)),
            }
        }
        match answer {
            Ok(response) => response,
            Err(problem) => refuse(api, Request::from_parts(head, Body::empty()), problem).await,
        }
    }

    async fn ask(
        &self,
        member: &Member,
        hops: Hops,
        client: Option<IpAddr>,
        head: &Parts,
        body: Body,
        socket: Option<Socket>,
    ) -> Result<Response, Problem> {
        let Some((uri, mut headers)) = heads::outgoing(head, member, hops, client) else {
            tracing::error!(member = member.name, url = %member.url, "no request can be passed on to this URL");
            return Err(self.unreachable());
        };
        if socket.is_some() {
            heads::become_socket(&mut headers);
        }
        let mut asking = Request::new(body);
        *asking.method_mut() = head.method.clone();
        *asking.uri_mut() = uri;
        *asking.headers_mut() = headers;
        let mut response = self.client.request(asking).await.map_err(|error| self.failed(member, &error))?;
        let status = response.status();
        heads::incoming(response.headers_mut(), member, status.is_success());
        let is_socket = status == StatusCode::SWITCHING_PROTOCOLS;
        if is_socket {
            let Some(Socket { client, stopping }) = socket else {
                tracing::error!(member = member.name, "the host made a socket of what was none");
                return Err(self.broken());
            };
            stopping.run(socket::join(client, hyper::upgrade::on(&mut response)));
            heads::become_socket(response.headers_mut());
        }
        self.outcomes.count(Outcome::Forwarded);
        let response = response.map(|body| if is_socket { Body::empty() } else { Body::new(body) });
        Ok(changes::until_stop(response, head.extensions.get().map(Arc::clone)))
    }

    fn failed(&self, member: &Member, error: &Error) -> Problem {
        let causes = || std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
        if let Some(error) = causes().find_map(<dyn std::error::Error>::downcast_ref::<axum::Error>) {
            // It is the client that did not send what it began.
            self.outcomes.count(Outcome::Broken);
            return body::broken(error);
        }
        let told: &dyn std::error::Error = error;
        tracing::warn!(member = member.name, url = %member.url, error = told, "a request could not be passed on to its host");
        if error.is_connect() { self.unreachable() } else { self.broken() }
    }

    fn unreachable(&self) -> Problem {
        self.outcomes.count(Outcome::Unreachable);
        Problem::new(Kind::HostUnreachable, "the process that has the database cannot be reached; nothing was done, ask again")
    }

    fn broken(&self) -> Problem {
        self.outcomes.count(Outcome::Broken);
        let detail = "the connection to the process that has the database broke off; it is not known whether the request was carried out. Read before \
                      you send it again";
        Problem::new(Kind::HostLost, detail)
    }
}

/// A request that wants to become a socket, and can.
struct Socket {
    client: OnUpgrade,
    stopping: Arc<Stopping>,
}

impl Socket {
    fn begin(head: &mut Parts) -> Option<Self> {
        if head.method != Method::GET || !hrana::is_upgrade(&head.headers) {
            return None;
        }
        let stopping = Arc::clone(head.extensions.get()?);
        Some(Self { client: head.extensions.remove()?, stopping })
    }
}
