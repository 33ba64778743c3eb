//! A shell: lines in, results out, with history and completion.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use engine::{Clock as _, SystemClock};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};
use serde_json::{Value, json};

use super::stream::{Given, Stream};
use super::{Format, print};
use crate::cli::session::Session;
use crate::cli::show;

const HELP: &str = "\
SQL ends with a semicolon and may take several lines. BEGIN, COMMIT and ROLLBACK work; a transaction that is idle for too long is rolled back.
  .tables             lists tables and views
  .schema [NAME]      shows how they were made
  .mode FORMAT        table, json, ndjson or csv
  .timer on|off       tells how long each statement took
  .read FILE          runs the statements of a file
  .help, .quit        this text; ends the shell, as Ctrl-D does";

const TABLES: &str =
    "select name, type from sqlite_schema where type in ('table', 'view') and name not like 'sqlite\\_%' escape '\\' order by name";

/// Until `.quit` or the end of the input.
pub(super) async fn run(session: &Session, name: &str, format: Format) -> anyhow::Result<()> {
    let config = Config::builder().auto_add_history(true).history_ignore_space(true).build();
    let mut editor: Editor<Words, FileHistory> = Editor::with_config(config).context("the terminal cannot be used for a shell")?;
    let history = history_file();
    if let Some(path) = &history {
        // There is none at the first time.
        editor.load_history(path).ok();
    }
    let mut shell = Shell { stream: Stream::new(session), format, is_timed: false };
    editor.set_helper(Some(Words::of(&mut shell.stream).await));
    show::say(&format!("buckethead {} on {name}; .help tells more", env!("CARGO_PKG_VERSION")))?;
    loop {
        let prompt = if shell.stream.is_in_transaction() { "sql*> " } else { "sql> " };
        match tokio::task::block_in_place(|| editor.readline(prompt)) {
            Ok(line) => {
                let line = line.trim();
                if matches!(line, ".quit" | ".exit") {
                    break;
                }
                if let Err(error) = shell.obey(line).await {
                    show::complain(&format!("{error:#}"));
                }
                if changes_schema(line) {
                    editor.set_helper(Some(Words::of(&mut shell.stream).await));
                }
            }
            // A line was given up.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error).context("reading from the terminal"),
        }
    }
    if let Some(path) = &history {
        save(&mut editor, path).with_context(|| format!("keeping the history in {}", path.display()))?;
    }
    Ok(())
}

struct Shell<'a> {
    stream: Stream<'a>,
    format: Format,
    is_timed: bool,
}

