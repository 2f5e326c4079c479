"""Calls made of bytes: as much of HTTP/2 as a caller of gRPC needs, at a tenth of a client's cost.

A load generator that costs as much per call as the server measures itself. Here requests are
serialised beforehand, the header block of a call is always the same bytes (nothing is indexed, and
a table of size zero keeps the server from indexing its answers), one thread waits for all
connections, and an answer is looked at no further than to its status.

An open loop draws all instants before it begins, and counts the time of a call from its instant,
not from when it was sent: a server that stalls is charged for everybody who would have come.
"""

from __future__ import annotations

import random
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import grpc
import numpy as np

from load.arrivals import Outcome
from recsys.serving.throttle import Throttle

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_LARGEST_WINDOW = 2**31 - 1
_FRAME_BYTES = 16_384
_FIRST_WINDOW = 65_535
_STATUS = b"grpc-status"
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def _header_block(path: str, deadline_s: float) -> bytes:
    """Write the headers of a call without any compression (RFC 7541, 6.2.2)."""
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"grpc-timeout", b"%dm" % round(deadline_s * 1000)),
    )
    return b"".join(_literal(name, value) for name, value in fields)


def body_of(message: bytes) -> bytes:
    """Put a serialised message into gRPC's frame."""
    return b"\0" + len(message).to_bytes(4, "big") + message


@dataclass(slots=True)
class _Asked:
    due: float
    answer: bytearray = field(default_factory=bytearray)


class _Connection:
    """One connection and its calls under way."""

    def __init__(self, address: str, path: str, deadline_s: float) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host.strip("[]"), int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = _header_block(path, deadline_s)
        self._deadline_s = deadline_s
        self._received = bytearray()
        self._outgoing = bytearray()
        #: Bodies that the connection's window has no room for yet.
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._window = _FIRST_WINDOW
        self._consumed = 0
        self._next_id = 1
        self.calls: dict[int, _Asked] = {}
        #: Of a client that holds back; None: it does not.
        self.throttle: Throttle | None = None
        # Header table of size 0; as much data as the other side likes.
        settings = b"\0\1\0\0\0\0" + b"\0\4" + _LARGEST_WINDOW.to_bytes(4, "big")
        rest = _LARGEST_WINDOW - _FIRST_WINDOW
        self._outgoing += _PREFACE + _frame(_SETTINGS, 0, 0, settings)
        self._outgoing += _frame(_WINDOW, 0, 0, rest.to_bytes(4, "big"))
        self.socket.setblocking(False)
        self.flush()

    def ask(self, body: bytes, due: float) -> None:
        """Begin a call."""
        stream, self._next_id = self._next_id, self._next_id + 2
        self.calls[stream] = _Asked(due)
        self._outgoing += _frame(_HEADERS, _END_HEADERS, stream, self._headers)
        self._waiting.append((stream, body))
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting and len(self._waiting[0][1]) <= self._window:
            stream, body = self._waiting.popleft()
            self._window -= len(body)
            for start in range(0, len(body), _FRAME_BYTES):
                part = body[start : start + _FRAME_BYTES]
                flags = _END_STREAM if start + _FRAME_BYTES >= len(body) else 0
                self._outgoing += _frame(_DATA, flags, stream, part)
        self.flush()

    def flush(self) -> None:
        """Send what the system takes."""
        try:
            while self._outgoing:
                del self._outgoing[: self.socket.send(self._outgoing)]
        except BlockingIOError:
            pass

    def give_up(self, now: float) -> Iterator[_Asked]:
        """End the calls whose deadline has passed; the oldest come first."""
        while self.calls:
            stream, asked = next(iter(self.calls.items()))
            if asked.due + self._deadline_s > now:
                return
            del self.calls[stream]
            self._waiting = deque(item for item in self._waiting if item[0] != stream)
            self._outgoing += _frame(_RST, 0, stream, (8).to_bytes(4, "big"))
            self.flush()
            yield asked

    def receive(self) -> Iterator[tuple[_Asked, str]]:
        """Read what has come, and give the calls that ended with their codes."""
        try:
            while data := self.socket.recv(1 << 18):
                self._received += data
                if len(data) < 1 << 18:
                    break
            else:
                raise ConnectionResetError
        except BlockingIOError:
            pass
        at = 0
        while len(self._received) - at >= 9:
            size = int.from_bytes(self._received[at : at + 3], "big")
            if len(self._received) - at < 9 + size:
                break
            kind, flags = self._received[at + 3], self._received[at + 4]
            stream = int.from_bytes(self._received[at + 5 : at + 9], "big")
            payload = bytes(self._received[at + 9 : at + 9 + size])
            at += 9 + size
            ended = self._take(kind, flags, stream, payload)
            if ended is not None:
                yield ended
        del self._received[:at]
        self._send_waiting()

    def _take(
        self, kind: int, flags: int, stream: int, payload: bytes
    ) -> tuple[_Asked, str] | None:
        if kind == _DATA:
            self._consumed += len(payload)
            if stream in self.calls:
                self.calls[stream].answer += payload
            if self._consumed > 1 << 29:
                self._outgoing += _frame(_WINDOW, 0, 0, self._consumed.to_bytes(4, "big"))
                self._consumed = 0
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self._outgoing += _frame(kind, _ACK, 0, payload if kind == _PING else b"")
        elif kind == _WINDOW and not stream:
            self._window += int.from_bytes(payload, "big")
        elif kind == _GOAWAY:
            raise ConnectionError(payload)
        ends = kind == _RST or (kind == _HEADERS and flags & _END_STREAM)
        if ends and stream in self.calls:
            return self.calls.pop(stream), _code_of(kind, payload)
        return None


