// @tursodatabase/serverless.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { connect } from "@tursodatabase/serverless";
import { bytes, failure, table, token, url } from "./setup.mjs";

describe("@tursodatabase/serverless", () => {
  const open = () => connect({ url, authToken: token });

  test("each type of value comes back as it was bound", async () => {
    const connection = open();
    const row = await (await connection.prepare("SELECT ? AS n, ? AS i, ? AS r, ? AS t, ? AS b")).get([null, 7, -1.5, "ä", Buffer.from([0, 255])]);
    assert.deepEqual([row.n, row.i, row.r, row.t, bytes(row.b)], [null, 7, -1.5, "ä", [0, 255]]);
    await connection.close();
  });

  test("rows are written, read and iterated", async () => {
    const connection = open();
    const t = table();
    await connection.exec(`CREATE TABLE ${t}(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO ${t}(v) VALUES ('a')`);
    const done = await (await connection.prepare(`INSERT INTO ${t}(v) VALUES (?)`)).run(["b"]);
    assert.equal(done.changes, 1);
    const rows = [];
    for await (const row of (await connection.prepare(`SELECT v FROM ${t} ORDER BY id`)).iterate()) {
      rows.push(row.v);
    }
    assert.deepEqual(rows, ["a", "b"]);
    await connection.close();
  });

  test("a batch is all or nothing", async () => {
    const connection = open();
    const t = table();
    await connection.exec(`CREATE TABLE ${t}(a UNIQUE)`);
    await failure(() => connection.batch([`INSERT INTO ${t} VALUES (1)`, `INSERT INTO ${t} VALUES (1)`], "immediate"));
    assert.equal((await (await connection.prepare(`SELECT count(*) AS n FROM ${t}`)).get()).n, 0);
    await connection.close();
  });

  test("a transaction commits, and one that throws leaves nothing", async () => {
    const connection = open();
    const t = table();
    await connection.exec(`CREATE TABLE ${t}(a)`);
    const insert = connection.transaction(async (fails) => {
      await connection.exec(`INSERT INTO ${t} VALUES (1)`);
      if (fails) throw new Error("on purpose");
    });
    await insert(false);
    assert.equal((await failure(() => insert(true))).message, "on purpose");
    assert.equal((await (await connection.prepare(`SELECT count(*) AS n FROM ${t}`)).get()).n, 1);
    await connection.close();
  });

  test("an error names what SQLite says", async () => {
    const connection = open();
    const error = await failure(async () => (await connection.prepare("SELECT nope")).all());
    assert.match(error.message, /no such column: nope/);
    await connection.close();
  });
});
