"""The Python clients: libsql, and SQLAlchemy by sqlalchemy-libsql."""

import os
import threading
import unittest

import libsql
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


if __name__ == "__main__":
    unittest.main()