def _code_of(kind: int, payload: bytes) -> str:
    at = payload.find(_STATUS) + len(_STATUS)
    if kind == _RST or at < len(_STATUS):
        return "CANCELLED"
    return _CODES[int(payload[at + 1 : at + 1 + payload[at]])]


class WireLoad:
    """Connections to a server that all call one method.

    Args:
        address: Of the server.
        path: Such as `/recsys.v1.RankingService/Rank`.
        n_connections: How many.
        deadline_s: Of every call.
        hold_back: As the project's client does when requests are refused.
    """

    def __init__(
        self,
        address: str,
        path: str,
        *,
        n_connections: int,
        deadline_s: float = 10.0,
        hold_back: bool = False,
    ) -> None:
        self._connections = [_Connection(address, path, deadline_s) for _ in range(n_connections)]
        self._selector = selectors.DefaultSelector()
        for connection in self._connections:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
            if hold_back:
                connection.throttle = Throttle(random.Random(1))

    def close(self) -> None:
        """Close all connections."""
        self._selector.close()
        for connection in self._connections:
            connection.socket.close()

    def open_loop(
        self,
        bodies: Sequence[bytes],
        *,
        rate: float,
        seconds: float,
        rng: np.random.Generator,
        cpu: Callable[[], float] = lambda: 0.0,
    ) -> Outcome:
        """Make Poisson arrivals, and count each from its instant."""
        arrivals = np.cumsum(rng.exponential(1 / rate, round(rate * seconds))).tolist()
        cpu_s, load_cpu_s = cpu(), time.process_time()
        outcome, begun, number = Outcome(), time.perf_counter(), 0
        while number < len(arrivals) or any(c.calls for c in self._connections):
            now = time.perf_counter()
            while number < len(arrivals) and begun + arrivals[number] <= now:
                connection = self._connections[number % len(self._connections)]
                if connection.throttle is None or connection.throttle.permits():
                    connection.ask(bodies[number % len(bodies)], begun + arrivals[number])
                else:
                    outcome.codes["HELD_BACK"] += 1
                number += 1
            wait_s = begun + arrivals[number] - now if number < len(arrivals) else 0.01
            for _ in self._ended(outcome, min(0.01, max(0.0, wait_s))):
                pass
        outcome.wall_s, outcome.cpu_s = time.perf_counter() - begun, cpu() - cpu_s
        outcome.load_cpu_s = time.process_time() - load_cpu_s
        return outcome

    def closed_loop(
        self,
        body: Callable[[int], bytes],
        *,
        seconds: float,
        cpu: Callable[[], float] = lambda: 0.0,
    ) -> Outcome:
        """Let every connection ask again as soon as it is answered; `body` takes a number."""
        cpu_s, load_cpu_s = cpu(), time.process_time()
        outcome, begun, number = Outcome(), time.perf_counter(), 0
        for connection in self._connections:
            connection.ask(body(number), time.perf_counter())
            number += 1
        while any(connection.calls for connection in self._connections):
            for connection in self._ended(outcome, 0.01):
                if time.perf_counter() - begun < seconds:
                    connection.ask(body(number), time.perf_counter())
                    number += 1
        outcome.wall_s, outcome.cpu_s = time.perf_counter() - begun, cpu() - cpu_s
        outcome.load_cpu_s = time.process_time() - load_cpu_s
        return outcome

    def _ended(self, outcome: Outcome, wait_s: float) -> Iterator[_Connection]:
        """Wait for answers, count them, and give the connections on which they came."""
        for key, _ in self._selector.select(wait_s):
            for asked, code in key.data.receive():
                outcome.codes[code] += 1
                if key.data.throttle is not None and code != "RESOURCE_EXHAUSTED":
                    key.data.throttle.taken()
                if code == "OK":
                    outcome.seconds.append(time.perf_counter() - asked.due)
                    outcome.n_incomplete += b"answered without" in asked.answer
                yield key.data
        now = time.perf_counter()
        for connection in self._connections:
            for _ in connection.give_up(now):
                outcome.codes["DEADLINE_EXCEEDED"] += 1
                yield connection
