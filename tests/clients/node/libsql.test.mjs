// libsql, the package with the interface of better-sqlite3, on a remote database.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import Database from "libsql/promise";
import { bytes, failure, table, token, url } from "./setup.mjs";

describe("libsql (native, remote)", () => {
  const open = () => new Database(url, { authToken: token });

  test("each type of value comes back as it was bound", async () => {
    const db = await open();
    const statement = await db.prepare("SELECT ? AS n, ? AS i, ? AS r, ? AS t, ? AS b");
    const row = await statement.get(null, 7, -1.5, "ä", Buffer.from([0, 255]));
    assert.deepEqual([row.n, row.i, row.r, row.t, bytes(row.b)], [null, 7, -1.5, "ä", [0, 255]]);
    db.close();
  });

  test("rows are written and read", async () => {
    const db = await open();
    const t = table();
    await db.exec(`CREATE TABLE ${t}(id INTEGER PRIMARY KEY, v TEXT)`);
    const insert = await db.prepare(`INSERT INTO ${t}(v) VALUES (?)`);
    const info = await insert.run("a");
    assert.equal(info.changes, 1);
    await insert.run("b");
    const all = await (await db.prepare(`SELECT * FROM ${t} ORDER BY id`)).all();
    assert.deepEqual(all.map((row) => row.v), ["a", "b"]);
    db.close();
  });

  test("a transaction commits and rolls back", async () => {
    const db = await open();
    const t = table();
    await db.exec(`CREATE TABLE ${t}(a)`);
    for (const [end, count] of [["ROLLBACK", 0], ["COMMIT", 1]]) {
      await db.exec("BEGIN");
      await db.exec(`INSERT INTO ${t} VALUES (1)`);
      await db.exec(end);
      assert.equal((await (await db.prepare(`SELECT count(*) AS n FROM ${t}`)).get()).n, count);
    }
    db.close();
  });

  test("an error names what SQLite says", async () => {
    const db = await open();
    const error = await failure(async () => (await db.prepare("SELECT nope")).all());
    assert.match(error.message, /no such column: nope/);
    db.close();
  });
});
