// kysely on @libsql/client.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { LibsqlDialect } from "@libsql/kysely-libsql";
import { Kysely } from "kysely";
import { failure, socketUrl, table, token, url } from "./setup.mjs";

for (const [name, at] of [["http", url], ["ws", socketUrl]]) {
  describe(`kysely over ${name}`, () => {
    const db = new Kysely({ dialect: new LibsqlDialect({ url: at, authToken: token }) });
    after(() => db.destroy());

    const made = async () => {
      const t = table();
      await db.schema
        .createTable(t)
        .addColumn("id", "integer", (column) => column.primaryKey())
        .addColumn("name", "text", (column) => column.unique())
        .execute();
      return t;
    };

    test("rows are inserted, read, changed and deleted", async () => {
      const t = await made();
      const inserted = await db.insertInto(t).values([{ name: "ä" }, { name: "b" }]).executeTakeFirst();
      assert.deepEqual([inserted.insertId, inserted.numInsertedOrUpdatedRows], [2n, 2n]);
      assert.deepEqual(await db.updateTable(t).set({ name: "c" }).where("id", "=", 2).returningAll().execute(), [{ id: 2, name: "c" }]);
      assert.equal((await db.deleteFrom(t).where("id", "=", 1).executeTakeFirst()).numDeletedRows, 1n);
      assert.deepEqual(await db.selectFrom(t).select("name").execute(), [{ name: "c" }]);
    });

    test("a transaction commits, and one that throws leaves nothing", async () => {
      const t = await made();
      await db.transaction().execute((transaction) => transaction.insertInto(t).values({ name: "kept" }).execute());
      const error = await failure(() =>
        db.transaction().execute(async (transaction) => {
          await transaction.insertInto(t).values({ name: "lost" }).execute();
          await transaction.insertInto(t).values({ name: "kept" }).execute();
        }),
      );
      assert.match(error.message, /UNIQUE constraint failed/);
      assert.deepEqual(await db.selectFrom(t).select("name").execute(), [{ name: "kept" }]);
    });

    test("it sees which tables and columns there are", async () => {
      const t = await made();
      const found = (await db.introspection.getTables()).find((each) => each.name === t);
      assert.deepEqual(found.columns.map((column) => [column.name, column.dataType]), [["id", "INTEGER"], ["name", "TEXT"]]);
    });
  });
}
