//! A report: as Markdown, and as one page of HTML with charts.

use std::fmt::Write as _;

use pulldown_cmark::{Options, Parser, html};

use super::chart::Chart;

/// What is reported, in its order.
pub(in crate::cli) struct Paper {
    title: String,
    parts: Vec<Part>,
}

enum Part {
    Markdown(String),
    Chart(Chart),
}

const STYLE: &str = "\
:root { color-scheme: light dark; --line: light-dark(#d0d7de, #444c56); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .75rem; text-align: left; white-space: nowrap; }
svg { background: #fff; max-width: 100%; height: auto; }";

impl Paper {
    pub(in crate::cli) fn new(title: impl Into<String>) -> Self {
        let title = title.into();
        let mut paper = Self { title: title.clone(), parts: Vec::new() };
        paper.push(format!("# {}\n", plain(&title)));
        paper
    }

    pub(in crate::cli) fn heading(&mut self, text: &str) {
        self.push(format!("## {}\n", plain(text)));
    }

    /// Words. Marks in it are plain text.
    pub(in crate::cli) fn text(&mut self, text: &str) {
        self.push(format!("{}\n", plain(text)));
    }

    pub(in crate::cli) fn table(&mut self, names: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        let line = |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
        let mut text = line(&mut names.iter().map(|name| plain(name)));
        text += &line(&mut names.iter().map(|_| "---".to_owned()));
        for row in rows {
            text += &line(&mut row.iter().map(|cell| plain(cell)));
        }
        self.push(text);
    }

    /// Only the page shows it.
    pub(in crate::cli) fn chart(&mut self, chart: Chart) {
        self.parts.push(Part::Chart(chart));
    }

    pub(in crate::cli) fn markdown(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Markdown(text) => Some(text.as_str()),
            Part::Chart(_) => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    pub(in crate::cli) fn html(&self) -> String {
        let mut body = String::new();
        for part in &self.parts {
            match part {
                Part::Markdown(text) => html::push_html(&mut body, Parser::new_ext(text, Options::ENABLE_TABLES)),
                Part::Chart(chart) => body.extend(["<figure>", &chart.svg(), "</figure>\n"]),
            }
        }
        let mut title = String::new();
        html::push_html(&mut title, Parser::new(&plain(&self.title)));
        let title = title.trim().trim_start_matches("<p>").trim_end_matches("</p>").to_owned();
        let mut page = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        // A string takes every character.
        write!(page, "<title>{title}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n{body}</body>\n</html>\n").ok();
        page
    }

    fn push(&mut self, text: String) {
        self.parts.push(Part::Markdown(text));
    }
}

/// As Markdown that says exactly this, on one line.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => plain.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '&' | '#' => plain.extend(['\\', c]),
            _ => plain.push(c),
        }
    }
    plain
}
