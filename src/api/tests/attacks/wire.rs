//! Attacks on all that is not SQL, as bytes on a socket: clients that behave would not send them.
//!
//! The attacker has the token of `apps/attacked`. The neighbour `apps/orders` has another one, and a secret that no answer may show.

use std::fmt::Write as _;

use engine::spawn_owned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::super::*;
use super::read;
use crate::tests::forwarding::Pod;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Attack {
    name: String,
    /// The lines of the head. A host, the attacker's token, the length of the body and the end of the connection are added where they are not
    /// spoken of.
    #[serde(default)]
    send: Vec<String>,
    #[serde(default)]
    body: String,
    /// Instead of both, all that is sent.
    #[serde(default)]
    bytes: String,
    status: u16,
    /// The last word of the problem's type; `ok`; or `bare` for a refusal before any route, without a body.
    is: String,
    /// How many replies come.
    #[serde(default = "one")]
    answers: usize,
    /// What must not be in any of them, in addition to the secret.
    #[serde(default)]
    hides: Option<String>,
}

fn one() -> usize {
    1
}

#[tokio::test]
async fn a_path_leads_nowhere_but_where_its_bytes_say() {
    run("paths.toml", Guard::Operator).await;
    run_through_another("paths.toml").await;
}

#[tokio::test]
async fn a_request_is_what_its_head_says_once_and_no_second_one() {
    run("headers.toml", Guard::Operator).await;
    run_through_another("headers.toml").await;
}

#[tokio::test]
async fn views_take_what_they_are_given_as_data_alone() {
    run("views.toml", Guard::Operator).await;
    run_through_another("views.toml").await;
}

#[tokio::test]
async fn pages_of_others_reach_nothing_in_dev() {
    run("pages.toml", dev(None)).await;
}

const SECRET: &str = "what-the-neighbour-keeps";

/// Both databases, and what serves them.
pub(super) struct Scene {
    pub(super) server: Server,
    host: &'static str,
    address: SocketAddr,
    stop: CancellationToken,
    _serving: AbortOnDropHandle<()>,
}

impl Scene {
    /// The attacked database takes two tokens.
    pub(super) async fn set(guard: Guard) -> Self {
        let is_dev = guard.is_dev();
        let (host_header, tokens) = if is_dev { ("localhost:8080", None) } else { ("api.example", Some(())) };
        let access = |names: &[&str]| match tokens {
            Some(()) => Access::Tokens(names.iter().map(|name| Grant::of(name, Permission::Write)).collect()),
            None => Access::Open,
        };
        let set = |config: DatabaseConfig, names: &[&str]| DatabaseConfig { access: access(names), own_service: !is_dev, ..config };
        let (host, store) = Server::host_with_database(|config| set(config, &["theirs"])).await;
        open(&host, set(config("attacked", &store.0), &["mine", "colleagues"])).await;
        let server = Server::of(host, guard, Some(store));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = spawn_owned(crate::serve(listener, None, server.api.clone(), stop.clone(), Duration::from_secs(5)));
        let scene = Self { server, host: host_header, address, stop, _serving: serving };
        scene.furnish().await;
        scene
    }

