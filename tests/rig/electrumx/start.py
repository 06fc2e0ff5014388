"""Starts ElectrumX as tests need it: it keeps its index in memory, and answers at once unless WAITS=1.

Neither changes what it answers, only where that comes from and when.
"""

import bisect
import os
import sys
import threading

import electrumx
from electrumx.cli import electrumx_server
from electrumx.lib import coins
from electrumx.server import storage
from electrumx.server.transport import PaddedRSTransport


class Memory(storage.Storage):
    """A store that ends with the process; chosen by DB_ENGINE=memory."""

    # Rows and their sorted keys by the store's name: it is closed and opened again when the chain has been read.
    stores = {}
    lock = threading.Lock()

    @classmethod
    def import_module(cls):
        pass

    def open(self, name, create):
        # What is there is taken for a store that exists.
        open(name, "a").close()
        self.rows, self.keys = self.stores.setdefault(name, ({}, []))

    def close(self):
        pass

    def get(self, key):
        return self.rows.get(key)

    def put(self, key, value):
        with self.lock:
            self.write(key, value)

    def write(self, key, value):
        """The lock is held; no value deletes."""
        place = bisect.bisect_left(self.keys, key)
        if value is None:
            if self.rows.pop(key, None) is not None:
                del self.keys[place]
            return
        if key not in self.rows:
            self.keys.insert(place, key)
        self.rows[key] = value

    def write_batch(self):
        return Batch(self)

    def iterator(self, prefix=b"", reverse=False):
        with self.lock:
            found = []
            for key in self.keys[bisect.bisect_left(self.keys, prefix) :]:
                if not key.startswith(prefix):
                    break
                found.append((key, self.rows[key]))
        return reversed(found) if reverse else iter(found)


class Batch:
    """Writes that are made together when the block that gathers them ends well."""

    def __init__(self, store):
        self.store = store
        self.writes = []

    def put(self, key, value):
        self.writes.append((key, value))

    def delete(self, key):
        self.writes.append((key, None))

    def __enter__(self):
        return self

    def __exit__(self, error, _value, _traceback):
        if error is None:
            with self.store.lock:
                for key, value in self.writes:
                    self.store.write(key, value)


def main():
    if sys.argv[1:] == ["--version"]:
        print(electrumx.version)
        return
    # Engines are looked up in this module.
    storage.Memory = Memory
    if os.environ.get("WAITS") != "1":
        # A small answer would wait up to a second for others to share a packet with.
        PaddedRSTransport.WAIT_FOR_BUFFER_GROWTH_SECONDS = -1.0
    # Two minutes as shipped.
    coins.BitcoinRegtest.MEMPOOL_HISTOGRAM_REFRESH_SECS = 0.1
    electrumx_server.main()


if __name__ == "__main__":
    main()
