"""The last good configuration, kept on disk so that a restart with a faulty file has something to serve.

Kept are all files that were read, certificates and keys included, so the file is readable by its owner only.
"""

import base64
import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from control_plane.config_file import Replay

_NAME = "last-good.json"
_FORMAT = 1


class CorruptStateError(Exception):
    """The file is there and is not what was written."""


@dataclass(frozen=True, slots=True)
class LastGood:
    """In one directory; it is made when first written to."""

    directory: Path

    @property
    def path(self) -> Path:
        return self.directory / _NAME

    def save(self, contents: Mapping[str, bytes], matches: Mapping[str, tuple[str, ...]]) -> None:
        """Replace what is kept, in one step. Raises OSError."""
        body = orjson.dumps(
            {
                "files": {path: base64.b64encode(content).decode() for path, content in sorted(contents.items())},
                "matches": {pattern: list(found) for pattern, found in sorted(matches.items())},
            }
        ).decode()
        document = {"format": _FORMAT, "sha256": hashlib.sha256(body.encode()).hexdigest(), "body": body}
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self.directory, prefix=_NAME)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(orjson.dumps(document))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise

    def load(self) -> Replay | None:
        """None if nothing is kept.

        Raises:
            CorruptStateError: what is there cannot be used.
        """
        try:
            document = orjson.loads(self.path.read_bytes())
            body = document["body"]
            if document["format"] != _FORMAT or document["sha256"] != hashlib.sha256(body.encode()).hexdigest():
                raise CorruptStateError(f"{self.path}: checksum or format does not match")
            kept = orjson.loads(body)
            return Replay(
                {path: base64.b64decode(content) for path, content in kept["files"].items()},
                {pattern: tuple(found) for pattern, found in kept["matches"].items()},
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptStateError(f"{self.path}: {error}") from error
