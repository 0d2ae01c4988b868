"""The storage of the API server double: objects, versions, the history that watches read, and its compaction."""

import asyncio
import base64
import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Collection:
    """All objects of one resource in one namespace."""

    prefix: str
    """`/api/v1` or `/apis/GROUP/VERSION`."""
    resource: str
    namespace: str

    @property
    def group(self) -> str:
        return self.prefix.split("/")[2] if self.prefix.startswith("/apis/") else ""


@dataclass(frozen=True)
class Event:
    version: int
    type: str
    collection: Collection
    object: Object


class StatusError(Exception):
    """An answer that is a Status object."""

    def __init__(self, code: int, reason: str, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.code = code
        self.headers = extra.pop("headers", {})
        metadata = {"continue": extra.pop("continue_token")} if "continue_token" in extra else {}
        self.body: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
            **extra,
        }


def expired(message: str, **extra: Any) -> StatusError:
    return StatusError(410, "Expired", message, **extra)


@dataclass
class Store:
    """etcd and the watch cache in one."""

    version: int = 100
    compacted: int = 0
    """Versions before this one are refused."""
    cuts: int = 0
    """How often watches that were open have been ended by a compaction."""
    history: list[Event] = field(default_factory=list)
    objects: dict[Collection, dict[str, Object]] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _snapshots: dict[int, dict[Collection, list[Object]]] = field(default_factory=dict)

    async def put(self, collection: Collection, wanted: Object, *, create: bool) -> Object:
        """Create or replace; the version in `wanted` has to be the stored one if it is given."""
        named = self.objects.setdefault(collection, {})
        name = wanted["metadata"]["name"]
        stored = named.get(name)
        what = f'{collection.resource} "{name}"'
        if create and stored is not None:
            raise StatusError(409, "AlreadyExists", f"{what} already exists")
        if not create and stored is None:
            raise StatusError(404, "NotFound", f"{what} not found")
        given = wanted["metadata"].get("resourceVersion")
        if stored is not None and given and given != stored["metadata"]["resourceVersion"]:
            raise StatusError(409, "Conflict", f"Operation cannot be fulfilled on {what}: the object has been modified")
        saved = copy.deepcopy(wanted)
        saved["metadata"]["namespace"] = collection.namespace
        return await self._commit(collection, saved, "ADDED" if create else "MODIFIED")

    async def wait_beyond(self, version: int) -> None:
        """Until something happened after a version."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.version > version)

    async def delete(self, collection: Collection, name: str) -> Object:
        stored = self.get(collection, name)
        return await self._commit(collection, copy.deepcopy(stored), "DELETED")

    def get(self, collection: Collection, name: str) -> Object:
        try:
            return self.objects[collection][name]
        except KeyError:
            raise StatusError(404, "NotFound", f'{collection.resource} "{name}" not found') from None

    async def _commit(self, collection: Collection, saved: Object, kind: str) -> Object:
        async with self.changed:
            self.version += 1
            saved["metadata"]["resourceVersion"] = str(self.version)
            named = self.objects[collection]
            if kind == "DELETED":
                del named[saved["metadata"]["name"]]
            else:
                named[saved["metadata"]["name"]] = saved
            self.history.append(Event(self.version, kind, collection, saved))
            self.changed.notify_all()
        return saved

    async def compact(self, *, cut: bool = False) -> None:
        """Refuse older versions and list tokens with 410 from now on.

        Running watches go on, as in a real server; with `cut` they get 410, as those that had fallen behind.
        """
        async with self.changed:
            self.version += 1
            self.compacted = self.version
            self._snapshots.clear()
            self.cuts += int(cut)
            self.changed.notify_all()

    def page(
        self, collection: Collection, matches: Callable[[Object], bool], query: Mapping[str, str]
    ) -> tuple[list[Object], int, str]:
        """Objects, the list's version, and the token of the next page; every page shows the version of the first."""
        limit = int(query.get("limit") or 0)
        version, after = self._position(query)
        self._remember(version)
        every = [one for one in self._snapshots[version].get(collection, []) if matches(one)]
        rest = [one for one in every if one["metadata"]["name"] > after]
        found = rest[:limit] if limit else rest
        more = len(rest) > len(found)
        return found, version, _token(version, found[-1]["metadata"]["name"]) if more else ""

    def _remember(self, version: int) -> None:
        """The state of now, for the next pages of a list."""
        if version not in self._snapshots:
            self._snapshots[version] = {
                known: [copy.deepcopy(one) for _, one in sorted(named.items())] for known, named in self.objects.items()
            }

    def _position(self, query: Mapping[str, str]) -> tuple[int, str]:
        if not query.get("continue"):
            self.require_not_future(query.get("resourceVersion"))
            return self.version, ""
        version, after = json.loads(base64.urlsafe_b64decode(query["continue"]))
        if version not in self._snapshots:
            self._remember(self.version)
            raise expired(
                "The provided continue parameter is too old to display a consistent list result.",
                continue_token=_token(self.version, after),
            )
        return version, after

    def require_not_future(self, version: str | None) -> None:
        if version and int(version) > self.version:
            raise StatusError(
                504,
                "Timeout",
                f"Too large resource version: {version}, current: {self.version}",
                details={"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]},
            )

    def require_not_compacted(self, version: int) -> None:
        if version < self.compacted:
            raise expired(f"too old resource version: {version} ({self.compacted})")

    async def restore(self, version: int) -> None:
        """As from a backup of that version that holds what there is now."""
        async with self.changed:
            self.version, self.compacted = version, version
            self.history.clear()
            self._snapshots.clear()

    def require_not_cut(self, began: int, version: int) -> None:
        if began != self.cuts:
            raise expired(f"too old resource version: {version} ({self.compacted})")

    def since(self, version: int) -> list[Event]:
        """What happened after a version."""
        return [event for event in self.history if event.version > version]


def _token(version: int, after: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, after]).encode()).decode()
