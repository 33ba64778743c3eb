// Package clients runs libsql-client-go, over HTTP and over WebSocket, as an application does: through database/sql.
package clients

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/tursodatabase/libsql-client-go/libsql"
)

var (
	url    = os.Getenv("BUCKETHEAD_URL")
	token  = os.Getenv("BUCKETHEAD_TOKEN")
	mutex  sync.Mutex
	tables int
)

// table makes a name that no other test uses.
func table() string {
	mutex.Lock()
	defer mutex.Unlock()
	tables++
	return fmt.Sprintf("go_%d_%d", os.Getpid(), tables)
}

func open(t *testing.T, at string) *sql.DB {
	t.Helper()
	var options []libsql.Option
	if token != "" {
		options = append(options, libsql.WithAuthToken(token))
	}
	connector, err := libsql.NewConnector(at, options...)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, db *sql.DB, table string) (n int) {
	t.Helper()
	must(t, db.QueryRow("SELECT count(*) FROM "+table).Scan(&n))
	return n
}

func TestClient(t *testing.T) {
	for name, at := range map[string]string{"http": url, "ws": strings.Replace(url, "http", "ws", 1)} {
		t.Run(name, func(t *testing.T) {
			t.Run("each type of value comes back as it was bound", func(t *testing.T) {
				db := open(t, at)
				var n sql.NullString
				var i int64
				var r float64
				var s string
				var b []byte
				must(t, db.QueryRow("SELECT ?, ?, ?, ?, ?", nil, int64(1)<<62, -1.5, "ä'", []byte{0, 255}).Scan(&n, &i, &r, &s, &b))
				if n.Valid || i != int64(1)<<62 || r != -1.5 || s != "ä'" || string(b) != "\x00\xff" {
					t.Fatal(n, i, r, s, b)
				}
			})
			t.Run("counts and row ids are told", func(t *testing.T) {
				db, name := open(t, at), table()
				_, err := db.Exec("CREATE TABLE " + name + "(id INTEGER PRIMARY KEY, v)")
				must(t, err)
				result, err := db.Exec("INSERT INTO "+name+"(v) VALUES (?), (?)", 1, 2)
				must(t, err)
				rows, _ := result.RowsAffected()
				id, _ := result.LastInsertId()
				if rows != 2 || id != 2 {
					t.Fatal(rows, id)
				}
			})
			t.Run("a transaction commits and rolls back", func(t *testing.T) {
				db, name := open(t, at), table()
				_, err := db.Exec("CREATE TABLE " + name + "(v)")
				must(t, err)
				for _, end := range []func(*sql.Tx) error{(*sql.Tx).Rollback, (*sql.Tx).Commit} {
					tx, err := db.Begin()
					must(t, err)
					_, err = tx.Exec("INSERT INTO " + name + " VALUES (1)")
					must(t, err)
					must(t, end(tx))
				}
				if n := count(t, db, name); n != 1 {
					t.Fatal(n)
				}
			})
			t.Run("a transaction that is dropped leaves nothing", func(t *testing.T) {
				db, name := open(t, at), table()
				_, err := db.Exec("CREATE TABLE " + name + "(v)")
				must(t, err)
				ctx, cancel := context.WithCancel(context.Background())
				tx, err := db.BeginTx(ctx, nil)
				must(t, err)
				_, err = tx.Exec("INSERT INTO " + name + " VALUES (1)")
				must(t, err)
				cancel()
				_, err = db.Exec("INSERT INTO " + name + " VALUES (2)")
				must(t, err)
				if n := count(t, db, name); n != 1 {
					t.Fatal(n)
				}
			})
			t.Run("a pinned connection keeps its session", func(t *testing.T) {
				db := open(t, at)
				conn, err := db.Conn(context.Background())
				must(t, err)
				defer conn.Close()
				_, err = conn.ExecContext(context.Background(), "PRAGMA foreign_keys = ON")
				must(t, err)
				var on int
				must(t, conn.QueryRowContext(context.Background(), "PRAGMA foreign_keys").Scan(&on))
				if on != 1 {
					t.Fatal(on)
				}
			})
			t.Run("writers wait for one another", func(t *testing.T) {
				db, name := open(t, at), table()
				_, err := db.Exec("CREATE TABLE " + name + "(v)")
				must(t, err)
				var group sync.WaitGroup
				failures := make(chan error, 8)
				for range 8 {
					group.Go(func() {
						for n := range 10 {
							if _, err := db.Exec("INSERT INTO "+name+" VALUES (?)", n); err != nil {
								failures <- err
							}
						}
					})
				}
				group.Wait()
				close(failures)
				for err := range failures {
					t.Error(err)
				}
				if n := count(t, db, name); n != 80 {
					t.Fatal(n)
				}
			})
			t.Run("an error names what SQLite says and the connection goes on", func(t *testing.T) {
				db := open(t, at)
				if _, err := db.Query("SELECT nope"); err == nil || !strings.Contains(err.Error(), "no such column: nope") {
					t.Fatal(err)
				}
				var one int
				must(t, db.QueryRow("SELECT 1").Scan(&one))
			})
			t.Run("a script of several statements runs", func(t *testing.T) {
				if name == "ws" {
					t.Skip("over WebSocket the client speaks the first version, which has no scripts")
				}
				db, name := open(t, at), table()
				_, err := db.Exec("CREATE TABLE " + name + "(v); INSERT INTO " + name + " VALUES (1); INSERT INTO " + name + " VALUES (2)")
				must(t, err)
				if n := count(t, db, name); n != 2 {
					t.Fatal(n)
				}
			})
			t.Run("large results arrive whole", func(t *testing.T) {
				db := open(t, at)
				rows, err := db.Query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) SELECT i FROM n")
				must(t, err)
				defer rows.Close()
				n := 0
				for rows.Next() {
					n++
				}
				must(t, rows.Err())
				if n != 20000 {
					t.Fatal(n)
				}
			})
		})
	}
}
