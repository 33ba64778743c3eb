"""Files through the seed's package: `files.py put|get|list|gc …`. Prints JSON; its last flush comes from the end of `with`."""

import json
import sys

from buckethead import BucketSettings, BucketSQLite

command, *arguments = sys.argv[1:]
with BucketSQLite(BucketSettings.from_env().to_bucket_config()) as database:
    if command == "put":
        [content] = arguments
        result = database.files.put(content.encode(), filename="ä.txt", mime="text/plain", metadata={"by": "ßeed"})
    elif command == "get":
        [key] = arguments
        result = {
            "content": database.files.get(key).decode(),
            "head": database.files.head(key).model_dump(),
            "keys": [file.bh_key for file in database.files.list()],
        }
    elif command == "list":
        result = [file.bh_key for file in database.files.list()]
    elif command == "gc":
        [grace] = arguments
        result = vars(database.files.gc(grace_seconds=int(grace)))
print(json.dumps(result))
