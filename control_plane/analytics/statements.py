"""The SQL of `storage`, as SQLite and PostgreSQL both take it; a parameter is written as `?`."""

from control_plane.analytics.entries import ANONYMOUS, OTHER

_ADD_UP = "requests = {table}.requests + excluded.requests, bytes = {table}.bytes + excluded.bytes"
SUMS = (
    "COALESCE(SUM(requests), 0), COALESCE(SUM(CASE WHEN status BETWEEN 400 AND 499 THEN requests ELSE 0 END), 0), "
    "COALESCE(SUM(CASE WHEN status >= 500 THEN requests ELSE 0 END), 0), COALESCE(SUM(bytes), 0)"
)
CONSUMERS = f"COUNT(DISTINCT CASE WHEN consumer NOT IN ('{OTHER}', '{ANONYMOUS}') THEN consumer END)"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS analytics_usage (bucket_s INTEGER NOT NULL, bucket BIGINT NOT NULL, "
    "gateway TEXT NOT NULL, consumer TEXT NOT NULL, route TEXT NOT NULL, version TEXT NOT NULL, "
    "status INTEGER NOT NULL, requests BIGINT NOT NULL, bytes BIGINT NOT NULL, "
    "PRIMARY KEY (bucket_s, bucket, gateway, consumer, route, version, status))",
    "CREATE TABLE IF NOT EXISTS analytics_latency (bucket_s INTEGER NOT NULL, bucket BIGINT NOT NULL, "
    "gateway TEXT NOT NULL, route TEXT NOT NULL, version TEXT NOT NULL, sketch {bytes} NOT NULL, "
    "PRIMARY KEY (bucket_s, bucket, gateway, route, version))",
    "CREATE TABLE IF NOT EXISTS analytics_deprecated (gateway TEXT NOT NULL, route TEXT NOT NULL, "
    "version TEXT NOT NULL, since TEXT NOT NULL, sunset TEXT NOT NULL, successor TEXT NOT NULL, "
    "last_seen DOUBLE PRECISION NOT NULL, PRIMARY KEY (gateway, route, version))",
    "CREATE TABLE IF NOT EXISTS analytics_callers (gateway TEXT NOT NULL, route TEXT NOT NULL, version TEXT NOT NULL, "
    "consumer TEXT NOT NULL, requests BIGINT NOT NULL, last_seen DOUBLE PRECISION NOT NULL, "
    "PRIMARY KEY (gateway, route, version, consumer))",
    "CREATE TABLE IF NOT EXISTS analytics_lost (bucket_s INTEGER NOT NULL, bucket BIGINT NOT NULL, "
    "requests BIGINT NOT NULL, PRIMARY KEY (bucket_s, bucket))",
    "CREATE TABLE IF NOT EXISTS analytics_accounts (node TEXT PRIMARY KEY, account TEXT NOT NULL)",
)
"""Tables are added to it, never changed: a newer process finds what an older one has left."""


def schema(bytes_type: str) -> list[str]:
    """What makes the tables that are missing; for each new connection."""
    return [statement.format(bytes=bytes_type) for statement in _SCHEMA]


ADD_USAGE = (
    "INSERT INTO analytics_usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (bucket_s, bucket, gateway, consumer, route, version, status) "
    f"DO UPDATE SET {_ADD_UP.format(table='analytics_usage')}"
)
AT_PLACE = "bucket_s = ? AND bucket = ? AND gateway = ? AND route = ? AND version = ?"
PUT_LATENCY = (
    "INSERT INTO analytics_latency VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (bucket_s, bucket, gateway, route, version) DO UPDATE SET sketch = excluded.sketch"
)
ADD_LOST = (
    "INSERT INTO analytics_lost VALUES (?, ?, ?) "
    "ON CONFLICT (bucket_s, bucket) DO UPDATE SET requests = analytics_lost.requests + excluded.requests"
)
PUT_DEPRECATED = (
    "INSERT INTO analytics_deprecated VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (gateway, route, version) DO UPDATE SET "
    "since = excluded.since, sunset = excluded.sunset, successor = excluded.successor, last_seen = excluded.last_seen"
)
ADD_CALLER = (
    "INSERT INTO analytics_callers VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (gateway, route, version, consumer) DO UPDATE "
    "SET requests = analytics_callers.requests + excluded.requests, last_seen = excluded.last_seen"
)
_OF_PLACE = "gateway = ? AND route = ? AND version = ?"
OLDEST_CALLER = f"SELECT last_seen FROM analytics_callers WHERE {_OF_PLACE} ORDER BY last_seen DESC LIMIT 1 OFFSET ?"
DEPRECATED = (
    "SELECT gateway, route, version, since, sunset, successor FROM analytics_deprecated "
    "WHERE last_seen >= ? AND (gateway = ? OR ? = '') ORDER BY 1, 2, 3"
)
FORGET_CALLERS = f"DELETE FROM analytics_callers WHERE {_OF_PLACE} AND last_seen < ?"
CALLERS = (
    f"SELECT consumer, requests, last_seen FROM analytics_callers WHERE {_OF_PLACE} ORDER BY last_seen DESC, consumer"
)
USE_OF_PLACE = (
    f"SELECT COALESCE(SUM(requests), 0), {CONSUMERS} FROM analytics_usage "
    f"WHERE bucket_s = ? AND bucket >= ? AND {_OF_PLACE}"
)
LAST_KEPT = (
    "SELECT requests, consumer FROM analytics_usage WHERE bucket_s = ? AND bucket = ? AND consumer <> ? "
    "ORDER BY requests DESC, consumer LIMIT 1 OFFSET ?"
)
TAIL = "bucket_s = ? AND bucket = ? AND consumer <> ? AND (requests < ? OR (requests = ? AND consumer > ?))"
FOLD = (
    "INSERT INTO analytics_usage SELECT bucket_s, bucket, gateway, CAST(? AS TEXT), route, version, status, "
    f"SUM(requests), SUM(bytes) FROM analytics_usage WHERE {TAIL} "
    "GROUP BY bucket_s, bucket, gateway, route, version, status "
    "ON CONFLICT (bucket_s, bucket, gateway, consumer, route, version, status) "
    f"DO UPDATE SET {_ADD_UP.format(table='analytics_usage')}"
)


def top(column: str, condition: str) -> str:
    named = " AND consumer <> ?" if column == "consumer" else ""
    return (
        f"SELECT {column}, {SUMS} FROM analytics_usage WHERE {condition}{named} "
        f"GROUP BY {column} ORDER BY 2 DESC, 1 LIMIT ?"
    )
