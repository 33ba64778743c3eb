//! The text that `GET /metrics` shows, read: as our own registries write it. Pure.

/// What stands together: one metric, with all its series.
#[derive(Debug, Default)]
pub(super) struct Family<'a> {
    /// Without the ending that samples of counters have.
    pub(super) name: &'a str,
    pub(super) help: &'a str,
    pub(super) kind: &'a str,
    pub(super) unit: &'a str,
    pub(super) samples: Vec<Sample<'a>>,
}

/// One line with a value.
#[derive(Debug)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    pub(super) labels: Vec<(&'a str, String)>,
    pub(super) value: f64,
}

/// All that a text has. A line that is none is left out.
pub(super) fn families(text: &str) -> Vec<Family<'_>> {
    let (mut families, mut family) = (Vec::new(), Family::default());
    for line in text.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            family.samples.extend(Sample::parse(line));
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        let (Some(word), Some(name)) = (words.next(), words.next()) else { continue };
        if name != family.name {
            families.push(std::mem::replace(&mut family, Family { name, ..Family::default() }));
        }
        let rest = words.next().unwrap_or_default();
        match word {
            "HELP" => family.help = rest,
            "TYPE" => family.kind = rest,
            "UNIT" => family.unit = rest,
            _ => {}
        }
    }
    families.push(family);
    families
}

/// What a counter counts. They are exact up to 2^53.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole, and never negative")]
pub(super) fn whole(count: f64) -> u64 {
    count as u64
}

impl<'a> Sample<'a> {
    /// `name{label="value",…} 1.5`, and perhaps more that is of no interest.
    fn parse(line: &'a str) -> Option<Self> {
        let (name, rest) = line.split_at(line.find(['{', ' '])?);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(inside) => labels(inside)?,
            None => (Vec::new(), rest),
        };
        let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self { name, labels, value })
    }
}

/// Those up to the brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (label, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next()? {
                (end, '"') => break end,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((label, value));
        rest = &quoted[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}