    async fn furnish(&self) {
        for (path, token, body) in [
            ("PUT /apps/orders/kv/secret", "theirs", SECRET),
            ("POST /apps/orders/files", "theirs", SECRET),
            ("PUT /apps/attacked/kv/k", "mine", "value"),
            ("POST /apps/attacked/docs/people", "mine", r#"{"_id": "ada", "age": 36}"#),
            ("POST /apps/attacked/files", "mine", "hello"),
        ] {
            let (method, path) = path.split_once(' ').unwrap();
            let reply = self.ask(method, path, token, body).await;
            assert!(reply.status.is_success(), "{path}: {}", reply.status);
        }
    }

    /// By somebody who behaves.
    pub(super) async fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> Reply {
        let token = format!("Bearer {token}");
        self.server.ask(method, path, &[("host", self.host), ("authorization", &token)], body.to_owned()).await
    }

    /// All of a database.
    pub(super) async fn content(&self, name: &str, token: &str) -> Vec<u8> {
        let reply = self.ask("GET", &format!("/apps/{name}/snapshot"), token, "").await;
        assert_eq!(reply.status, StatusCode::OK);
        reply.body
    }

    fn bytes(&self, attack: &Attack) -> Vec<u8> {
        if !attack.bytes.is_empty() {
            return latin(&attack.bytes);
        }
        let body = latin(&attack.body);
        let mut head = attack.send.join("\r\n") + "\r\n";
        let names = |name: &str| attack.send.iter().any(|line| line.to_ascii_lowercase().starts_with(name));
        for (header, value) in [("host", self.host), ("authorization", "Bearer mine"), ("connection", "close")] {
            if !names(header) {
                write!(head, "{header}: {value}\r\n").unwrap();
            }
        }
        if !names("content-length") && !names("transfer-encoding") {
            write!(head, "content-length: {}\r\n", body.len()).unwrap();
        }
        let mut bytes = latin(&head);
        bytes.extend(b"\r\n");
        bytes.extend(body);
        bytes
    }

    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that refuses the head does not read on.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
        let _ = read.await.expect("every answer ends");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Each character is a byte, and `{x*9}` is nine of `x`.
fn latin(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let repeated = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')).and_then(|(inner, after)| {
            let (part, count) = inner.split_once('*')?;
            Some((part, count.parse().ok()?, after))
        });
        if let Some((part, count, after)) = repeated {
            bytes.extend(latin(part).repeat(count));
            rest = after;
        } else {
            bytes.push(u8::try_from(u32::from(next)).expect("a character that is a byte"));
            rest = &rest[next.len_utf8()..];
        }
    }
    bytes
}

/// Status, word and number of the answers.
fn told(answer: &str) -> (u16, String, usize) {
    let answers = answer.matches("HTTP/1.1 ").count();
    let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
    let word = answer.split_once("https://buckethead.dev/problems/").and_then(|(_, rest)| rest.split('"').next());
    let word = word.unwrap_or(if (100..400).contains(&status) { "ok" } else { "bare" });
    (status, word.to_owned(), answers)
}

async fn run(file: &str, guard: Guard) {
    follow(file, Scene::set(guard).await).await;
}

/// The same, at a process that passes all of it on.
async fn run_through_another(file: &str) {
    let mut scene = Scene::set(Guard::Operator).await;
    let other = Pod::passing_on_to(scene.address).await;
    scene.address = other.address();
    follow(file, scene).await;
}

async fn follow(file: &str, scene: Scene) {
    let attacks: Vec<Attack> = read(file);
    let theirs = scene.content("orders", "theirs").await;
    let mut wrong = Vec::new();
    for attack in attacks {
        let before = scene.content("attacked", "mine").await;
        let answer = scene.send(&scene.bytes(&attack)).await;
        let told = told(&answer);
        let Attack { name, status, is, answers, hides, .. } = attack;
        if told != (status, is, answers) {
            wrong.push(format!("{name}: {told:?}: {}", answer.chars().take(600).collect::<String>()));
        }
        for hidden in [Some(SECRET.to_owned()), hides].into_iter().flatten() {
            if answer.to_ascii_lowercase().contains(&hidden) {
                wrong.push(format!("{name}: it shows {hidden}"));
            }
        }
        if status >= 400 {
            assert!(scene.content("attacked", "mine").await == before, "{name}: it was refused and changed something");
        }
        assert_eq!(scene.ask("GET", "/apps/attacked/kv/k", "mine", "").await.body, b"value", "{name}");
        assert_eq!(scene.ask("GET", "/apps/orders/kv/secret", "theirs", "").await.body, SECRET.as_bytes(), "{name}");
        assert!(scene.content("orders", "theirs").await == theirs, "{name}: the neighbour has changed");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    scene.stop.cancel();
}

#[test]
fn what_a_file_says_is_sent_byte_by_byte() {
    assert_eq!(latin("a\u{ff}{b*3}{ \"c\": 1}{\r\n*2}"), b"a\xffbbb{ \"c\": 1}\r\n\r\n");
    assert_eq!(told("HTTP/1.1 204 No Content\r\n\r\n"), (204, "ok".to_owned(), 1));
    assert_eq!(told(""), (0, "bare".to_owned(), 0));
}
