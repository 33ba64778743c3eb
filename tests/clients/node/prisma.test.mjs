// Prisma's adapter on @libsql/client, without the code that Prisma generates from a schema.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { PrismaLibSql } from "@prisma/adapter-libsql";
import { failure, socketUrl, table, token, url } from "./setup.mjs";

for (const [name, at] of [["http", url], ["ws", socketUrl]]) {
  describe(`the adapter of Prisma over ${name}`, () => {
    let adapter;
    before(async () => {
      adapter = await new PrismaLibSql({ url: at, authToken: token }).connect();
    });
    after(() => adapter.dispose());

    const made = async () => {
      const t = table();
      await adapter.executeScript(`CREATE TABLE ${t}(id INTEGER PRIMARY KEY, name TEXT UNIQUE); CREATE INDEX ${t}_name ON ${t}(name);`);
      return t;
    };
    const inserting = (t, value) => ({ sql: `INSERT INTO ${t}(name) VALUES (?)`, args: [value], argTypes: [{ scalarType: "string", arity: "scalar" }] });
    const names = async (t) => (await adapter.queryRaw({ sql: `SELECT name FROM ${t} ORDER BY id`, args: [], argTypes: [] })).rows.flat();

    test("a script, statements and queries run", async () => {
      const t = await made();
      assert.equal(await adapter.executeRaw(inserting(t, "ä")), 1);
      const found = await adapter.queryRaw({ sql: `SELECT id, name FROM ${t}`, args: [], argTypes: [] });
      assert.deepEqual([found.columnNames, found.rows], [["id", "name"], [[1, "ä"]]]);
    });

    test("a transaction commits, and one that is rolled back leaves nothing", async () => {
      const t = await made();
      for (const end of ["rollback", "commit"]) {
        const transaction = await adapter.startTransaction();
        await transaction.executeRaw(inserting(t, end));
        // The query engine sends these words itself if the adapter does not.
        if (!transaction.options.usePhantomQuery) {
          await transaction.executeRaw({ sql: end.toUpperCase(), args: [], argTypes: [] });
        }
        await transaction[end]();
      }
      assert.deepEqual(await names(t), ["commit"]);
    });

    test("what breaks a constraint says so, and the next statement runs", async () => {
      const t = await made();
      await adapter.executeRaw(inserting(t, "a"));
      const error = await failure(() => adapter.executeRaw(inserting(t, "a")));
      // The adapter tells kinds apart by SQLite's number, which @libsql/client has of local files alone.
      assert.match(error.cause.originalMessage, /UNIQUE constraint failed/);
      assert.deepEqual(await names(t), ["a"]);
    });
  });
}
