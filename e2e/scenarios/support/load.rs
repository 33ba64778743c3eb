//! A client that writes without a pause, one row after the other, whatever happens meanwhile.
//!
//! It runs in its Pod by itself: neither `kubectl` nor the kubelet is between it and the database, so either may go. A row that is not answered
//! is sent again until it is, so afterwards it is known of each whether it must be there.

use std::time::Duration;

use super::client::Database;
use super::wait::until;

/// Told a name for its files, where to send statements, and who it is. It writes down each row that was answered: how often it was sent, and when.
const WRITER: &str = r#"
row=0
until [ -e "$1.stop" ]; do
  row=$((row + 1)) sent=1
  until curl --silent --output /dev/null --fail --max-time 20 --header "$3" --data-binary "insert or ignore into written values ($row)" "$2"; do
    sent=$((sent + 1))
    sleep 0.05
  done
  read -r now _ </proc/uptime
  echo "$row $sent $now"
done >"$1.rows"
touch "$1.done"
"#;

/// Rows that are being written.
pub(crate) struct Load<'a> {
    database: &'a Database<'a>,
    file: String,
}

/// What became of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// How many were answered, counted from one.
    pub(crate) rows: i64,
    /// How many answers were refusals, or did not come.
    pub(crate) refused: u64,
    /// The longest time between one answer and the next.
    pub(crate) longest: Duration,
}

impl<'a> Load<'a> {
    /// Begins to write into a table that is made for it, and waits for the first answer.
    pub(crate) async fn begin(database: &'a Database<'a>, name: &str) -> Self {
        database.sql("drop table if exists written; create table written (x integer primary key)").await;
        let load = Self { database, file: format!("/tmp/{name}") };
        let (url, authorization) = (format!("{}sql", database.url()), database.authorization());
        // A session of its own: it does not end with the one that began it.
        let begin = r#"rm -f "$2".*; setsid sh -c "$1" writer "$2" "$3" "$4" </dev/null >/dev/null 2>&1 &"#;
        database.in_its_pod(&["sh", "-c", begin, "sh", WRITER, &load.file, &url, &authorization]).await.unwrap();
        load.goes_on().await;
        load
    }

    /// Waits for ten more answers.
    pub(crate) async fn goes_on(&self) {
        let lines = async || self.rows().await.map(|rows| rows.lines().count());
        let before = until("the client's Pod", lines).await;
        until("ten more rows", async || lines().await.filter(|now| *now >= before + 10)).await;
    }

    /// Ends with the row under way, and proves that each that was answered is there, and no other.
    pub(crate) async fn end(self) -> Written {
        let (stop, done) = (format!("{}.stop", self.file), format!("{}.done", self.file));
        until("the client's Pod", async || self.database.in_its_pod(&["touch", &stop]).await.ok()).await;
        until("the last row", async || self.database.in_its_pod(&["test", "-e", &done]).await.ok()).await;
        let written = Written::read(&self.rows().await.unwrap());
        written.is_in(self.database).await;
        written
    }

    /// `None` if the Pod cannot be asked.
    async fn rows(&self) -> Option<String> {
        self.database.in_its_pod(&["cat", &format!("{}.rows", self.file)]).await.ok()
    }
}

impl Written {
    fn read(lines: &str) -> Self {
        let mut written = Self { rows: 0, refused: 0, longest: Duration::ZERO };
        let mut last: Option<f64> = None;
        for line in lines.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [row, sent, now] = fields[..] else { panic!("{line:?}") };
            let now: f64 = now.parse().unwrap();
            written.rows = row.parse().unwrap();
            written.refused += sent.parse::<u64>().unwrap() - 1;
            written.longest = written.longest.max(Duration::from_secs_f64((now - last.unwrap_or(now)).max(0.0)));
            last = Some(now);
        }
        written
    }

    /// Fails the scenario unless the database has exactly these.
    pub(crate) async fn is_in(&self, database: &Database<'_>) {
        let found = database.sql_once_it_answers("select count(*), coalesce(max(x), 0) from written").await;
        assert_eq!(found, serde_json::json!([[self.rows, self.rows]]), "each row that was answered, and none besides: {self:?}");
    }
}
