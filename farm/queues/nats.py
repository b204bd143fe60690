"""One connection to a NATS server, kept up by a thread of its own; everything here but `Link.run` runs in its loop.

The client library reconnects by itself, but then also sends what it had kept for the server: acknowledgements that by
then may be another agent's. So here a lost connection is lost with all that was under way, and the next one is new.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
import threading
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ...errors import UsageError
from .. import subjects
from ..address import is_loopback
from ..queue import Access, QueueAwayError, now_s

try:
    import nats.errors
    from nats.aio.client import Client
    from nats.aio.msg import Msg
except ImportError as error:
    raise UsageError("a queue on a server needs nats-py; install it with: pip install 'tempograd[farm]'") from error

API = "$JS.API"
WINDOW = 512  # requests under way at once
ANSWER_S = 10.0  # time that an answer, or the next of several, is waited for
BACK_OFF_S = (0.1, 60.0)  # between attempts to connect: the first, and the longest
END_S = 2.0  # for the last words to a server
PING_S = 10.0  # a connection that leaves three of these unanswered is gone
ALIVE, NOBODY, LOST = 100, 503, 599  # statuses: a sign of life; nobody listens there; the connection went (our own)

_T = TypeVar("_T")


def _is_worth_saying(record: logging.LogRecord) -> bool:
    """Return False for what asyncio says whenever the client closes an encrypted connection."""
    return "eof_received() has no effect" not in str(record.msg)


logging.getLogger("asyncio").addFilter(_is_worth_saying)


@dataclass(frozen=True)
class Request:
    """Something that the server answers."""

    subject: str
    body: bytes = b""
    headers: Mapping[str, str] | None = None


def request(subject: str, body: dict[str, Any] | None = None) -> Request:
    """Return a request to the interface of JetStream; the body is sent as JSON."""
    return Request(f"{API}.{subject}", json.dumps(body).encode() if body else b"")


@dataclass(frozen=True)
class Reply:
    """An answer, or a message that was pulled; ``reply`` is where to acknowledge it, ``at_s`` when it came."""

    subject: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    reply: str = ""
    at_s: float = 0.0

    @property
    def status(self) -> int:
        """Return the status in the headers, such as 404; 0 if there is none."""
        text = self.headers.get("Status", "")[:3]
        return int(text) if text.isdecimal() else 0

    @property
    def tree(self) -> dict[str, Any]:
        """Return the body as JSON, empty if it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class _Client(Client):
    """A client that never says who it is to a server that does not encrypt, if it was told to encrypt."""

    encrypted = False

    def _connect_command(self) -> bytes:
        if self.encrypted and not self._server_info.get("tls_required"):
            raise nats.errors.Error("the server does not offer TLS")
        return super()._connect_command()

    async def _process_pong(self) -> None:
        """Take an answer to a flush that was given up, too: the library's own would end the reading for good."""
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()


