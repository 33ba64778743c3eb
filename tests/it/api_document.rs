//! `docs/api.md` as a reader follows it: each command works and prints what the page shows, and every route of its table is called.
//!
//! A comment above a block says how it is read: `<!-- in a cluster -->` leaves it out, `<!-- refused -->` means that the server refuses its
//! last command. What a JSON block shows is the end of what the block of commands before it prints.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{Dev, blocks, document};

/// Where the page says that the server is.
const SHOWN: &str = "http://127.0.0.1:8080";
/// The database of its examples.
const BASE: &str = "/default/quickstart";
/// What `curl` exits with where the server refuses.
const REFUSED: i32 = 22;
/// Members whose values nobody can know beforehand: times, sizes, ids. That they are there, and of which type, counts all the same.
const CHANGING: [&str; 20] = [
    "_id",
    "created_at",
    "duration_ms",
    "durable_time",
    "etag",
    "expires_at",
    "id",
    "ids",
    "last_modified",
    "next",
    "past",
    "replaced",
    "request_id",
    "size",
    "time",
    "time_ms",
    "query_duration_ms",
    "took_ms",
    "txid",
    "url",
];

#[tokio::test]
async fn each_command_works_and_prints_what_is_shown_and_every_route_is_called() {
    let page = document("docs/api.md");
    let mut reader = Reader::start().await;
    let mut printed = None;
    for block in blocks(&page) {
        let mark = block.mark.as_deref();
        match block.language.as_str() {
            "sh" if mark == Some("in a cluster") => {}
            "sh" => printed = Some(reader.follow(&block.text, mark == Some("refused")).await),
            "json" => {
                let printed = printed.take().expect("each JSON block shows what the commands before it print");
                is_shown(&block.text, &printed);
            }
            other => panic!("nothing knows how to follow a block of {other:?}"),
        }
    }
    let routes = routes(&page);
    let called: BTreeSet<_> = reader.requests.iter().filter_map(|(method, url)| called(&routes, method, url)).collect();
    let missing: Vec<_> = routes.difference(&called).collect();
    assert!(missing.is_empty(), "no command of docs/api.md calls {missing:#?}");
}

/// Somebody with a shell and `curl`, and a server of their own.
struct Reader {
    dev: Dev,
    home: TempDir,
    /// The variables that the page sets.
    settings: String,
    /// Method and path of each request that was answered.
    requests: Vec<(String, String)>,
}

impl Reader {
    /// As `make run` starts the server.
    async fn start() -> Self {
        let home = TempDir::new().unwrap();
        let dev = Dev::start(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"), &home.path().join("data"), "standard").await;
        let curlrc = "silent\nshow-error\nfail-with-body\nnoproxy = \"*\"\nwrite-out = \"%{stderr}asked %{method} %{url_effective}\\n\"\n";
        std::fs::write(home.path().join(".curlrc"), curlrc).unwrap();
        Self { dev, home, settings: String::new(), requests: Vec::new() }
    }

    /// Types the commands of a block, one after the other. What they print.
    async fn follow(&mut self, block: &str, is_refused: bool) -> String {
        let mut printed = String::new();
        let mut commands = self.commands(block).await.into_iter().peekable();
        while let Some(command) = commands.next() {
            let expected = if is_refused && commands.peek().is_none() { REFUSED } else { 0 };
            printed += &self.run(&command, expected).await;
        }
        printed
    }

    /// The commands of a block, some of which have several lines.
    async fn commands(&self, block: &str) -> Vec<String> {
        let mut commands = Vec::new();
        let mut command = String::new();
        for line in block.replace(SHOWN, &self.dev.api).lines() {
            command += line;
            command += "\n";
            let is_whole = !line.ends_with('\\') && self.bash(&["-n", "-c", &command]).output().await.unwrap().status.success();
            if is_whole {
                commands.push(std::mem::take(&mut command));
            }
        }
        assert_eq!(command, "", "the command is not complete");
        commands
    }

    async fn run(&mut self, command: &str, expected: i32) -> String {
        let script = format!("set -o pipefail\n{}{command}", self.settings);
        let done = self.bash(&["-c", &script]).output().await.unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.code(), Some(expected), "{command}{out}\n{err}");
        for line in err.lines() {
            if let Some((method, url)) = line.strip_prefix("asked ").and_then(|request| request.split_once(' ')) {
                self.requests.push((method.to_owned(), url.strip_prefix(&self.dev.api).unwrap().to_owned()));
            }
        }
        let is_setting = command.split_once('=').is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_uppercase()));
        if is_setting {
            self.settings += command;
        }
        // A reply has no newline at its end.
        if out.is_empty() || out.ends_with('\n') { out.into_owned() } else { format!("{out}\n") }
    }

    fn bash(&self, arguments: &[&str]) -> Command {
        let mut bash = Command::new("bash");
        bash.args(arguments).current_dir(self.home.path()).env("CURL_HOME", self.home.path()).stdin(Stdio::null()).kill_on_drop(true);
        bash
    }
}

