"""What wandb wrote offline: a log in the form of LevelDB's, one protobuf message an event."""

import struct
import time
from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record as Event

from gapbench.bench.tracking.base import TrackedRun

_PREAMBLE = 7  # bytes before the first block
_BLOCK = 32768  # bytes; a header never goes over the edge of a block
_HEADER = struct.Struct("<IHB")  # checksum, size and kind of a piece of a message
_LAST = {1, 4}  # kinds: a whole message, or its last piece
_MOST_S = 60.0  # until a finished run is written
_POLL_S = 0.05


def is_whole(folder: Path, run: TrackedRun) -> bool:
    """Return whether the folder of an offline run holds its final scores and its end."""
    logged, ended = set[str](), False
    for path in folder.glob("*.wandb"):
        for event in map(Event.FromString, _messages(path.read_bytes())):
            logged |= {item.key or item.nested_key[0] for item in event.history.item}
            ended |= event.HasField("exit")
    return ended and set(run.scores) <= logged


def wait_until_whole(folder: Path, run: TrackedRun) -> None:
    """Wait for W&B's own process, which writes the end of a run after `finish` has returned.

    Until then a second sender would take the run for that of a killed one.

    Raises:
        TimeoutError: if it does not come.
    """
    deadline = time.monotonic() + _MOST_S
    while not is_whole(folder, run):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{folder}: W&B has not written the end of the run")
        time.sleep(_POLL_S)


def _messages(content: bytes) -> Iterator[bytes]:
    """Yield the messages of a log, up to where a killed process may have cut it."""
    message, place = b"", _PREAMBLE
    while place + _HEADER.size <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _HEADER.size:
            place += left
            continue
        _, size, kind = _HEADER.unpack_from(content, place)
        place += _HEADER.size + size
        if place > len(content):
            return
        message += content[place - size : place]
        if kind in _LAST:
            yield message
            message = b""