class Link:
    """A connection that is made again, without end, whenever it is lost.

    Args:
        url: ``tls://host:port``, or ``nats://host:port`` on loopback.
        access: certificates and login.

    Raises:
        UsageError: plain text to another machine, or a file that cannot be read.
    """

    def __init__(self, url: str, access: Access) -> None:
        self.away_since_s: float | None = now_s()
        self.problem = "not yet connected"
        self._url, self._access = url, access
        self._options = _options(url, access)
        self._inbox = subjects.inbox(access.agent) if access.agent else "_INBOX"
        self._inbox += f".{random.SystemRandom().getrandbits(64):016x}"
        self._client: _Client | None = None
        self._lost = asyncio.Event()
        self._up = asyncio.Event()
        self._tokens = 0
        self._waiting: dict[str, asyncio.Future[Reply]] = {}  # token -> its answer
        self._pulls: dict[str, asyncio.Queue[Reply]] = {}
        self._listened: list[str] = []  # subjects that are listened to
        self._said: list[bytes] = []
        self._loop = asyncio.new_event_loop()
        self._keeper = self._loop.create_task(self._keep())
        self._thread = threading.Thread(target=self._live, name="queue", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run something in the loop and wait for it; from any other thread."""
        if self._loop.is_closed():
            work.close()
            raise QueueAwayError(f"the connection to {self._url} was closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Let the connection go and end the thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._keeper.cancel)
            self._thread.join()
            self._loop.close()

    # -- in the loop ---------------------------------------------------------------------------------------------

    async def up(self, wait_s: float) -> bool:
        """Wait for the connection; return whether it is there."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._up.wait()
        return self._up.is_set()

    async def ask(self, requests: Sequence[Request], wait_s: float = ANSWER_S) -> list[Reply | None]:
        """Send requests together; return their answers in order, None where none came."""
        replies: list[Reply | None] = []
        for start in range(0, len(requests), WINDOW):
            replies += await self._ask(requests[start : start + WINDOW], wait_s)
        return replies

    async def pull(self, request: Request, most: int, wait_s: float) -> list[Reply]:
        """Send a request for up to ``most`` messages; return what came, a reply with a status, if any, last.

        ``wait_s`` is for the first, and then for each next one. What comes later is returned by the next pull under the
        same subject.
        """
        replies: list[Reply] = []
        if self._client is None:
            return replies
        try:
            sink = self._pulls.get(request.subject) or await self._begin_pulling(self._client, request.subject)
            await self._client.publish(request.subject, request.body, f"{self._inbox}.pull.{request.subject}")
            async with asyncio.timeout(wait_s) as limit:
                while len(replies) < most:
                    reply = await sink.get()
                    limit.reschedule(self._loop.time() + wait_s)
                    if reply.status != ALIVE:
                        replies.append(reply)
                    if reply.status not in (0, ALIVE):
                        break
        except (nats.errors.Error, OSError, TimeoutError):
            pass
        return replies

    async def _begin_pulling(self, client: Client, subject: str) -> asyncio.Queue[Reply]:
        sink = self._pulls[subject] = asyncio.Queue[Reply]()

        async def take(message: Msg) -> None:
            sink.put_nowait(_reply(message))

        await client.subscribe(f"{self._inbox}.pull.{subject}", cb=take)
        return sink

    async def tell(self, messages: Sequence[tuple[str, bytes]], wait_s: float = ANSWER_S) -> bool:
        """Send what has no answer; return whether the server has it all."""
        client = self._client
        if client is None:
            return False
        try:
            for subject, body in messages:
                await client.publish(subject, body)
            await client.flush(max(1, round(wait_s)))
        except (nats.errors.Error, OSError, TimeoutError):
            return False
        return client is self._client

    async def listen(self, *names: str) -> list[bytes]:
        """Return what was said under these subjects since the last call; the first begins to listen."""
        fresh = [name for name in names if name not in self._listened]
        self._listened += fresh
        if self._client is not None and fresh:
            with suppress(nats.errors.Error, OSError, TimeoutError):
                for name in fresh:
                    await self._client.subscribe(name, cb=self._take_down)
                await self._client.flush()
        said, self._said = self._said, []
        return said

    async def _ask(self, requests: Sequence[Request], wait_s: float) -> list[Reply | None]:
        futures: list[asyncio.Future[Reply]] = []
        first = self._tokens
        self._tokens += len(requests)
        replies: list[Reply | None] = [None] * len(requests)
        try:
            for token, request in enumerate(requests, first):
                self._waiting[str(token)] = future = self._loop.create_future()
                futures.append(future)
                if not await self._publish(request, str(token)):
                    return replies
            async with asyncio.timeout(wait_s) as limit:
                for n, future in enumerate(futures):
                    reply = await future
                    replies[n] = None if reply.status == LOST else reply
                    limit.reschedule(self._loop.time() + wait_s)  # on a slow line, each answer is a sign of life
        except TimeoutError:
            pass
        finally:
            for token in range(first, first + len(futures)):
                del self._waiting[str(token)]
        return replies

    async def _publish(self, request: Request, token: str) -> bool:
        if self._client is None:
            return False
        headers = dict(request.headers) if request.headers else None
        try:
            await self._client.publish(request.subject, request.body, f"{self._inbox}.{token}", headers)
        except (nats.errors.Error, OSError):
            return False
        return True

    async def _receive(self, message: Msg) -> None:
        future = self._waiting.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(_reply(message))

    # -- the connection ------------------------------------------------------------------------------------------

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._keeper)
        except asyncio.CancelledError:  # by close
            pass
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    async def _keep(self) -> None:
        pause_s = BACK_OFF_S[0]
        try:
            while True:
                self._lost.clear()
                client = _Client()
                client.encrypted = self._options["tls"] is not None
                try:
                    await client.connect(**self._options, error_cb=self._note, closed_cb=self._closed)
                    await client.subscribe(f"{self._inbox}.*", cb=self._receive)
                    for name in self._listened:
                        await client.subscribe(name, cb=self._take_down)
                    await client.flush()
                    self._client, self.away_since_s, pause_s = client, None, BACK_OFF_S[0]
                    self._up.set()
                    await self._lost.wait()
                    self._drop()
                except (nats.errors.Error, OSError, TimeoutError, ssl.SSLError) as error:
                    await self._note(error)
                finally:  # also where `close` comes while it connects
                    await end(client)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1))
                pause_s = min(2 * pause_s, BACK_OFF_S[1])
        finally:
            self._client = None

    def _drop(self) -> None:
        self._client = None
        self.away_since_s = now_s()
        self._up.clear()
        lost = Reply("", b"", {"Status": str(LOST)})
        for future in self._waiting.values():
            if not future.done():
                future.set_result(lost)
        for sink in self._pulls.values():
            sink.put_nowait(lost)
        self._pulls.clear()

    async def _take_down(self, message: Msg) -> None:
        self._said.append(message.data)

    async def _note(self, error: Exception) -> None:
        self.problem = str(error) or type(error).__name__

    async def _closed(self) -> None:
        self._lost.set()


