"""Models in the server's object store: in chunks, under their SHA-256, as NATS' own tools read and write them."""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from .. import subjects
from ..messages import Blob
from ..wire import digest
from .nats import Reply, Request, request

CHUNK_BYTES = 128 * 1024
AT_ONCE = 64  # models under way together

Publish = Callable[[Sequence[tuple[str, bytes, dict[str, str]]]], Awaitable[None]]
Ask = Callable[[Sequence[Request]], Awaitable[list[Reply | None]]]

_ROLLUP = {"Nats-Rollup": "sub"}


class Models:
    """The object store of models; all of it runs in the loop of the connection.

    Args:
        publish: sends messages (subject, body, headers), and returns when the server has stored them all.
        ask: sends requests for stored messages, and returns them in order, None where there is none.
    """

    def __init__(self, publish: Publish, ask: Ask) -> None:
        self._publish, self._ask = publish, ask

    async def put(self, contents: dict[str, bytes]) -> None:
        """Keep those of these contents, by their SHA-256, that are not there."""
        names = [*contents]
        for start in range(0, len(names), AT_ONCE):
            await self._put({name: contents[name] for name in names[start : start + AT_ONCE]})

    async def get(self, blobs: Sequence[Blob]) -> dict[str, bytes]:
        """Return those of these models that are there, by their SHA-256."""
        found: dict[str, bytes] = {}
        for start in range(0, len(blobs), AT_ONCE):
            found |= await self._get(blobs[start : start + AT_ONCE])
        return found

    async def subjects_of(self, digests: Sequence[str]) -> list[str]:
        """Return the subjects under which models stand that are there: without them they are gone."""
        metas = await self._metas(digests)
        return [
            subject
            for name, meta in metas.items()
            for subject in (subjects.model_meta(_name(name)), subjects.model(str(meta.get("nuid"))))
        ]

    async def _metas(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what the object store says of these objects, of those that are there."""
        replies = await self._ask(
            [request(f"DIRECT.GET.{subjects.MODELS_STREAM}.{subjects.model_meta(_name(name))}") for name in names]
        )
        trees = {name: reply.tree for name, reply in zip(names, replies, strict=True) if reply is not None}
        return {name: tree for name, tree in trees.items() if tree.get("nuid") and not tree.get("deleted")}

    async def _put(self, contents: dict[str, bytes]) -> None:
        """Keep those of these contents that are not there: all chunks, then what says that they are whole."""
        fresh = contents.keys() - (await self._metas(list(contents))).keys()
        nuids = {name: secrets.token_hex(11) for name in fresh}
        parts = {
            name: [contents[name][start : start + CHUNK_BYTES] for start in range(0, len(contents[name]), CHUNK_BYTES)]
            for name in fresh
        }
        await self._publish(
            [
                (subjects.model(nuids[name]), part, {"Nats-Msg-Id": f"{nuids[name]}:{n}"})
                for name in fresh
                for n, part in enumerate(parts[name])
            ]
        )
        metas = [
            (subjects.model_meta(_name(name)), _meta(name, nuids[name], len(contents[name]), len(parts[name])), _ROLLUP)
            for name in fresh
        ]
        await self._publish(metas)

    async def _get(self, blobs: Sequence[Blob]) -> dict[str, bytes]:
        """Read models together, a chunk of each at a time; nothing is read past the size that a job named."""
        sizes = {blob.sha256: blob.size_bytes for blob in blobs}
        metas = await self._metas(list(sizes))
        chunks = {name: subjects.model(str(meta["nuid"])) for name, meta in metas.items()}
        found = {name: bytearray() for name in chunks}
        places = dict.fromkeys(chunks, 0)
        open_ = list(chunks)
        while open_:
            replies = await self._ask([
                request(
                    f"DIRECT.GET.{subjects.MODELS_STREAM}", {"seq": places[name] + 1, "next_by_subj": chunks[name]}
                )
                for name in open_
            ])  # fmt: skip
            there = [(name, reply) for name, reply in zip(open_, replies, strict=True) if reply is not None]
            for name, reply in there:
                found[name] += reply.body
                places[name] = int(reply.headers["Nats-Sequence"])
            open_ = [name for name, _ in there if len(found[name]) < sizes[name]]
        whole = {name: bytes(content) for name, content in found.items() if len(content) == sizes[name]}
        return {name: content for name, content in whole.items() if digest(content) == name}


def _name(digest: str) -> str:
    return urlsafe_b64encode(digest.encode()).decode()


def _meta(name: str, nuid: str, size: int, chunks: int) -> bytes:
    """Return what the object store of NATS says of an object, so that its own tools can read ours."""
    sha = urlsafe_b64encode(bytes.fromhex(name)).decode()
    return json.dumps({
        "name": name, "bucket": subjects.MODELS, "nuid": nuid, "size": size, "chunks": chunks,
        "digest": f"SHA-256={sha}", "mtime": datetime.now(UTC).isoformat(),
        "options": {"max_chunk_size": CHUNK_BYTES},
    }).encode()  # fmt: skip
