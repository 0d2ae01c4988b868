"""gRPC over HTTP/2 for callouts: a server of our own for the one peer that calls it, Envoy.

grpc.aio costs about three times as much CPU per call as everything that ext_authz and ext_proc do for it: a thread that
polls, a hand-over to the event loop, a task, and objects for headers that never change. Here a call is a few frames in
one buffer, decided in the callback that received them, and answered by one write (docs/adr/0010-callout-transport.md).

    frames.py      the wire format: frame headers, prebuilt blocks
    headers.py     HPACK, by PyPI hpack, remembering blocks that Envoy repeats
    connection.py  one connection as a state machine, without I/O
    methods.py     methods as coroutines, unary and streaming
    server.py      listens, moves bytes, drains
"""
