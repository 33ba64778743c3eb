//! `POST sql` runs statements, `GET sql` reads.

mod answer;
mod request;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use engine::Point;

use crate::error::{Kind, Problem};
use crate::observe::{DURABLE_TXID, number};
use crate::point::Rest;
use crate::{Admitted, App, body, point, reply};

/// Runs the statements of the body.
pub(crate) async fn run(State(app): State<App>, admitted: Admitted, request: Request) -> Result<Response, Problem> {
    let (head, content) = request.into_parts();
    accepts_json(&head.headers)?;
    reply::no_query(head.uri.query())?;
    let form = Form::of(head.headers.get(header::CONTENT_TYPE))?;
    let content = body::read(&head.headers, content).await?;
    let asked = match form {
        Form::Json => request::from_json(&content)?,
        Form::Text => request::from_text(&content)?,
    };
    let started = app.clock.now();
    let response = admitted.handle.database.run(asked).await?;
    Ok(reply::json(answer::json(&response, app.clock.now() - started)))
}

/// Runs the statements of `?q=` on the newest version, or on a past state; they may not write.
pub(crate) async fn query(State(app): State<App>, admitted: Admitted, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    accepts_json(&headers)?;
    let Rest { point, others } = point::of_query(uri.query().unwrap_or_default())?;
    let asked = request::from_parameters(others)?;
    let started = app.clock.now();
    if point != Point::Newest {
        let past = app.host.past(&admitted.name, point).await.map_err(|error| Problem::from(&*error))?;
        let response = past.memory.read(asked, &admitted.handle.database.limits()).await.map_err(engine::Error::from)?;
        let mut reply = reply::json(answer::json(&response, app.clock.now() - started));
        reply.headers_mut().insert(DURABLE_TXID, number(past.txid));
        return Ok(reply);
    }
    let response = admitted.handle.database.read(asked).await?;
    Ok(reply::json(answer::json(&response, app.clock.now() - started)))
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

/// Whether one of the ranges of `Accept` holds `application/json`. The most specific range decides, as HTTP says.
fn accepts_json(headers: &HeaderMap) -> Result<(), Problem> {
    let ranges = headers.get_all(header::ACCEPT).iter().flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let mut best: Option<(u8, bool)> = None;
    for range in ranges.map(str::trim).filter(|range| !range.is_empty()) {
        let mut parts = range.split(';').map(str::trim);
        let precision = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/json" => 3,
            "application/*" => 2,
            "*/*" => 1,
            // Names what we do not offer: it says nothing of JSON, but it is no empty wish either.
            _ => 0,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
        let wanted = precision > 0 && weight.is_ok_and(|weight| weight > 0.0);
        if best.is_none_or(|(known, _)| precision > known) {
            best = Some((precision, wanted));
        }
    }
    if best.is_none_or(|(_, wanted)| wanted) {
        return Ok(());
    }
    Err(Problem::new(Kind::NotAcceptable, "results are offered as application/json; accept that, or send no Accept"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(content_type: &'static str) -> Result<Form, Problem> {
        Form::of(Some(&HeaderValue::from_static(content_type)))
    }

    fn accepting(values: &[&'static str]) -> bool {
        accepts_json(&values.iter().map(|value| (header::ACCEPT, HeaderValue::from_static(value))).collect()).is_ok()
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

    #[test]
    fn json_is_given_to_whoever_does_not_refuse_it() {
        for values in [&[][..], &["*/*"], &["application/*"], &["text/html, application/json;q=0.1"], &["text/csv", "*/*;q=0.5"], &[""]] {
            assert!(accepting(values), "{values:?}");
        }
        for values in
            [&["text/csv"][..], &["application/json;q=0"], &["*/*, application/json;q=0"], &["application/x-ndjson"], &["*/*;q=x"]]
        {
            assert!(!accepting(values), "{values:?}");
        }
    }
}
