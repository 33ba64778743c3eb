//! `txid` and `at`: which state of a branch is meant.

use engine::{Point, WallTime};

use crate::error::Problem;
use crate::query::{self, Taken};

/// What is left of a query string besides these two.
pub(crate) struct Rest<'a> {
    pub(crate) point: Point,
    pub(crate) others: Vec<(std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>)>,
}

/// Takes `txid` and `at` out of a query string.
pub(crate) fn of_query(query: &str) -> Result<Rest<'_>, Problem> {
    let Taken { values: [txid, at], others } = query::take(query, ["txid", "at"])?;
    let txid = txid.map(|txid| number(&txid)).transpose()?;
    let others = others.into_iter().flat_map(|part| url::form_urlencoded::parse(part.as_bytes())).collect();
    Ok(Rest { point: of(txid, at.as_deref())?, others })
}

fn number(text: &str) -> Result<u64, Problem> {
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
    use super::*;

    fn point(query: &str) -> Result<Point, Problem> {
        of_query(query).map(|rest| rest.point)
    }

    #[test]
    fn a_state_is_named_by_its_number_or_a_moment() {
        assert_eq!(point(""), Ok(Point::Newest));
        assert_eq!(point("q=select%201&txid=12"), Ok(Point::Txid(12)));
        let moment = "2026-11-23T08:00:00Z".parse().unwrap();
        assert_eq!(point("at=2026-11-23T08:00:00Z"), Ok(Point::At(moment)));
        assert_eq!(point("at=2026-11-23T09:00:00%2B01:00"), Ok(Point::At(moment)));
        assert_eq!(of_query("q=1&txid=2&x=3").unwrap().others, [("q".into(), "1".into()), ("x".into(), "3".into())]);
    }

    #[test]
    fn what_names_none_is_refused_by_its_parameter() {
        for (query, named) in [
            ("txid=0", "`txid`"),
            ("txid=-1", "`txid`"),
            ("txid=", "`txid`"),
            ("at=yesterday", "`at`"),
            ("at=2026-11-23", "`at`"),
            ("txid=1&txid=1", "`txid`"),
            ("txid=1&at=2026-11-23T08:00:00Z", "give one"),
        ] {
            let problem = point(query).unwrap_err();
            assert!(problem.detail.contains(named), "{query}: {}", problem.detail);
        }
    }
}