def _reply(message: Msg) -> Reply:
    return Reply(message.subject, message.data, message.headers or {}, message.reply, now_s())


async def end(client: Client) -> None:
    """Close a client, and then its connection whatever the other side does, while its loop is still there.

    The library leaves open a connection that never got in, and waits half a minute for a silent server's last words.
    """
    with suppress(nats.errors.Error, OSError, RuntimeError, TimeoutError):
        async with asyncio.timeout(END_S):
            await client.close()
    for name in ("_io_writer", "_bare_io_writer"):
        writer = getattr(client._transport, name, None)  # pyright: ignore[reportPrivateUsage]
        if writer is not None:
            writer.transport.abort()
    await asyncio.sleep(0)  # the encrypted connection's end, and then the socket's
    await asyncio.sleep(0)


def _options(url: str, access: Access) -> dict[str, Any]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.username or parts.password:
        raise UsageError("a login in the queue's address would stand in every log; give it apart from the address")
    if not host or (parts.scheme == "nats" and not is_loopback(host)):
        raise UsageError(
            f"queue {url!r}; allowed: tls://HOST:4222, or nats:// on loopback: nothing crosses in plain text"
        )
    options: dict[str, Any] = {
        "servers": [url],
        "name": access.agent or "campaign",
        "allow_reconnect": False,
        "connect_timeout": 5,
        "ping_interval": PING_S,
        "max_outstanding_pings": 3,
        "inbox_prefix": subjects.inbox(access.agent) if access.agent else "_INBOX",
        "tls": None,
    }
    if parts.scheme == "tls":
        try:
            options["tls"] = ssl.create_default_context(cafile=access.ca)
        except OSError as error:
            raise UsageError(f"certificates {access.ca}: {error}; name a readable PEM file") from error
        options["tls"].minimum_version = ssl.TLSVersion.TLSv1_2
    if access.nkey is not None:
        if not access.nkey.is_file():
            raise UsageError(f"no key at {access.nkey}; name the file that holds the seed of an nkey")
        options["nkeys_seed"] = str(access.nkey)
    elif access.user:
        options |= {"user": access.user, "password": access.password}
    return options
