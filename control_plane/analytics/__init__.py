"""Who uses what: Envoy's gRPC access log as usage per consumer, route, API version and status.

A process of its own (`python -m control_plane --role analytics`), so that no push ever waits for it. Envoy never waits
for it either: what does not fit its buffers is dropped and counted.

Pure: `entries` (one log entry -> what counts), `heavy_hitters`, `tally` (entries between two flushes), `latency`,
`windows`, `report`, `losses`. Shell: `receiver` (gRPC), `storage` with `sqlite` and `postgresql`, `worker`, `web`,
`process`.
"""
