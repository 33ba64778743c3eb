//! `POST sql` runs statements, `GET sql` reads.

mod answer;
mod export;
mod format;
mod request;
mod style;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use engine::{Point, Stream, StreamLimits, spawn_owned};
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Kind, Problem};
use crate::observe::{DURABLE_TXID, number};
use crate::point::Rest;
use crate::{Admitted, App, Reading, body, point, reply};
use export::{Export, Part};
use format::Format;
use style::Style;

/// Runs the statements of the body. Those of whoever may only read run as reads do.
pub(crate) async fn run(State(app): State<App>, Reading(admitted): Reading, request: Request) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    let format = Format::of(&head.headers)?;
    let mut style = Style::default();
    for (name, value) in url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()) {
        if !style.take(&name, &value)? {
            return Err(Problem::bad_request(format!("query parameter `{name}` is unknown; there are `shape`, `ints` and `values`")));
        }
    }
    let form = Form::of(head.headers.get(header::CONTENT_TYPE))?;
    let content = body::read(&head.headers, content).await?;
    let asked = match form {
        Form::Json => request::from_json(&content)?,
        Form::Text => request::from_text(&content)?,
    };
    let Admitted { handle, caller, .. } = admitted;
    let database = handle.database;
    if format != Format::Json {
        let begin = if caller.read_only || asked.looks_like_reads() { "BEGIN" } else { "BEGIN IMMEDIATE" };
        let (export, parts) = Export::of(asked, format, style, begin)?;
        return parts.reply(format, send(database.stream(caller.read_only), export)).await;
    }
    let started = app.clock.now();
    let response = if caller.read_only { database.read(asked).await? } else { database.run(asked).await? };
    Ok(reply::json(answer::json(&response, app.clock.now() - started, style)))
}

/// Runs the statements of `?q=` on the newest version, or on a past state; they may not write.
pub(crate) async fn query(State(app): State<App>, admitted: Admitted, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let format = Format::of(&headers)?;
    let Rest { point, others } = point::of_query(uri.query().unwrap_or_default())?;
    let mut style = Style::default();
    let mut left = Vec::new();
    for (name, value) in others {
        if !style.take(&name, &value)? {
            left.push((name, value));
        }
    }
    let asked = request::from_parameters(left)?;
    let started = app.clock.now();
    let Admitted { name, handle, .. } = admitted;
    let database = handle.database;
    if point != Point::Newest {
        let past = app.host.past(&name, point).await.map_err(|error| Problem::from(&*error))?;
        let txid = past.txid;
        let mut reply = if format == Format::Json {
            let response = past.memory.read(asked, &database.limits()).await.map_err(engine::Error::from)?;
            reply::json(answer::json(&response, app.clock.now() - started, style))
        } else {
            let (export, parts) = Export::of(asked, format, style, "BEGIN")?;
            let limits = StreamLimits::of(database.limits());
            let work = spawn_owned(async move { past.memory.stream(true).run(export, &limits, || Ok(())).await.finish().await });
            parts.reply(format, work).await?
        };
        reply.headers_mut().insert(DURABLE_TXID, number(txid));
        return Ok(reply);
    }
    if format != Format::Json {
        let (export, parts) = Export::of(asked, format, style, "BEGIN")?;
        return parts.reply(format, send(database.stream(true), export)).await;
    }
    let response = database.read(asked).await?;
    Ok(reply::json(answer::json(&response, app.clock.now() - started, style)))
}

/// Runs an export beside the reply that it makes.
fn send(mut stream: Stream, export: Export) -> AbortOnDropHandle<()> {
    let limits = stream.limits();
    let parts = export.sender();
    spawn_owned(async move {
        match stream.run(export, &limits).await {
            Ok(export) => export.finish().await,
            // The database was not served, or was lost meanwhile.
            Err(error) => drop(parts.send(Part::Failed(error.into())).await),
        }
    })
}

/// How the statements are written down in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Text,
}

impl Form {
    /// By Content-Type. Without one, and with the one that curl sends by itself, the body is SQL.
    fn of(content_type: Option<&HeaderValue>) -> Result<Self, Problem> {
        let Some(value) = content_type else { return Ok(Self::Text) };
        let value = value.to_str().unwrap_or("(not text)");
        let mut parts = value.split(';').map(str::trim);
        let form = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/json" => Self::Json,
            "text/plain" | "application/x-www-form-urlencoded" => Self::Text,
            _ => return Err(unsupported(value)),
        };
        let charset = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("charset"));
        match charset.map(|(_, charset)| charset.trim_matches('"').to_ascii_lowercase()).as_deref() {
            None | Some("utf-8" | "us-ascii") => Ok(form),
            Some(_) => Err(unsupported(value)),
        }
    }
}

fn unsupported(value: &str) -> Problem {
    let detail = format!("Content-Type `{value}` is not understood; send application/json, or SQL as text/plain, in UTF-8");
    Problem::new(Kind::UnsupportedMediaType, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(content_type: &'static str) -> Result<Form, Problem> {
        Form::of(Some(&HeaderValue::from_static(content_type)))
    }

    #[test]
    fn a_body_without_a_type_and_one_from_plain_curl_are_sql() {
        assert_eq!(Form::of(None), Ok(Form::Text));
        assert_eq!(form("application/x-www-form-urlencoded"), Ok(Form::Text));
        assert_eq!(form("text/plain; charset=UTF-8"), Ok(Form::Text));
        assert_eq!(form("Application/JSON;charset=\"utf-8\""), Ok(Form::Json));
    }

    #[test]
    fn other_types_and_charsets_are_refused_by_name() {
        for value in ["application/xml", "text/plain; charset=latin1", "", "multipart/form-data; boundary=x"] {
            let problem = form(value).unwrap_err();
            assert_eq!(problem.kind, Kind::UnsupportedMediaType);
            assert!(problem.detail.contains(value), "{}", problem.detail);
        }
    }
}
