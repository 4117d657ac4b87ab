#!/usr/bin/env python3
"""A proxy that lets everything through some milliseconds later, in both directions.

    scripts/delay_proxy.py 50061:50051 10    # listens on 50061, passes on to 50051 after 10 ms

It stands for a network between logitspec and a worker (docs/scaling.md). Loopback only.
"""

import queue
import socket
import sys
import threading
import time


def pump(source, sink, delay):
    """Passes on what `source` sends, each piece `delay` seconds after it came."""
    pieces = queue.Queue()

    def send():
        while True:
            due, data = pieces.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
            except OSError:
                return

    threading.Thread(target=send, daemon=True).start()
    data = b"x"
    while data:
        try:
            data = source.recv(1 << 20)
        except OSError:
            data = b""
        pieces.put((time.monotonic() + delay, data))


def main():
    ports, milliseconds = sys.argv[1:]
    listen, to = map(int, ports.split(":"))
    delay = float(milliseconds) / 1000
    server = socket.create_server(("127.0.0.1", listen))
    while True:
        client, _ = server.accept()
        try:
            worker = socket.create_connection(("127.0.0.1", to))
        except OSError:
            client.close()
            continue
        for end in (client, worker):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in ((client, worker), (worker, client)):
            threading.Thread(target=pump, args=(source, sink, delay), daemon=True).start()


if __name__ == "__main__":
    main()
