//! Which format a client accepts its results in.

use axum::http::{HeaderMap, header};

use crate::error::{Kind, Problem};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One document, made before anything is sent.
    Json,
    /// A line for each row, sent as they are read.
    Ndjson,
    /// A table, sent as it is read.
    Csv,
    /// The same with types, for programs.
    Arrow,
}

pub(super) const ARROW: &str = "application/vnd.apache.arrow.stream";

const OFFERED: [(&str, Format); 5] = [
    ("application/json", Format::Json),
    ("application/x-ndjson", Format::Ndjson),
    ("application/jsonl", Format::Ndjson),
    ("text/csv", Format::Csv),
    (ARROW, Format::Arrow),
];

impl Format {
    /// By `Accept`: the format of the greatest weight, and of those the first here. For each the most specific range decides, as HTTP says.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut accepted = headers.get_all(header::ACCEPT).iter();
        match (accepted.next(), accepted.next()) {
            (None, _) => return Ok(Self::Json),
            (Some(only), None) if only == "application/json" => return Ok(Self::Json),
            _ => {}
        }
        let ranges = headers.get_all(header::ACCEPT).iter().flat_map(|value| value.to_str().unwrap_or_default().split(','));
        let ranges: Vec<Range> = ranges.map(str::trim).filter(|range| !range.is_empty()).map(Range::parse).collect();
        if ranges.is_empty() {
            return Ok(Self::Json);
        }
        let mut best: Option<(f32, Self)> = None;
        for (name, format) in OFFERED {
            let fitting = ranges.iter().filter_map(|range| Some((range.precision(name)?, range.weight)));
            let weight =
                fitting.fold((0, 0.0), |known, (precision, weight)| if precision > known.0 { (precision, weight) } else { known }).1;
            if weight > best.map_or(0.0, |(weight, _)| weight) {
                best = Some((weight, format));
            }
        }
        best.map(|(_, format)| format).ok_or_else(|| {
            let detail = "results are offered as application/json, application/x-ndjson, text/csv and application/vnd.apache.arrow.stream; \
                          accept one of them, or send no Accept";
            Problem::new(Kind::NotAcceptable, detail)
        })
    }
}

struct Range {
    name: String,
    weight: f32,
}

impl Range {
    fn parse(text: &str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
        // What is no weight is no wish.
        Self { name, weight: weight.ok().filter(|weight| weight.is_finite()).unwrap_or(0.0) }
    }

    /// How closely it fits, if it does.
    fn precision(&self, offered: &str) -> Option<u8> {
        let (kind, _) = offered.split_once('/')?;
        match self.name.as_str() {
            name if name == offered => Some(3),
            "*/*" => Some(1),
            name => (name.strip_suffix("/*") == Some(kind)).then_some(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn accepting(values: &[&'static str]) -> Option<Format> {
        Format::of(&values.iter().map(|value| (header::ACCEPT, HeaderValue::from_static(value))).collect()).ok()
    }

    #[test]
    fn json_is_given_to_whoever_does_not_refuse_it() {
        for values in
            [&[][..], &["*/*"], &["application/*"], &["text/html, application/json;q=0.1"], &["text/csv;q=0.4", "*/*;q=0.5"], &[""]]
        {
            assert_eq!(accepting(values), Some(Format::Json), "{values:?}");
        }
    }

    #[test]
    fn other_formats_are_given_to_whoever_asks_for_them() {
        assert_eq!(accepting(&["text/csv"]), Some(Format::Csv));
        assert_eq!(accepting(&["text/csv; header=present"]), Some(Format::Csv));
        assert_eq!(accepting(&["text/*"]), Some(Format::Csv));
        assert_eq!(accepting(&["text/csv", "*/*;q=0.5"]), Some(Format::Csv));
        assert_eq!(accepting(&["application/x-ndjson"]), Some(Format::Ndjson));
        assert_eq!(accepting(&["application/jsonl"]), Some(Format::Ndjson));
        assert_eq!(accepting(&["*/*, application/json;q=0"]), Some(Format::Ndjson));
        assert_eq!(accepting(&["application/vnd.apache.arrow.stream"]), Some(Format::Arrow));
    }

    #[test]
    fn whoever_accepts_nothing_that_there_is_is_told() {
        for values in [&["text/html"][..], &["application/json;q=0"], &["*/*;q=x"], &["application/json;q=NaN"], &["json"]] {
            assert_eq!(accepting(values), None, "{values:?}");
        }
    }
}
