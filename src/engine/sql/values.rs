//! The text of a statement without what it holds of anybody's data: what a log may show.
//!
//! Invariant: nothing of a literal is left, whatever its kind, and nothing of a comment. What stands in double quotes is shown only in places
//! where a string cannot stand: SQLite takes such a name for a string where it names nothing.

use super::script::{Token, Tokens};

/// The most that is shown of a statement, in bytes.
const LONGEST: usize = 1000;

/// Words before a name of the schema.
const BEFORE_NAMES: [&str; 9] = ["FROM", "JOIN", "INTO", "UPDATE", "TABLE", "INDEX", "VIEW", "TRIGGER", "EXISTS"];

/// The statement on one line, with a `?` in the place of each literal, and of each list of them.
pub(crate) fn without_values(sql: &str) -> String {
    let mut shown: Vec<&str> = Vec::new();
    let mut size = 0;
    // Where the literal ends that was read last: 1.5, x'00' and 'it''s' come in parts.
    let mut end_of_literal = None;
    let mut tokens = Tokens::new(sql).peekable();
    while let Some(token) = tokens.next() {
        let end = token.end();
        let next = tokens.peek().filter(|next| next.offset == end).map_or("", |next| next.text);
        let goes_on = end_of_literal == Some(token.offset) && (token.text == "." || is_literal(&token, "", next));
        if goes_on {
            end_of_literal = Some(end);
        } else if is_literal(&token, shown.last().copied().unwrap_or_default(), next) {
            end_of_literal = Some(end);
            shown.push("?");
            collapse(&mut shown);
        } else {
            size += token.text.len() + 1;
            if size > LONGEST {
                shown.push("…");
                break;
            }
            shown.push(token.text);
            collapse(&mut shown);
        }
    }
    joined(&shown)
}

fn is_literal(token: &Token<'_>, before: &str, next: &str) -> bool {
    let is_name = || next.starts_with('.') || before == "." || BEFORE_NAMES.iter().any(|word| word.eq_ignore_ascii_case(before));
    match token.text.as_bytes() {
        [b'\'' | b'0'..=b'9', ..] => true,
        [b'"', ..] => !is_name(),
        [b'x' | b'X'] => next.starts_with('\''),
        _ => false,
    }
}

/// A list of literals becomes one, and a list of such lists.
fn collapse(shown: &mut Vec<&str>) {
    if shown.ends_with(&["?", "?"]) {
        // The number of a parameter.
        shown.pop();
    } else if shown.ends_with(&["?", ",", "?"]) {
        shown.truncate(shown.len() - 2);
    } else if shown.ends_with(&["(", "?", ")", ",", "(", "?", ")"]) {
        shown.truncate(shown.len() - 4);
    }
}

fn joined(shown: &[&str]) -> String {
    let mut out = String::new();
    let mut before = "(";
    for text in shown {
        let stands_alone = !matches!(before, "(" | "." | ":" | "@") && !matches!(*text, ")" | "," | ";" | ".");
        if stands_alone {
            out.push(' ');
        }
        out.push_str(text);
        before = text;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_every_kind_become_question_marks() {
        for (sql, shown) in [
            ("SELECT 'it''s', 1.5, -2e10, x'00ff', NULL FROM t", "SELECT ?, - ?, NULL FROM t"),
            ("select * from t where a = 1 and b = 'secret' -- secret", "select * from t where a = ? and b = ?"),
            ("select * from t where a in (1, 2, 'three')", "select * from t where a in (?)"),
            ("insert into t(a, b) values (1, 'x'), (2, 'y'), (3, 'z')", "insert into t (a, b) values (?)"),
            ("select :name, @other, $third, ?1, ?", "select :name, @other, $third, ?"),
            ("select /* secret */ a\n\tfrom t1", "select a from t1"),
            ("select 'never closed", "select ?"),
            ("", ""),
        ] {
            assert_eq!(without_values(sql), shown, "{sql}");
        }
    }

    #[test]
    fn double_quotes_are_shown_where_no_string_can_stand() {
        assert_eq!(
            without_values("select \"u\".\"id\", \"secret\" from \"users\" \"u\" where \"u\".\"name\" = \"secret\""),
            "select \"u\".\"id\", ? from \"users\" ? where \"u\".\"name\" = ?"
        );
        assert_eq!(without_values("insert into \"t\" values (\"secret\")"), "insert into \"t\" values (?)");
    }

    #[test]
    fn a_long_statement_is_cut() {
        let shown = without_values(&format!("select {} from t", vec!["column"; 1000].join(", ")));
        assert!(shown.len() < LONGEST + 10 && shown.ends_with('…'), "{shown}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_in_quotes_is_left(before in "[ -~]{0,20}", secret in "[a-z]{12}", after in "[ -~]{0,20}") {
            let clean = before.replace(['\'', '"', '`', '[', '-', '/'], "");
            let sql = format!("{clean} '{secret}' {after}");
            proptest::prop_assert!(!without_values(&sql).contains(&secret), "{}", sql);
        }
    }
}
