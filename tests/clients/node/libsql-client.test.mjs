// @libsql/client, over HTTP and over WebSocket.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { createClient } from "@libsql/client";
import { bytes, failure, socketUrl, table, token, url, values } from "./setup.mjs";

for (const [name, at] of [["http", url], ["ws", socketUrl]]) {
  describe(`@libsql/client over ${name}`, () => {
    const client = createClient({ url: at, authToken: token });
    after(() => client.close());

    test("each type of value comes back as it was bound", async () => {
      const { rows, columns } = await client.execute({ sql: "SELECT ? AS n, ? AS i, ? AS r, ? AS t, ? AS b", args: values });
      assert.deepEqual(columns, ["n", "i", "r", "t", "b"]);
      assert.deepEqual([rows[0].n, rows[0].i, rows[0].r, rows[0].t], values.slice(0, 4));
      assert.deepEqual(bytes(rows[0].b), [0, 1, 255]);
    });

    test("large integers are exact as bigint", async () => {
      const big = createClient({ url: at, authToken: token, intMode: "bigint" });
      const { rows } = await big.execute({ sql: "SELECT ? AS most, ? AS least", args: [2n ** 63n - 1n, -(2n ** 63n)] });
      assert.deepEqual([rows[0].most, rows[0].least], [2n ** 63n - 1n, -(2n ** 63n)]);
      big.close();
    });

    test("arguments are bound by name", async () => {
      const { rows } = await client.execute({ sql: "SELECT :a || @b || $c AS all_of_them", args: { a: "x", b: "y", c: "z" } });
      assert.equal(rows[0].all_of_them, "xyz");
    });

    test("counts and row ids are told", async () => {
      const t = table();
      await client.execute(`CREATE TABLE ${t}(id INTEGER PRIMARY KEY, v)`);
      const inserted = await client.execute(`INSERT INTO ${t}(v) VALUES (1), (2)`);
      assert.deepEqual([inserted.rowsAffected, inserted.lastInsertRowid], [2, 2n]);
      const updated = await client.execute(`UPDATE ${t} SET v = 0`);
      assert.equal(updated.rowsAffected, 2);
      assert.equal((await client.execute(`SELECT * FROM ${t}`)).rowsAffected, 0);
    });

    test("a batch is all or nothing", async () => {
      const t = table();
      await client.batch([`CREATE TABLE ${t}(a UNIQUE)`, { sql: `INSERT INTO ${t} VALUES (?)`, args: [1] }], "write");
      const error = await failure(() => client.batch([`INSERT INTO ${t} VALUES (2)`, `INSERT INTO ${t} VALUES (1)`], "write"));
      assert.equal(error.code, "SQLITE_CONSTRAINT");
      const [count] = await client.batch([`SELECT count(*) AS n FROM ${t}`], "read");
      assert.equal(count.rows[0].n, 1);
    });

    test("a transaction commits", async () => {
      const t = table();
      await client.execute(`CREATE TABLE ${t}(a)`);
      const transaction = await client.transaction("write");
      await transaction.execute(`INSERT INTO ${t} VALUES (1)`);
      await transaction.batch([`INSERT INTO ${t} VALUES (2)`]);
      assert.equal((await transaction.execute(`SELECT count(*) AS n FROM ${t}`)).rows[0].n, 2);
      await transaction.commit();
      assert.equal(transaction.closed, true);
      assert.equal((await client.execute(`SELECT count(*) AS n FROM ${t}`)).rows[0].n, 2);
    });

    test("a transaction is rolled back, also by closing it", async () => {
      const t = table();
      await client.execute(`CREATE TABLE ${t}(a)`);
      for (const end of ["rollback", "close"]) {
        const transaction = await client.transaction("write");
        await transaction.execute(`INSERT INTO ${t} VALUES (1)`);
        await transaction[end]();
      }
      assert.equal((await client.execute(`SELECT count(*) AS n FROM ${t}`)).rows[0].n, 0);
    });

    test("a reading transaction sees one version", async () => {
      const t = table();
      await client.execute(`CREATE TABLE ${t}(a)`);
      const transaction = await client.transaction("read");
      assert.equal((await transaction.execute(`SELECT count(*) AS n FROM ${t}`)).rows[0].n, 0);
      await client.execute(`INSERT INTO ${t} VALUES (1)`);
      assert.equal((await transaction.execute(`SELECT count(*) AS n FROM ${t}`)).rows[0].n, 0);
      transaction.close();
    });

    test("writers wait for one another", async () => {
      const t = table();
      await client.execute(`CREATE TABLE ${t}(a)`);
      const insert = async (n) => {
        const transaction = await client.transaction("write");
        await transaction.execute({ sql: `INSERT INTO ${t} VALUES (?)`, args: [n] });
        await transaction.commit();
      };
      await Promise.all(Array.from({ length: 20 }, (_, n) => insert(n)));
      assert.equal((await client.execute(`SELECT count(*) AS n FROM ${t}`)).rows[0].n, 20);
    });

    test("a failing statement in a transaction leaves it usable", async () => {
      const t = table();
      await client.execute(`CREATE TABLE ${t}(a UNIQUE)`);
      const transaction = await client.transaction("write");
      await transaction.execute(`INSERT INTO ${t} VALUES (1)`);
      const error = await failure(() => transaction.execute(`INSERT INTO ${t} VALUES (1)`));
      assert.equal(error.code, "SQLITE_CONSTRAINT");
      await transaction.execute(`INSERT INTO ${t} VALUES (2)`);
      await transaction.commit();
      assert.equal((await client.execute(`SELECT count(*) AS n FROM ${t}`)).rows[0].n, 2);
    });

    test("errors have their codes", async () => {
      for (const [sql, code] of [
        ["SELECT nope", "SQLITE_ERROR"],
        ["SELECT", "SQLITE_ERROR"],
        ["ATTACH 'x' AS y", "SQLITE_AUTH"],
        ["SELECT 1; SELECT 2", "SQL_MANY_STATEMENTS"],
      ]) {
        assert.equal((await failure(() => client.execute(sql))).code, code, sql);
      }
      assert.equal((await failure(() => client.execute({ sql: "SELECT ?", args: [] }))).code, "ARGS_INVALID");
    });

    test("a script of several statements runs", async () => {
      const t = table();
      await client.executeMultiple(`CREATE TABLE ${t}(a); INSERT INTO ${t} VALUES (1); INSERT INTO ${t} VALUES (';')`);
      assert.equal((await client.execute(`SELECT count(*) AS n FROM ${t}`)).rows[0].n, 2);
    });

    test("a migration may break foreign keys in between", async () => {
      const t = table();
      await client.migrate([`CREATE TABLE ${t}_p(a PRIMARY KEY)`, `CREATE TABLE ${t}(a REFERENCES ${t}_p)`, `INSERT INTO ${t} VALUES (1)`]);
      assert.equal((await client.execute(`SELECT count(*) AS n FROM ${t}`)).rows[0].n, 1);
    });

    test("large results and large values arrive whole", async () => {
      const sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) SELECT i, 'some text' AS t FROM n";
      const { rows } = await client.execute(sql);
      assert.equal(rows.length, 20000);
      assert.equal(rows[19999].i, 20000);
      const large = "x".repeat(3_000_000);
      assert.equal((await client.execute({ sql: "SELECT ? AS t", args: [large] })).rows[0].t, large);
      assert.equal((await failure(() => client.execute("SELECT hex(zeroblob(8000000))"))).code, "RESPONSE_TOO_LARGE");
    });
  });

  test(`a wrong token is refused over ${name}`, { skip: !token }, async () => {
    const client = createClient({ url: at, authToken: "guess" });
    const error = await failure(() => client.execute("SELECT 1"));
    assert.match(`${error.message} ${error.code}`, /401|UNAUTHORIZED|token/);
    client.close();
  });
}
