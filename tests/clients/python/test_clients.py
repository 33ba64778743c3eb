"""The Python clients: libsql, SQLAlchemy by sqlalchemy-libsql, and libsql-client, which nobody develops any more."""

import os
import threading
import unittest

import libsql
import libsql_client
import sqlalchemy
from sqlalchemy import Column, Float, Integer, String, create_engine, select
from sqlalchemy.orm import Session, declarative_base

URL = os.environ["BUCKETHEAD_URL"]
TOKEN = os.environ.get("BUCKETHEAD_TOKEN", "")

_lock = threading.Lock()
_tables = 0


def table():
    """A name that no other test uses."""
    global _tables
    with _lock:
        _tables += 1
        return f"py_{os.getpid()}_{_tables}"


def connect():
    return libsql.connect(URL, auth_token=TOKEN)


class Libsql(unittest.TestCase):
    def test_each_type_of_value_comes_back_as_it_was_bound(self):
        values = (None, 1 << 62, -1.5, "ä'", b"\x00\xff")
        row = connect().execute("SELECT ?, ?, ?, ?, ?", values).fetchone()
        self.assertEqual((*row[:4], bytes(row[4])), values)

    def test_rows_are_written_and_read(self):
        connection, name = connect(), table()
        connection.execute(f"CREATE TABLE {name}(id INTEGER PRIMARY KEY, v TEXT)")
        connection.execute(f"INSERT INTO {name}(v) VALUES (?)", ("a",))
        cursor = connection.execute(f"INSERT INTO {name}(v) VALUES (?)", ("b",))
        self.assertEqual(cursor.lastrowid, 2)
        connection.commit()
        self.assertEqual(connect().execute(f"SELECT v FROM {name} ORDER BY id").fetchall(), [("a",), ("b",)])

    def test_a_transaction_is_rolled_back(self):
        connection, name = connect(), table()
        connection.execute(f"CREATE TABLE {name}(v)")
        connection.commit()
        connection.execute(f"INSERT INTO {name} VALUES (1)")
        connection.rollback()
        self.assertEqual(connection.execute(f"SELECT count(*) FROM {name}").fetchone(), (0,))

    def test_many_rows_and_a_script(self):
        connection, name = connect(), table()
        connection.executescript(f"CREATE TABLE {name}(v); INSERT INTO {name} VALUES (0)")
        connection.executemany(f"INSERT INTO {name} VALUES (?)", [(n,) for n in range(100)])
        connection.commit()
        self.assertEqual(connect().execute(f"SELECT count(*) FROM {name}").fetchone(), (101,))

    def test_an_error_names_what_sqlite_says(self):
        with self.assertRaisesRegex(Exception, "no such column: nope"):
            connect().execute("SELECT nope").fetchall()

    def test_a_large_result_arrives_whole(self):
        sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) SELECT i FROM n"
        self.assertEqual(len(connect().execute(sql).fetchall()), 20000)


class SqlAlchemy(unittest.TestCase):
    def setUp(self):
        at = URL.removeprefix("http://").rstrip("/")
        self.engine = create_engine(f"sqlite+libsql://{at}/", connect_args={"auth_token": TOKEN})
        base = declarative_base()

        class Order(base):
            __tablename__ = table()
            id = Column(Integer, primary_key=True)
            name = Column(String, unique=True)
            price = Column(Float)

        self.order = Order
        base.metadata.create_all(self.engine)

    def tearDown(self):
        self.engine.dispose()

    def test_objects_are_stored_changed_and_deleted(self):
        with Session(self.engine) as session:
            session.add(self.order(name="a", price=1.5))
            session.commit()
            order = session.scalars(select(self.order)).one()
            self.assertEqual((order.id, order.name, order.price), (1, "a", 1.5))
            order.price = 2.0
            session.commit()
            self.assertEqual(session.scalars(select(self.order.price)).one(), 2.0)
            session.delete(order)
            session.commit()
            self.assertEqual(session.scalars(select(self.order)).all(), [])

    def test_a_session_is_rolled_back(self):
        with Session(self.engine) as session:
            session.add(self.order(name="a"))
            session.flush()
            session.rollback()
            self.assertEqual(session.scalars(select(self.order)).all(), [])

    def test_the_schema_is_reflected(self):
        columns = sqlalchemy.inspect(self.engine).get_columns(self.order.__tablename__)
        self.assertEqual([column["name"] for column in columns], ["id", "name", "price"])


class OldClient:
    """libsql-client over one transport."""

    def open(self):
        return libsql_client.create_client(self.url, auth_token=TOKEN or None)

    async def test_each_type_of_value_comes_back_as_it_was_bound(self):
        values = (None, 1 << 62, -1.5, "ä'", b"\x00\xff")
        async with self.open() as client:
            result = await client.execute("SELECT ?, ?, ?, ?, ? AS b", values)
        self.assertEqual(tuple(result.rows[0]), values)
        self.assertEqual(result.columns[4], "b")

    async def test_arguments_are_bound_by_name_and_counts_are_told(self):
        name = table()
        async with self.open() as client:
            await client.execute(f"CREATE TABLE {name}(id INTEGER PRIMARY KEY, v)")
            result = await client.execute(f"INSERT INTO {name}(v) VALUES (:v), (2)", {"v": 1})
            self.assertEqual((result.rows_affected, result.last_insert_rowid), (2, 2))

    async def test_a_batch_is_all_or_nothing(self):
        name = table()
        async with self.open() as client:
            await client.batch([f"CREATE TABLE {name}(a UNIQUE)", libsql_client.Statement(f"INSERT INTO {name} VALUES (?)", [1])])
            with self.assertRaises(libsql_client.LibsqlError) as refused:
                await client.batch([f"INSERT INTO {name} VALUES (2)", f"INSERT INTO {name} VALUES (1)"])
            self.assertEqual(refused.exception.code, "SQLITE_CONSTRAINT")
            self.assertEqual((await client.execute(f"SELECT count(*) FROM {name}")).rows[0][0], 1)

    async def test_an_error_has_its_code(self):
        async with self.open() as client:
            with self.assertRaises(libsql_client.LibsqlError) as refused:
                await client.execute("SELECT nope")
            self.assertEqual(refused.exception.code, "SQLITE_ERROR")


class OldClientOverHttp(OldClient, unittest.IsolatedAsyncioTestCase):
    url = URL

    async def test_it_has_no_transactions(self):
        async with self.open() as client:
            with self.assertRaises(libsql_client.LibsqlError) as refused:
                client.transaction()
            self.assertEqual(refused.exception.code, "TRANSACTIONS_NOT_SUPPORTED")


class OldClientOverWebSocket(OldClient, unittest.IsolatedAsyncioTestCase):
    url = URL.replace("http", "ws", 1)

    async def test_a_transaction_commits_and_is_rolled_back(self):
        name = table()
        async with self.open() as client:
            await client.execute(f"CREATE TABLE {name}(a)")
            for end in ("commit", "rollback"):
                transaction = client.transaction()
                await transaction.execute(f"INSERT INTO {name} VALUES (1)")
                await getattr(transaction, end)()
            self.assertEqual((await client.execute(f"SELECT count(*) FROM {name}")).rows[0][0], 1)


if __name__ == "__main__":
    unittest.main()
