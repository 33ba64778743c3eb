//! What an overwrite would change, in words. Pure.

use std::fmt::Write as _;

use serde_json::Value;

use crate::cli::show;

/// What the server told, for people.
pub(super) fn in_words(found: &Value) -> String {
    let (before, after) = (&found["before"], &found["after"]);
    let mut text = format!("{}\nwould become\n{}\n", state(before), state(after));
    if found["same"] == true {
        text += "\nNothing would change.";
        return text;
    }
    let schema = list(&found["schema"]);
    if !schema.is_empty() {
        text += "\nSchema\n";
        for part in schema {
            let change = if part["before"].is_null() {
                "+"
            } else if part["after"].is_null() {
                "-"
            } else {
                "~"
            };
            writeln!(text, "  {change} {} {}", word(&part["type"]), word(&part["name"])).expect("a string takes all");
            if change == "~" {
                for (mark, side) in [("-", &part["before"]), ("+", &part["after"])] {
                    writeln!(text, "      {mark} {}", word(side).replace('\n', "\n        ")).expect("a string takes all");
                }
            }
        }
    }
    let tables = list(&found["tables"]);
    if !tables.is_empty() {
        text += "\nRows\n";
        let rows = show::table(&["table", "rows", "added", "removed", "changed", "keys"], tables.iter().map(table));
        text.extend(rows.lines().map(|line| format!("  {line}\n")));
    }
    writeln!(text, "\n{} tables have the same rows.", found["unchanged_tables"]).expect("a string takes all");
    if found["truncated"] == true {
        text += "There is more that is different than is told here.\n";
    }
    text.trim_end().to_owned()
}

fn state(side: &Value) -> String {
    let bytes = side["size"].as_u64().map_or_else(String::new, show::bytes);
    format!("  branch {} at txid {}, {bytes}", word(&side["branch"]), side["txid"])
}

fn table(found: &Value) -> Vec<String> {
    let name = word(&found["name"]).to_owned();
    if let Some(why) = found["not_compared"].as_str() {
        return vec![name, String::new(), String::new(), String::new(), String::new(), format!("not compared: {why}")];
    }
    let count = |side: &Value| side.as_u64().map_or_else(|| "none".to_owned(), |count| count.to_string());
    let rows = format!("{} → {}", count(&found["rows_before"]), count(&found["rows_after"]));
    let marks = [("+", "added"), ("-", "removed"), ("~", "changed")];
    let counts = marks.iter().map(|(_, kind)| found[*kind]["count"].to_string());
    let keys: Vec<String> = marks.iter().filter_map(|(mark, kind)| keys(mark, &found[*kind])).collect();
    [name, rows].into_iter().chain(counts).chain([keys.join("  ")]).collect()
}

/// The first keys of rows of a kind.
fn keys(mark: &str, rows: &Value) -> Option<String> {
    const SHOWN: usize = 3;
    let keys = list(&rows["keys"]);
    let shown: Vec<String> = keys.iter().take(SHOWN).map(key).collect();
    let more = if rows["count"].as_u64() > u64::try_from(shown.len()).ok() { ", …" } else { "" };
    (!shown.is_empty()).then(|| format!("{mark}{}{more}", shown.join(", ")))
}

fn key(values: &Value) -> String {
    let one = |value: &Value| value.as_str().map_or_else(|| value.to_string(), |text| text.escape_debug().to_string());
    list(values).iter().map(one).collect::<Vec<_>>().join("/")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::in_words;
    use serde_json::json;

    #[test]
    fn what_would_change_is_told_table_by_table() {
        let side = |branch: &str, txid: u64| json!({"branch": branch, "txid": txid, "time": "2026-11-23T08:00:00Z", "size": 8192});
        let none = json!({"count": 0, "keys": []});
        let found = json!({
            "before": side("main", 9), "after": side("release-7", 12), "same": false,
            "schema": [
                {"type": "index", "name": "by_item", "before": null, "after": "CREATE INDEX by_item ON orders(item)"},
                {"type": "table", "name": "orders", "before": "CREATE TABLE orders(id)", "after": "CREATE TABLE orders(id, item)"},
                {"type": "view", "name": "old", "before": "CREATE VIEW old AS SELECT 1", "after": null},
            ],
            "tables": [
                {"name": "orders", "rows_before": 3, "rows_after": 7, "key": ["id"], "not_compared": null,
                 "added": {"count": 5, "keys": [[4], [5], [6], [7], [8]]}, "removed": {"count": 1, "keys": [[1]]}, "changed": none},
                {"name": "made", "rows_before": null, "rows_after": 1, "key": [], "not_compared": null,
                 "added": {"count": 1, "keys": []}, "removed": none, "changed": none},
                {"name": "odd", "rows_before": null, "rows_after": null, "key": [], "not_compared": "no such module: x",
                 "added": none, "removed": none, "changed": none},
            ],
            "unchanged_tables": 2, "truncated": false,
        });
        let expected = "  branch main at txid 9, 8.00 KiB
would become
  branch release-7 at txid 12, 8.00 KiB

Schema
  + index by_item
  ~ table orders
      - CREATE TABLE orders(id)
      + CREATE TABLE orders(id, item)
  - view old

Rows
  TABLE   ROWS      ADDED  REMOVED  CHANGED  KEYS
  orders  3 → 7     5      1        0        +4, 5, 6, …  -1
  made    none → 1  1      0        0
  odd                                        not compared: no such module: x

2 tables have the same rows.";
        assert_eq!(in_words(&found), expected);
        let same = json!({"before": side("main", 9), "after": side("next", 9), "same": true});
        assert!(in_words(&same).ends_with("Nothing would change."));
    }
}
