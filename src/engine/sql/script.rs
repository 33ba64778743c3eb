//! Where one statement of a text ends and the next begins, and what a statement does to rows. No I/O, no parsing beyond tokens.
//!
//! SQLite is handed one statement at a time, so that each can be cached and a long text costs no more than its length. The rule for
//! triggers, whose bodies hold semicolons, is that of SQLite's own `sqlite3_complete`.

/// One statement of a text, without the blanks, comments and semicolons around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Its text.
    pub sql: &'a str,
    /// Of its first byte, in the whole text.
    pub offset: usize,
}

/// What a statement does to rows, as far as counting them goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// INSERT and REPLACE.
    Insert,
    /// UPDATE and DELETE.
    Change,
    Other,
}

/// The statements of a text, in order.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut state = Inside::Nothing;
    let mut begin = None;
    let mut end = 0;
    for token in Tokens::new(text) {
        state = state.after(&token);
        if state == Inside::Nothing {
            pieces.extend(begin.take().map(|offset| Piece { sql: &text[offset..end], offset }));
        } else {
            begin.get_or_insert(token.offset);
            end = token.end();
        }
    }
    pieces.extend(begin.map(|offset| Piece { sql: &text[offset..end], offset }));
    pieces
}

/// Whether the last statement of a text is at its end: nothing that is added belongs to it. True of a text without any.
pub fn is_whole(text: &str) -> bool {
    Tokens::new(text).fold(Inside::Nothing, |state, token| state.after(&token)) == Inside::Nothing
}

/// What the statement does, by its first word, or for WITH by the first word behind the tables that it names.
pub(crate) fn verb(statement: &str) -> Verb {
    let mut depth = 0u32;
    let mut with = false;
    let mut after_table = false;
    for token in Tokens::new(statement) {
        let word = match token.text {
            "(" => {
                depth += 1;
                continue;
            }
            ")" => {
                depth = depth.saturating_sub(1);
                after_table = depth == 0;
                continue;
            }
            _ if depth > 0 => continue,
            word => word,
        };
        if !with && word.eq_ignore_ascii_case("WITH") {
            with = true;
        } else if !with || (after_table && word != "," && !word.eq_ignore_ascii_case("AS")) {
            return Verb::of(word);
        } else {
            after_table = false;
        }
    }
    Verb::Other
}

impl Verb {
    fn of(word: &str) -> Self {
        let is = |verb: &str| word.eq_ignore_ascii_case(verb);
        match word {
            _ if is("INSERT") || is("REPLACE") => Self::Insert,
            _ if is("UPDATE") || is("DELETE") => Self::Change,
            _ => Self::Other,
        }
    }
}

/// A statement that ends a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit,
    Rollback,
}

/// Whether the statement ends the transaction: ROLLBACK TO a savepoint does not.
pub(crate) fn ending(statement: &str) -> Option<Ending> {
    let mut tokens = Tokens::new(statement).map(|token| token.text);
    let first = tokens.next()?;
    let is = |word: &str| first.eq_ignore_ascii_case(word);
    if is("COMMIT") || is("END") {
        Some(Ending::Commit)
    } else {
        (is("ROLLBACK") && !tokens.any(|word| word.eq_ignore_ascii_case("TO"))).then_some(Ending::Rollback)
    }
}

/// Whether the statement begins as one that writes. Only a guess that saves a way: SQLite decides what writes.
pub(crate) fn likely_writes(statement: &str) -> bool {
    let mut tokens = Tokens::new(statement).map(|token| token.text);
    let first = tokens.next().unwrap_or_default();
    let is_one_of = |words: &[&str], word: &str| words.iter().any(|listed| listed.eq_ignore_ascii_case(word));
    is_one_of(&["INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "DROP", "ALTER"], first)
        || (first.eq_ignore_ascii_case("BEGIN") && tokens.next().is_some_and(|second| is_one_of(&["IMMEDIATE", "EXCLUSIVE"], second)))
}

/// How far a statement has come, as `sqlite3_complete` sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Nothing,
    Statement,
    Explain,
    Create,
    Trigger,
    /// Behind a semicolon in a trigger's body.
    TriggerStep,
    /// Behind the END that may end the trigger.
    TriggerEnd,
}

impl Inside {
    fn after(self, token: &Token<'_>) -> Self {
        let is = |word: &str| token.text.eq_ignore_ascii_case(word);
        match (self, token.text) {
            (Self::Trigger | Self::TriggerStep, ";") => Self::TriggerStep,
            (_, ";") => Self::Nothing,
            (Self::Nothing, _) if is("EXPLAIN") => Self::Explain,
            (Self::Nothing | Self::Explain, _) if is("CREATE") => Self::Create,
            (Self::Explain, _) if is("QUERY") || is("PLAN") => Self::Explain,
            (Self::Create, _) if is("TEMP") || is("TEMPORARY") => Self::Create,
            (Self::Create, _) if is("TRIGGER") => Self::Trigger,
            (Self::TriggerStep, _) if is("END") => Self::TriggerEnd,
            (Self::Trigger | Self::TriggerStep | Self::TriggerEnd, _) => Self::Trigger,
            (Self::Nothing | Self::Statement | Self::Explain | Self::Create, _) => Self::Statement,
        }
    }
}

/// A word, a quoted string or name, or a single character of any other kind.
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) offset: usize,
}