/// The end of what was printed is what is shown.
fn is_shown(shown: &str, printed: &str) {
    let read = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let shown: Vec<_> = shown.lines().map(read).collect();
    let lines: Vec<_> = printed.lines().collect();
    let skipped = lines.len().checked_sub(shown.len()).unwrap_or_else(|| panic!("more is shown than is printed: {printed}"));
    for (shown, line) in shown.iter().zip(&lines[skipped..]) {
        let found = read(line);
        if let Some(place) = difference(shown, &found, "") {
            panic!("they differ at {place}\n  shown: {shown}\nprinted: {found}");
        }
    }
}

/// Where two replies differ in more than what changes from one time to the next.
fn difference(shown: &Value, found: &Value, place: &str) -> Option<String> {
    match (shown, found) {
        (Value::Object(shown), Value::Object(found)) => {
            if !shown.keys().eq(found.keys()) {
                return Some(format!("{place}: the members"));
            }
            shown.iter().find_map(|(name, shown)| {
                let (found, place) = (&found[name], format!("{place}/{name}"));
                let is_alike = CHANGING.contains(&name.as_str()) && std::mem::discriminant(shown) == std::mem::discriminant(found);
                if is_alike { None } else { difference(shown, found, &place) }
            })
        }
        (Value::Array(shown), Value::Array(found)) => {
            if shown.len() != found.len() {
                return Some(format!("{place}: the number of elements"));
            }
            shown.iter().zip(found).enumerate().find_map(|(at, (shown, found))| difference(shown, found, &format!("{place}/{at}")))
        }
        _ => (shown != found).then(|| place.to_owned()),
    }
}

/// A route as the table has it: the method, and the path with its parameters.
type Route = (String, String);

/// Every route of the table.
fn routes(page: &str) -> BTreeSet<Route> {
    let rows = page.lines().skip_while(|line| !line.starts_with("| Route ")).skip(2).take_while(|line| line.starts_with('|'));
    let mut routes = BTreeSet::new();
    for row in rows {
        let cell = row.split('|').nth(1).unwrap();
        let mut methods = Vec::new();
        for code in cell.split('`').skip(1).step_by(2) {
            match code.split_once(' ') {
                None => methods.push(code),
                Some((method, path)) if path.starts_with(['/', '{']) => {
                    methods.push(method);
                    routes.extend(methods.drain(..).map(|method| (method.to_owned(), path.to_owned())));
                }
                // A header that chooses between two of one path.
                Some(_) => {}
            }
        }
        assert!(methods.is_empty(), "a method without a path: {row}");
    }
    routes
}

/// The route that a request belongs to: of those that fit the one that says most.
fn called(routes: &BTreeSet<Route>, method: &str, url: &str) -> Option<Route> {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let fits = |(its_method, its_path): &&Route| {
        let (template, parameters) = its_path.split_once('?').unwrap_or((its_path, ""));
        let asks = |name: &str| query.split('&').any(|parameter| parameter.starts_with(name));
        its_method == method && is_at(&template.replace("{base}", BASE), path) && parameters.split('&').all(asks)
    };
    let says = |(_, path): &&Route| (path.contains('?'), std::cmp::Reverse(path.matches('{').count()));
    routes.iter().filter(fits).max_by_key(says).cloned()
}

/// Whether a path is one of a template's. A key has slashes, other parameters have none.
fn is_at(template: &str, path: &str) -> bool {
    let (mut parts, mut segments) = (template.split('/'), path.split('/'));
    loop {
        match (parts.next(), segments.next()) {
            (None, None) => return true,
            (Some("{key}"), Some(segment)) => return !segment.is_empty(),
            (Some(part), Some(segment)) if part == segment || (part.starts_with('{') && !segment.is_empty()) => {}
            _ => return false,
        }
    }
}

#[test]
fn a_reply_of_another_shape_is_seen() {
    let differs = |shown: Value, found: Value| difference(&shown, &found, "");
    assert_eq!(differs(json!({"size": 1, "a": [1]}), json!({"size": 2, "a": [1]})), None);
    assert_eq!(differs(json!({"size": 1}), json!({"size": null})).as_deref(), Some("/size"));
    assert_eq!(differs(json!({"a": 1}), json!({"a": 2})).as_deref(), Some("/a"));
    assert_eq!(differs(json!({"a": 1}), json!({"a": 1, "b": 2})).as_deref(), Some(": the members"));
    assert_eq!(differs(json!({"a": [{"b": 1}]}), json!({"a": [{"b": 2}]})).as_deref(), Some("/a/0/b"));
}

#[test]
fn a_request_is_counted_for_the_route_that_says_most() {
    let routes = routes(&document("docs/api.md"));
    let of = |method: &str, url: &str| called(&routes, method, &format!("{BASE}{url}")).map(|(_, path)| path);
    assert_eq!(of("POST", "/docs/people/find").as_deref(), Some("{base}/docs/{collection}/find"));
    assert_eq!(of("GET", "/docs/people/ada").as_deref(), Some("{base}/docs/{collection}/{id}"));
    assert_eq!(of("GET", "/kv/user/123").as_deref(), Some("{base}/kv/{key}"));
    assert_eq!(of("GET", "/snapshot?txid=1").as_deref(), Some("{base}/snapshot?txid="));
    assert_eq!(of("GET", "/snapshot").as_deref(), Some("{base}/snapshot"));
    assert_eq!(of("GET", "/nothing"), None);
}