impl Shell<'_> {
    async fn obey(&mut self, line: &str) -> anyhow::Result<()> {
        let Some(command) = line.strip_prefix('.') else { return self.run(line).await };
        let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match (word, rest.trim()) {
            ("help", "") => show::say(HELP),
            ("tables", "") => self.run(TABLES).await,
            ("schema", "") => self.run("select sql from sqlite_schema where sql is not null order by name").await,
            ("schema", name) => {
                let name = name.replace('\'', "''");
                self.run(&format!("select sql from sqlite_schema where tbl_name = '{name}' collate nocase and sql is not null")).await
            }
            ("mode", format) => {
                self.format = <Format as clap::ValueEnum>::from_str(format, true)
                    .map_err(|_| anyhow::anyhow!("there are the modes table, json, ndjson and csv"))?;
                Ok(())
            }
            ("timer", "on") => {
                self.is_timed = true;
                Ok(())
            }
            ("timer", "off") => {
                self.is_timed = false;
                Ok(())
            }
            ("read", path) if !path.is_empty() => {
                let text = std::fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
                self.run(&text).await
            }
            _ => anyhow::bail!("`{line}` is no command; .help lists them"),
        }
    }

    /// Each statement, up to the first that fails. Ctrl-C ends the one that runs.
    async fn run(&mut self, text: &str) -> anyhow::Result<()> {
        for piece in engine::pieces(text) {
            let (begun, was_in_transaction) = (SystemClock.now(), self.stream.is_in_transaction());
            let given = tokio::select! {
                given = self.stream.execute(piece.sql) => given?,
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted.context("listening for Ctrl-C")?;
                    anyhow::bail!(if was_in_transaction { "stopped; the transaction was rolled back" } else { "stopped" });
                }
            };
            self.print(given)?;
            if self.is_timed {
                show::say(&format!("({:.1} ms)", (SystemClock.now() - begun).as_secs_f64() * 1e3))?;
            }
        }
        Ok(())
    }

    fn print(&self, given: Given) -> anyhow::Result<()> {
        let Given { names, rows, affected } = given;
        // In the order of the columns.
        let as_object = |row: &[Value]| {
            let members = names.iter().zip(row).map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        match self.format {
            Format::Table => {
                let rows = rows.iter().map(|row| row.iter().map(print::shown).collect()).collect();
                show::say(&print::result(&names, rows, Some(affected)))
            }
            Format::Json if names.is_empty() => show::say(&json!({"rows_affected": affected}).to_string()),
            Format::Json => show::say(&format!("[{}]", rows.iter().map(|row| as_object(row)).collect::<Vec<_>>().join(","))),
            Format::Ndjson => rows.iter().try_for_each(|row| show::say(&as_object(row))),
            Format::Csv => {
                let field = |text: &str| {
                    let needs_quotes = text.contains(['"', ',', '\n', '\r']);
                    if needs_quotes { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
                };
                let line = |fields: Vec<String>| fields.iter().map(|text| field(text)).collect::<Vec<_>>().join(",");
                if names.is_empty() {
                    return Ok(());
                }
                show::say(&line(names.clone()))?;
                let value = |value: &Value| if value.is_null() { String::new() } else { print::shown(value) };
                rows.iter().try_for_each(|row| show::say(&line(row.iter().map(value).collect())))
            }
        }
    }
}

fn changes_schema(line: &str) -> bool {
    let first = |word: &str| line.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    ["create", "drop", "alter", ".read"].into_iter().any(first)
}

/// What can be completed: SQL's words, and the names in the database.
struct Words(BTreeSet<String>);

const KEYWORDS: &str = "ADD ALTER AND AS ASC BEGIN BETWEEN BY CASE CAST COLLATE COMMIT CONFLICT CREATE CROSS DEFAULT DELETE DESC DISTINCT DO \
    DROP ELSE END ESCAPE EXCEPT EXISTS EXPLAIN FILTER FROM GLOB GROUP HAVING IF IMMEDIATE IN INDEX INNER INSERT INTERSECT INTO IS ISNULL JOIN \
    LEFT LIKE LIMIT NOT NOTHING NOTNULL NULL OFFSET ON OR ORDER OUTER OVER PARTITION PRAGMA PRIMARY QUERY PLAN RECURSIVE REFERENCES RELEASE \
    REPLACE RETURNING ROLLBACK SAVEPOINT SELECT SET TABLE THEN TO TRIGGER UNION UNIQUE UPDATE USING VALUES VIEW VIRTUAL WHEN WHERE WINDOW WITH \
    WITHOUT .help .mode .quit .read .schema .tables .timer";

const NAMES: &str = "select m.name from sqlite_schema m where m.name not like 'sqlite\\_%' escape '\\' \
    union select p.name from sqlite_schema m join pragma_table_info(m.name) p where m.type in ('table', 'view')";

impl Words {
    /// Without names where they cannot be had: completion is not worth a complaint.
    async fn of(stream: &mut Stream<'_>) -> Self {
        let mut words: BTreeSet<String> = KEYWORDS.split_whitespace().map(str::to_owned).collect();
        if !stream.is_in_transaction()
            && let Ok(found) = stream.execute(NAMES).await
        {
            words.extend(found.rows.iter().filter_map(|row| row.first()?.as_str().map(str::to_owned)));
        }
        Self(words)
    }

    /// Where the word before a place begins, and what it may become.
    fn completed(&self, line: &str, at: usize) -> (usize, Vec<String>) {
        let before = &line[..at];
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.' && before.starts_with('.');
        let begin = before.char_indices().rev().take_while(|(_, c)| is_part(*c)).last().map_or(at, |(begin, _)| begin);
        let word = &before[begin..];
        if word.is_empty() {
            return (begin, Vec::new());
        }
        let fits = |known: &&String| known.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        (begin, self.0.iter().filter(fits).cloned().collect())
    }
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &rustyline::Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.completed(line, at))
    }
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input().trim();
        let is_done = text.starts_with('.') || engine::is_whole(text);
        Ok(if is_done { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Borrowed(prompt)
    }
}

impl Helper for Words {}

/// Below the folder for what programs remember.
fn history_file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(folder.join("buckethead/sql-history"))
}

/// Statements have values in them, so nobody else may read it.
fn save(editor: &mut Editor<Words, FileHistory>, path: &std::path::Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    editor.save_history(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_before_the_cursor_is_completed_in_any_case() {
        let words = Words(["SELECT", "SET", "settings", ".schema"].map(str::to_owned).into());
        assert_eq!(words.completed("sele", 4), (0, vec!["SELECT".to_owned()]));
        assert_eq!(words.completed("update SET", 10).1, ["SET", "settings"]);
        assert_eq!(words.completed("select t.se", 11), (9, vec!["SELECT".to_owned(), "SET".to_owned(), "settings".to_owned()]));
        assert_eq!(words.completed(".sch", 4), (0, vec![".schema".to_owned()]));
        assert_eq!(words.completed("select ", 7), (7, Vec::new()));
    }
}
