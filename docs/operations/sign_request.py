"""Signs requests for a route with `auth: {any_of: [signatures.NAME]}`. Copy it: it needs nothing but Python 3.9.

    headers = signature_headers("billing", secret, "POST", "https://api.example.com/hooks?a=1", body,
                                {"content-type": "application/json"})

`headers_to_sign` are the `signed_headers` of the gateway's configuration that the request really has. Send the request
with these headers and exactly this body; make new ones for every attempt, since a nonce counts once.
"""

import hashlib
import hmac
import secrets
import time
from urllib.parse import urlsplit


def signature_headers(client, secret, method, url, body=b"", headers_to_sign=None, *, timestamp=None, nonce=None):  # type: ignore[no-untyped-def]
    timestamp = str(int(time.time())) if timestamp is None else timestamp
    nonce = secrets.token_urlsafe(16) if nonce is None else nonce
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    default_port = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    if default_port and host.endswith(default_port):
        host = host[: -len(default_port)]  # HTTP clients leave it out of the Host header
    query = "&".join(sorted(parts.query.split("&"), key=lambda part: part.partition("=")[0]))
    texts = ["gateway-hmac-sha256-1", client, timestamp, nonce, method, host, parts.path or "/", query]
    texts.append(hashlib.sha256(body).hexdigest())
    for name, value in sorted((name.lower(), value) for name, value in (headers_to_sign or {}).items()):
        texts += [name, value.strip(" \t")]
    canonical = b"".join(b"%d:%b," % (len(text), text) for text in (text.encode() for text in texts))
    return {
        "x-signature-client": client,
        "x-signature-timestamp": timestamp,
        "x-signature-nonce": nonce,
        "x-signature": hmac.new(secret.encode(), canonical, hashlib.sha256).hexdigest(),
    }