impl Token<'_> {
    pub(super) fn end(&self) -> usize {
        self.offset + self.text.len()
    }
}

pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c', '\u{feff}']).len();
            let comment = if rest.starts_with("--") {
                rest.find('\n').unwrap_or(rest.len())
            } else if let Some(inner) = rest.strip_prefix("/*") {
                inner.find("*/").map_or(rest.len(), |len| len + 4)
            } else {
                0
            };
            match blank.max(comment) {
                0 => return,
                skipped => self.at += skipped,
            }
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks_and_comments();
        let rest = &self.text[self.at..];
        let first = rest.chars().next()?;
        let len = match first {
            '\'' | '"' | '`' => quoted(rest, first),
            '[' => rest.find(']').map_or(rest.len(), |close| close + 1),
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let token = Token { text: &rest[..len], offset: self.at };
        self.at += len;
        Some(token)
    }
}

/// SQLite takes every character beyond ASCII for a letter.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// A doubled quote reads here as the end of one string and the beginning of the next, which ends in the same place.
fn quoted(rest: &str, quote: char) -> usize {
    rest[1..].find(quote).map_or(rest.len(), |close| close + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        let pieces = pieces(text);
        for piece in &pieces {
            assert_eq!(&text[piece.offset..piece.offset + piece.sql.len()], piece.sql);
        }
        pieces.into_iter().map(|piece| piece.sql).collect()
    }

    #[test]
    fn blanks_and_comments_between_statements_belong_to_none() {
        assert_eq!(split(" ; -- a;\n select 1 /* ; */ ; select 2 -- end;"), ["select 1", "select 2"]);
        assert_eq!(split("-- nothing\n /* open"), [""; 0]);
        assert_eq!(split(""), [""; 0]);
    }

    #[test]
    fn a_semicolon_in_quotes_ends_nothing() {
        assert_eq!(split("select ';''', \";\", `;`, [;]; select 'ä;"), ["select ';''', \";\", `;`, [;]", "select 'ä;"]);
    }

    #[test]
    fn a_trigger_ends_at_the_end_of_its_body() {
        let trigger = "create temp trigger t after insert on a begin select case 1 when 1 then 2 end; delete from b; end";
        assert_eq!(split(&format!("{trigger}; select 1")), [trigger, "select 1"]);
        assert_eq!(split(&format!("explain query plan {trigger}; select 1")).len(), 2);
        assert_eq!(split("create table trigger_(a); select 1").len(), 2);
    }

    #[test]
    fn a_text_is_whole_once_its_last_statement_has_its_semicolon() {
        for text in ["", " -- nothing", "select 1;", "select ';' ; -- x", "create trigger t after insert on a begin select 1; end;"] {
            assert!(is_whole(text), "{text}");
        }
        for text in ["select 1", "select 1; select", "select ';", "create trigger t after insert on a begin select 1;"] {
            assert!(!is_whole(text), "{text}");
        }
    }

    #[test]
    fn the_verb_behind_with_is_found() {
        for (sql, verb_of) in [
            ("Insert into t values(1)", Verb::Insert),
            ("replace into t values(1)", Verb::Insert),
            ("/* x */ delete from t", Verb::Change),
            ("with a(b) as (select 1), c as not materialized (select 2) update t set x = 1", Verb::Change),
            ("WITH RECURSIVE replace AS (SELECT 1) INSERT INTO t SELECT 1", Verb::Insert),
            ("with replace(x) as (select 1) select (select 'insert')", Verb::Other),
            ("explain insert into t values(1)", Verb::Other),
            ("", Verb::Other),
        ] {
            assert_eq!(verb(sql), verb_of, "{sql}");
        }
    }
}
