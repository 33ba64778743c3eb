//! `/loglevel`: which lines are logged, told and changed while the process runs.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use controller::crd::Period;
use serde::{Deserialize, Serialize};

use super::is_for_us;
use crate::cli::logs::{Filter, Levels};

/// For whoever wants to be sure that a process does not log for ever what is wanted for a while.
const LONGEST: Duration = Duration::from_hours(24);

pub(super) fn routes(levels: Levels) -> Router {
    Router::new().route("/loglevel", get(tell).put(change)).with_state(levels)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// How long it is in force.
    r#for: Option<String>,
}

/// What is in force.
#[derive(Serialize)]
struct InForce {
    filter: String,
    /// When it passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// What comes then.
    #[serde(skip_serializing_if = "Option::is_none")]
    then: Option<String>,
}

type Answer = Result<Response, Response>;

async fn tell(headers: HeaderMap, State(levels): State<Levels>) -> Answer {
    is_for_us(&headers).map_err(IntoResponse::into_response)?;
    Ok(told(&levels))
}

async fn change(
    headers: HeaderMap,
    State(levels): State<Levels>,
    wish: Result<Query<Wish>, axum::extract::rejection::QueryRejection>,
    body: Bytes,
) -> Answer {
    is_for_us(&headers).map_err(IntoResponse::into_response)?;
    let Query(wish) = wish.map_err(|error| api::bad_request(error.body_text()))?;
    let text = str::from_utf8(&body).map_err(|_| api::bad_request("the body is no text: write a filter, as `info,engine=debug`"))?;
    let filter: Filter = text.parse().map_err(|error| api::bad_request(format!("the body is no filter: {error}")))?;
    let time = wish.r#for.as_deref().map(time).transpose().map_err(api::bad_request)?;
    // Also where the new filter lets it through no more.
    tracing::warn!(%filter, ?time, "the filter of the log is changed");
    match time {
        Some(time) => levels.set_for(filter, time),
        None => levels.set(filter),
    }
    Ok(told(&levels))
}

fn time(text: &str) -> Result<Duration, String> {
    let time = text.parse::<Period>().map_err(|error| format!("for: {error}"))?.as_duration();
    if (Duration::from_secs(1)..=LONGEST).contains(&time) { Ok(time) } else { Err(format!("for: `{text}` is not 1s to 24h")) }
}

fn told(levels: &Levels) -> Response {
    let told = levels.told();
    let (until, then) = told.then.map(|(until, then)| (until.to_string(), then.to_string())).unzip();
    (StatusCode::OK, [(header::CACHE_CONTROL, "no-store")], Json(InForce { filter: told.filter.to_string(), until, then })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_passes_within_a_day() {
        assert_eq!(time("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(time("24h"), Ok(LONGEST));
        for wrong in ["", "10", "-1s", "0s", "500ms", "25h", "for ever"] {
            let refused = time(wrong).unwrap_err();
            assert!(refused.starts_with("for: ") && refused.contains(&format!("`{wrong}`")), "{refused}");
        }
    }
}
