// @libsql/hrana-client: the protocol itself, in version 2 with JSON and in version 3 with Protocol Buffers, over HTTP and over WebSocket.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import * as hrana from "@libsql/hrana-client";
import { bytes, failure, socketUrl, table, token, url, values } from "./setup.mjs";

const open = {
  http: (version) => hrana.openHttp(url, token, undefined, undefined, version),
  ws: (version) => hrana.openWs(socketUrl, token, version),
};

for (const transport of ["http", "ws"]) {
  for (const version of [2, 3]) {
    describe(`@libsql/hrana-client over ${transport}, protocol ${version}`, () => {
      const client = open[transport](version);
      // Over HTTP it first asks, without a token, whether the version is known.
      before(() => client.getVersion());
      after(() => client.close());

      test("the version is the one that was asked for", async () => {
        assert.equal(await client.getVersion(), version);
      });

      test("each type of value comes back as it was bound", async () => {
        const stream = client.openStream();
        const row = await stream.queryRow(["SELECT ?, ?, ?, ?, ?", values]);
        assert.deepEqual([row.row[0], row.row[1], row.row[2], row.row[3]], values.slice(0, 4));
        assert.deepEqual(bytes(row.row[4]), [0, 1, 255]);
        stream.close();
      });

      test("what happens on a stream stays there until it commits", async () => {
        const [stream, other, t] = [client.openStream(), client.openStream(), table()];
        await stream.run(`CREATE TABLE ${t}(a)`);
        await stream.run("BEGIN");
        const inserted = await stream.run([`INSERT INTO ${t} VALUES (:a), (2)`, { a: 1 }]);
        assert.deepEqual([inserted.affectedRowCount, inserted.lastInsertRowid], [2, 2n]);
        assert.equal((await other.queryValue(`SELECT count(*) FROM ${t}`)).value, 0);
        await stream.run("COMMIT");
        assert.equal((await other.queryValue(`SELECT count(*) FROM ${t}`)).value, 2);
        stream.close();
        other.close();
      });

      test("an error has its code, and the stream goes on", async () => {
        const stream = client.openStream();
        const error = await failure(() => stream.query("SELECT nope"));
        assert.equal(error.code, "SQLITE_ERROR");
        assert.equal((await stream.queryValue("SELECT 1")).value, 1);
        stream.close();
      });

      test("steps of a batch depend on one another", async () => {
        const stream = client.openStream();
        const batch = stream.batch(false);
        const [first, second, third] = [batch.step(), batch.step(), batch.step()];
        const promises = [
          first.queryValue("SELECT 1"),
          failure(() => second.condition(hrana.BatchCond.ok(first)).query("SELECT nope")),
          third.condition(hrana.BatchCond.and(batch, [hrana.BatchCond.ok(second)])).queryValue("SELECT 3"),
        ];
        await batch.execute();
        const [one, error, skipped] = await Promise.all(promises);
        assert.deepEqual([one.value, error.code, skipped], [1, "SQLITE_ERROR", undefined]);
        stream.close();
      });

      test("statements are described, sequences run, texts stored", async () => {
        const [stream, t] = [client.openStream(), table()];
        const { paramNames, columns, isReadonly } = await stream.describe("SELECT :a AS n");
        assert.deepEqual([paramNames[0], columns[0].name, isReadonly], [":a", "n", true]);
        await stream.sequence(`CREATE TABLE ${t}(a); INSERT INTO ${t} VALUES (1); INSERT INTO ${t} VALUES (2)`);
        // Over HTTP texts belong to the stream, over WebSocket to the client.
        const owner = transport === "ws" ? client : stream;
        const sql = owner.storeSql(`SELECT count(*) FROM ${t}`);
        assert.equal((await stream.queryValue(sql)).value, 2);
        sql.close();
        stream.close();
      });

      test("rows come from a cursor", { skip: version < 3 }, async () => {
        const [stream, t] = [client.openStream(), table()];
        await stream.sequence(`CREATE TABLE ${t}(a); INSERT INTO ${t} SELECT value FROM json_each('[1,2,3]')`);
        const batch = stream.batch(true);
        const selected = batch.step().query(`SELECT a FROM ${t}`);
        await batch.execute();
        assert.deepEqual((await selected).rows.map((row) => row.a), [1, 2, 3]);
        assert.equal(await stream.getAutocommit(), true);
        stream.close();
      });
    });
  }
}
