//! Results as tables.

use anyhow::Context as _;
use serde_json::Value;

use crate::cli::show;

/// Takes results line by line, as NDJSON has them.
#[derive(Default)]
pub(super) struct Printer {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Printer {
    /// The names of a result's columns, a row, its end, or why it broke off.
    pub(super) fn line(&mut self, line: Value) -> anyhow::Result<()> {
        match line {
            Value::Array(row) => self.rows.push(row.iter().map(shown).collect()),
            Value::Object(mut said) => {
                if let Some(Value::Array(columns)) = said.remove("columns") {
                    self.names = columns.iter().map(|column| column["name"].as_str().unwrap_or_default().to_owned()).collect();
                } else if let Some(problem) = said.remove("error") {
                    self.print(None)?;
                    anyhow::bail!("{}", problem["detail"].as_str().unwrap_or("the statement failed"));
                } else {
                    let end = said.remove("end").context("the answer has a line that this command does not understand")?;
                    self.print(end["rows_affected"].as_u64())?;
                }
            }
            _ => anyhow::bail!("the answer has a line that this command does not understand"),
        }
        Ok(())
    }

    fn print(&mut self, affected: Option<u64>) -> anyhow::Result<()> {
        let (names, rows) = (std::mem::take(&mut self.names), std::mem::take(&mut self.rows));
        show::say(&result(&names, rows, affected))
    }
}

/// A result as people read it.
pub(super) fn result(names: &[String], rows: Vec<Vec<String>>, affected: Option<u64>) -> String {
    if names.is_empty() {
        return match affected {
            Some(1) => "1 row affected".to_owned(),
            Some(count) if count > 0 => format!("{count} rows affected"),
            _ => String::new(),
        };
    }
    show::rows(names, rows)
}

/// A value as the API writes it, for people.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(special) => special.values().next().and_then(Value::as_str).unwrap_or_default().to_owned(),
        other => other.to_string(),
    }
}
