//! `buckethead inspect`: the tables of a database, their rows and columns.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::session::{self, Purpose, Session, Target, TargetArguments, environment};
use super::show;
use super::store::SettingsError;
use super::{Output, logs};

/// Lists the tables of a database, with how many rows they have, and their columns.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

const HELP: &str = concat!(
    environment!(),
    "\
Examples:
  buckethead inspect --bucket orders-data --key apps/orders.db
  buckethead inspect --bucket orders-data --key apps/orders.db --branch next --txid 1204
  buckethead inspect --url http://127.0.0.1:8080/default/quickstart --output json"
);

/// Everything that it takes.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    target: Target,
    output: Output,
}

impl Arguments {
    /// With what the environment says where an argument is absent.
    pub(super) fn settings(self, env: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        Ok(Settings { target: self.target.settings(env)?, output: self.output })
    }
}

/// A table, or a view.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Table {
    name: String,
    kind: String,
    /// None of a view.
    rows: Option<u64>,
    columns: Vec<Column>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    declared: String,
    not_null: bool,
    primary_key: bool,
}

/// Looks, and tells.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    logs::start(logs::Format::Text, "warn")?;
    let Settings { target, output } = settings;
    let tables = target.work(Purpose::Look, async |session| tables(session).await).await?;
    show::answer(output, &json!({"tables": tables}), || in_words(&tables))
}

/// Tables that are counted by one statement: it may have 500 parts, and has to fit into a URL.
const AT_ONCE: usize = 100;

pub(super) async fn tables(session: &Session) -> anyhow::Result<Vec<Table>> {
    const COLUMNS: &str = "select m.name, m.type, p.name, p.type, p.\"notnull\", p.pk from sqlite_schema m join pragma_table_info(m.name) p \
                           where m.type in ('table', 'view') and m.name not like 'sqlite\\_%' escape '\\' order by m.name, p.cid";
    let mut tables: Vec<Table> = Vec::new();
    for row in rows(session, COLUMNS).await? {
        let text = |at: usize| row[at].as_str().unwrap_or_default().to_owned();
        let (name, kind) = (text(0), text(1));
        if tables.last().is_none_or(|last| last.name != name) {
            tables.push(Table { name, kind, rows: None, columns: Vec::new() });
        }
        let column = Column { name: text(2), declared: text(3), not_null: row[4] == 1, primary_key: row[5] != 0 };
        tables.last_mut().expect("it was just made sure").columns.push(column);
    }
    let mut counted: Vec<&mut Table> = tables.iter_mut().filter(|table| table.kind == "table").collect();
    for some in counted.chunks_mut(AT_ONCE) {
        let quoted = some.iter().map(|table| table.name.replace('"', "\"\""));
        let counts: Vec<String> = quoted.enumerate().map(|(at, name)| format!("select {at}, count(*) from \"{name}\"")).collect();
        for row in rows(session, &counts.join(" union all ")).await? {
            let at = row[0].as_u64().and_then(|at| usize::try_from(at).ok());
            if let Some(table) = at.and_then(|at| some.get_mut(at)) {
                table.rows = row[1].as_u64();
            }
        }
    }
    Ok(tables)
}

async fn rows(session: &Session, sql: &str) -> anyhow::Result<Vec<Vec<Value>>> {
    #[derive(Deserialize)]
    struct Answer {
        results: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        rows: Vec<Vec<Value>>,
    }
    let answer: Answer = session.read(&format!("sql{}", session::query_at(session, &[("q", sql)]))).await?;
    Ok(answer.results.into_iter().flat_map(|one| one.rows).collect())
}

fn in_words(tables: &[Table]) -> String {
    let rows = tables.iter().map(|table| {
        let columns = table.columns.iter().map(|column| {
            let marks = [(column.primary_key, " PRIMARY KEY"), (column.not_null, " NOT NULL")];
            let marks: String = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect();
            format!("{} {}{marks}", column.name, column.declared).trim_end().to_owned()
        });
        let count = table.rows.map_or_else(|| table.kind.clone(), |rows| rows.to_string());
        vec![table.name.clone(), count, columns.collect::<Vec<_>>().join(", ")]
    });
    show::table(&["table", "rows", "columns"], rows)
}
