"""Times the seed's key-value store on a shared-cache database as the seed opens it, without a bucket; prints microseconds a call."""

import json
import sqlite3
import time

from buckethead.interfaces.kv import KVStore

COUNT = 20_000
KEYS = 5_000

store = KVStore(sqlite3.connect("file:bench?mode=memory&cache=shared", uri=True, check_same_thread=False))


def each(call):
    begun = time.perf_counter()
    for n in range(COUNT):
        call(n)
    return (time.perf_counter() - begun) / COUNT * 1e6


upsert = each(lambda n: store.set_bytes(f"k{n % KEYS}", b"%0100d" % n))
read = each(lambda n: store.get_bytes(f"k{n * 7919 % KEYS}"))
assert store.get_bytes("k1") == b"%0100d" % (COUNT - KEYS + 1)
print(json.dumps({"upsert": upsert, "read": read}))
