"""Prints the keys and documents that the seed's package finds, then changes some of each."""

import json

from buckethead import BucketSettings, BucketSQLite

with BucketSQLite(BucketSettings.from_env().to_bucket_config()) as database:
    people = database.docs.collection("people")
    keys = list(database.kv.keys())
    seen = {
        "keys": keys,
        "values": [database.kv.get(key) for key in keys],
        "people": [{**person, "big": str(person["big"])} if "big" in person else person for person in people.all()],
        "found": [person["_id"] for person in people.find({"name": "Ada"})],
    }
    database.kv.set("both", "théirs")
    database.kv.set_bytes("bytes", b"\xff\x00")
    database.kv.delete("user/1")
    seen["inserted"] = people.insert({"name": "Bo", "city": {"name": "Zürich"}})
    people.update("ü", {"name": "Eve", "age": 37})
    people.delete("2")

print(json.dumps(seen))
