// drizzle-orm on @libsql/client.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { createClient } from "@libsql/client";
import { eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/libsql";
import { blob, integer, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { failure, socketUrl, table, token, url } from "./setup.mjs";

for (const [name, at] of [["http", url], ["ws", socketUrl]]) {
  describe(`drizzle over ${name}`, () => {
    const client = createClient({ url: at, authToken: token });
    const db = drizzle(client);
    after(() => client.close());

    const made = async () => {
      const t = table();
      await db.run(sql.raw(`CREATE TABLE ${t}(id INTEGER PRIMARY KEY, name TEXT UNIQUE, price REAL, picture BLOB, made INTEGER)`));
      return sqliteTable(t, {
        id: integer("id").primaryKey(),
        name: text("name"),
        price: real("price"),
        picture: blob("picture", { mode: "buffer" }),
        made: integer("made", { mode: "timestamp" }),
      });
    };

    test("rows are inserted, read, changed and deleted", async () => {
      const orders = await made();
      const row = { id: 1, name: "ä", price: 1.5, picture: Buffer.from([0, 255]), made: new Date(1_700_000_000_000) };
      assert.deepEqual(await db.insert(orders).values(row).returning(), [row]);
      await db.update(orders).set({ price: 2 }).where(eq(orders.id, 1));
      assert.deepEqual((await db.select({ price: orders.price }).from(orders))[0], { price: 2 });
      await db.delete(orders);
      assert.equal((await db.select().from(orders)).length, 0);
    });

    test("a transaction that throws leaves nothing", async () => {
      const orders = await made();
      const error = await failure(() =>
        db.transaction(async (transaction) => {
          await transaction.insert(orders).values({ name: "a" });
          throw new Error("on purpose");
        }),
      );
      assert.equal(error.message, "on purpose");
      assert.equal((await db.select().from(orders)).length, 0);
    });

    test("transactions nest", async () => {
      const orders = await made();
      await db.transaction(async (outer) => {
        await outer.insert(orders).values({ name: "outer" });
        await failure(() =>
          outer.transaction(async (inner) => {
            await inner.insert(orders).values({ name: "inner" });
            throw new Error("on purpose");
          }),
        );
      });
      assert.deepEqual((await db.select({ name: orders.name }).from(orders)), [{ name: "outer" }]);
    });

    test("a batch runs as one", async () => {
      const orders = await made();
      const [, all] = await db.batch([db.insert(orders).values({ name: "a" }), db.select({ name: orders.name }).from(orders)]);
      assert.deepEqual(all, [{ name: "a" }]);
    });

    test("many rows at once", async () => {
      const orders = await made();
      await db.insert(orders).values(Array.from({ length: 800 }, (_, n) => ({ name: `row ${n}`, price: n })));
      assert.equal((await db.select().from(orders)).length, 800);
    });
  });
}
