//! The document as a page: HTML and a style sheet, and nothing that has to be loaded or run. Pure.

mod notation;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use notation::{escaped, notation, prose};

const STYLE: &str = include_str!("page/style.css");

/// In the order in which they are shown.
const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

/// What a browser may do with the page: apply its style sheet, which is known by its hash.
pub(super) fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
}

/// The page of a document.
pub(super) fn of(document: &Value) -> String {
    Page { document, out: String::with_capacity(256 << 10) }.whole()
}

struct Page<'a> {
    document: &'a Value,
    out: String,
}

impl<'a> Page<'a> {
    fn whole(mut self) -> String {
        let info = &self.document["info"];
        let (title, version) = (escaped(word(&info["title"])), escaped(word(&info["version"])));
        self.put(&format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{title}: HTTP API</title><style>{STYLE}</style></head>\n<body>\n"
        ));
        self.contents();
        self.put(&format!("<main>\n<h1>{title} <small>{version}</small></h1>\n<p>{}</p>\n", prose(word(&info["description"]))));
        self.put("<p>The same for programs: <a href=\"/openapi.json\">openapi.json</a>, OpenAPI 3.1.</p>\n");
        for tag in list(&self.document["tags"]) {
            let name = word(&tag["name"]);
            self.put(&format!("<h2 id=\"{}\">{}</h2>\n<p>{}</p>\n", anchor(name), escaped(name), prose(word(&tag["description"]))));
            for (path, method, operation) in self.operations(name) {
                self.operation(path, method, operation);
            }
        }
        self.schemas();
        self.put("</main>\n</body></html>\n");
        self.out
    }

    fn put(&mut self, html: &str) {
        self.out.push_str(html);
    }

    /// Those of a tag, by their paths.
    fn operations(&self, tag: &str) -> Vec<(&'a str, &'static str, &'a Value)> {
        let mut found = Vec::new();
        for (path, item) in members(&self.document["paths"]) {
            for method in METHODS {
                let operation = &item[method];
                if list(&operation["tags"]).any(|of| of == tag) {
                    found.push((path, method, operation));
                }
            }
        }
        found.sort_by_key(|(path, ..)| *path);
        found
    }

    fn contents(&mut self) {
        self.put("<nav>\n");
        for tag in list(&self.document["tags"]) {
            let name = word(&tag["name"]);
            self.put(&format!("<p><a href=\"#{}\">{}</a></p>\n<ul>\n", anchor(name), escaped(name)));
            for (path, method, operation) in self.operations(name) {
                let id = escaped(word(&operation["operationId"]));
                let shown = path.strip_prefix("/{namespace}/{name}").map_or_else(|| path.to_owned(), |below| format!("…{below}"));
                let method = method.to_ascii_uppercase();
                self.put(&format!("<li><a href=\"#{id}\"><b>{method}</b> <span>{}</span></a></li>\n", escaped(&shown)));
            }
            self.put("</ul>\n");
        }
        self.put("<p><a href=\"#schemas\">Schemas</a></p>\n</nav>\n");
    }

    fn operation(&mut self, path: &str, method: &str, operation: &'a Value) {
        let id = escaped(word(&operation["operationId"]));
        self.put(&format!(
            "<section id=\"{id}\">\n<h3><a href=\"#{id}\"><b class=\"{method}\">{}</b> <code>{}</code></a></h3>\n<p>{}</p>\n",
            method.to_ascii_uppercase(),
            broken(path),
            prose(word(&operation["summary"]))
        ));
        if let Some(description) = operation["description"].as_str() {
            self.put(&format!("<p>{}</p>\n", prose(description)));
        }
        self.parameters(operation);
        self.body(&operation["requestBody"]);
        self.replies(operation);
        self.put("</section>\n");
    }

    fn parameters(&mut self, operation: &'a Value) {
        let parameters: Vec<_> = list(&operation["parameters"]).map(|parameter| self.resolved(parameter)).collect();
        if parameters.is_empty() {
            return;
        }
        self.put("<h4>Parameters</h4>\n<table>\n");
        for parameter in parameters {
            let name = escaped(word(&parameter["name"]));
            let place = word(&parameter["in"]);
            let needed = if parameter["required"] == true { "" } else { ", optional" };
            let row = [
                format!("<code>{name}</code><br><small>{place}{needed}</small>"),
                notation(&parameter["schema"]),
                prose(word(&parameter["description"])),
            ];
            self.row(&row);
        }
        self.put("</table>\n");
    }

    fn body(&mut self, body: &'a Value) {
        if body.is_null() {
            return;
        }
        let needed = if body["required"] == true { "" } else { " <small>optional</small>" };
        self.put(&format!("<h4>Body{needed}</h4>\n<table>\n"));
        for (media, content) in members(&body["content"]) {
            let example = &content["example"];
            let example = match example {
                Value::Null => String::new(),
                Value::String(text) => format!("<pre>{}</pre>", escaped(text)),
                example => format!("<pre>{}</pre>", escaped(&example.to_string())),
            };
            self.row(&[format!("<code>{}</code>", broken(media)), notation(&content["schema"]), example]);
        }
        self.put("</table>\n");
    }

    fn replies(&mut self, operation: &'a Value) {
        let replies: Vec<_> = members(&operation["responses"]).map(|(status, reply)| (status, self.resolved(reply))).collect();
        let (done, failed): (Vec<_>, Vec<_>) = replies.into_iter().partition(|(status, _)| *status < "400");
        self.put("<h4>Replies</h4>\n<table>\n");
        for (status, reply) in done {
            self.reply(status, reply);
        }
        self.put("</table>\n<details><summary>Failures</summary>\n<table>\n");
        for (status, reply) in failed {
            self.reply(status, reply);
        }
        self.put("</table>\n</details>\n");
    }

    fn reply(&mut self, status: &str, reply: &'a Value) {
        let mut content = String::new();
        for (media, of) in members(&reply["content"]) {
            // Of a failure its words tell more than how they are narrowed down.
            let schema = of["schema"].get("allOf").map_or(&of["schema"], |parts| &parts[0]);
            let _ = write!(content, "<p><code>{}</code> {}</p>", broken(media), notation(schema));
        }
        let headers: Vec<_> = members(&reply["headers"]).map(|(name, _)| format!("<code>{}</code>", escaped(name))).collect();
        let told = format!("{}<p><small>Headers: {}</small></p>", prose(word(&reply["description"])), headers.join(", "));
        self.row(&[format!("<code>{status}</code>"), content, told]);
    }

    fn schemas(&mut self) {
        self.put("<h2 id=\"schemas\">Schemas</h2>\n<p><code>?</code> marks members that may be left out.</p>\n");
        let mut schemas: Vec<_> = members(&self.document["components"]["schemas"]).collect();
        schemas.sort_by_key(|(name, _)| *name);
        for (name, schema) in schemas {
            let name = escaped(name);
            self.put(&format!("<section id=\"schema-{name}\">\n<h3><code>{name}</code></h3>\n"));
            if let Some(description) = schema["description"].as_str() {
                self.put(&format!("<p>{}</p>\n", prose(description)));
            }
            let properties = &schema["properties"];
            if properties.as_object().is_none_or(serde_json::Map::is_empty) {
                self.put(&format!("<p>{}</p>\n</section>\n", notation(schema)));
                continue;
            }
            self.put("<table>\n");
            for (member, of) in members(properties) {
                let mark = if list(&schema["required"]).any(|name| name == member) { "" } else { "?" };
                let row = [format!("<code>{}{mark}</code>", escaped(member)), notation(of), prose(word(&of["description"]))];
                self.row(&row);
            }
            self.put("</table>\n</section>\n");
        }
    }

    fn row(&mut self, cells: &[String; 3]) {
        let [first, second, third] = cells;
        self.put(&format!("<tr><td>{first}</td><td>{second}</td><td>{third}</td></tr>\n"));
    }

    /// What a reference names.
    fn resolved(&self, value: &'a Value) -> &'a Value {
        let place = value["$ref"].as_str().and_then(|place| place.strip_prefix('#'));
        place.and_then(|place| self.document.pointer(place)).unwrap_or(value)
    }
}

/// Where a long path or type may be broken.
fn broken(text: &str) -> String {
    escaped(text).replace('/', "/<wbr>")
}

/// What a heading is linked by.
fn anchor(name: &str) -> String {
    name.to_ascii_lowercase().replace(|character: char| !character.is_ascii_alphanumeric(), "-")
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}
