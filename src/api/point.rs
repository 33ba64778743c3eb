//! `txid`, `at` and `X-Buckethead-At`: which state of a branch a request reads.

use axum::http::{HeaderMap, HeaderName, Uri};
use engine::{Point, WallTime};

use crate::error::Problem;
use crate::query;

/// The number of a state or a moment, for clients whose addresses are made by a library.
pub(crate) const AT: HeaderName = HeaderName::from_static("x-buckethead-at");

/// Takes `txid` and `at` out of a request's address, and looks at the header.
pub(crate) fn take(uri: &mut Uri, headers: &HeaderMap) -> Result<Point, Problem> {
    let [txid, at] = query::take_out(uri, ["txid", "at"])?;
    let txid = txid.map(|txid| number(&txid)).transpose()?;
    match (of(txid, at.as_deref())?, of_header(headers)?) {
        (point, Point::Newest) | (Point::Newest, point) => Ok(point),
        _ => Err(Problem::bad_request("`X-Buckethead-At`: the query string names a state as well: give one of them")),
    }
}

/// Refuses the header where nothing of the past is read.
pub(crate) fn none(headers: &HeaderMap, why: &str) -> Result<(), Problem> {
    if headers.contains_key(AT) { Err(Problem::bad_request(format!("`X-Buckethead-At`: {why}"))) } else { Ok(()) }
}

fn of_header(headers: &HeaderMap) -> Result<Point, Problem> {
    let mut values = headers.get_all(AT).iter();
    let Some(value) = values.next() else { return Ok(Point::Newest) };
    if values.next().is_some() {
        return Err(Problem::bad_request("`X-Buckethead-At` is given twice"));
    }
    let text = String::from_utf8_lossy(value.as_bytes());
    let (txid, moment) = (text.parse(), text.parse::<WallTime>());
    match (txid, moment) {
        (Ok(txid), _) if txid > 0 => Ok(Point::Txid(txid)),
        (_, Ok(at)) => Ok(Point::At(at)),
        _ => Err(Problem::bad_request(format!(
            "`X-Buckethead-At`: `{text}` is neither the number of a state, such as 1204, nor a moment, such as 2026-11-23T08:00:00Z"
        ))),
    }
}

/// The number of a state.
pub(crate) fn number(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::bad_request(format!("`txid`: `{text}` is no number of a state, such as 1204")))
}

/// The state that these name; the newest if neither is given.
pub(crate) fn of(txid: Option<u64>, at: Option<&str>) -> Result<Point, Problem> {
    match (txid, at) {
        (None, None) => Ok(Point::Newest),
        (Some(0), None) => Err(Problem::bad_request("`txid`: states are numbered from 1")),
        (Some(txid), None) => Ok(Point::Txid(txid)),
        (None, Some(at)) => match at.parse::<WallTime>() {
            Ok(at) => Ok(Point::At(at)),
            Err(_) => Err(Problem::bad_request(format!("`at`: `{at}` is no moment, such as 2026-11-23T08:00:00Z"))),
        },
        (Some(_), Some(_)) => Err(Problem::bad_request("`txid` and `at` both name a state: give one of them")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn point(query: &str, header: Option<&'static str>) -> Result<(Point, String), Problem> {
        let mut uri = format!("/a/b/sql?{query}").parse().unwrap();
        let headers = header.map(|at| (AT, HeaderValue::from_static(at))).into_iter().collect();
        take(&mut uri, &headers).map(|point| (point, uri.query().unwrap_or_default().to_owned()))
    }

    #[test]
    fn a_state_is_named_by_its_number_or_a_moment() {
        let moment = Point::At("2026-11-23T08:00:00Z".parse().unwrap());
        for (query, header, expected, left) in [
            ("", None, Point::Newest, ""),
            ("q=select%201&txid=12", None, Point::Txid(12), "q=select%201"),
            ("at=2026-11-23T08:00:00Z", None, moment, ""),
            ("at=2026-11-23T09:00:00%2B01:00&x=3", None, moment, "x=3"),
            ("q=txid", Some("12"), Point::Txid(12), "q=txid"),
            ("", Some("2026-11-23T08:00:00Z"), moment, ""),
        ] {
            assert_eq!(point(query, header), Ok((expected, left.to_owned())), "{query} {header:?}");
        }
    }

    #[test]
    fn what_names_none_is_refused_by_its_name() {
        for (query, header, named) in [
            ("txid=0", None, "`txid`"),
            ("txid=-1", None, "`txid`"),
            ("txid=", None, "`txid`"),
            ("at=yesterday", None, "`at`"),
            ("at=2026-11-23", None, "`at`"),
            ("txid=1&txid=1", None, "`txid`"),
            ("txid=1&at=2026-11-23T08:00:00Z", None, "give one"),
            ("txid=1", Some("1"), "give one"),
            ("", Some("0"), "`X-Buckethead-At`: `0`"),
            ("", Some("yesterday"), "`X-Buckethead-At`: `yesterday`"),
        ] {
            let problem = point(query, header).unwrap_err();
            assert!(problem.detail.contains(named), "{query}: {}", problem.detail);
        }
        let twice = [(AT, HeaderValue::from_static("1")), (AT, HeaderValue::from_static("1"))].into_iter().collect();
        assert!(of_header(&twice).unwrap_err().detail.contains("twice"));
    }
}
