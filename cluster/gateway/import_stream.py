"""The items of an import, out of the pieces of a body: lines of JSON, or maps of MessagePack one after the other.

Guarantees: however the bytes are cut into pieces, the same items come out, each with its line, and the same line is
found bad; of an item that is not complete no more is kept than the largest item takes; nothing of a bad line is
guessed. Leaves to others: storing the items (`import_window`), the pieces (`http_request`). Sans-IO.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import msgpack
import msgspec
from msgspec import UNSET, UnsetType

from cluster.gateway.conditions import CONTENT_TYPE_BYTES_MAX, check_content_type
from cluster.gateway.item_fields import TEXT_BYTES_MAX, bytes_of, distinct_fields, required, ttl_ms_of
from cluster.gateway.operations import Change
from cluster.gateway.value_rules import ValueRules
from kvstore.errors import BadBody, KvError
from kvstore.keys import KEY_BYTES_MAX, check_key

ESCAPED_BYTES_MAX = len("\\u0000")
FIELDS_BYTES_MAX = KEY_BYTES_MAX + CONTENT_TYPE_BYTES_MAX + 1024
FIELDS_MAX = 5
PACKED_PIECE_BYTES = 64 * 1024


class Item(msgspec.Struct, frozen=True):
    """A put, and the line that it stands on; of a MessagePack stream, its number. Both count from 1."""

    line: int
    change: Change


class _Fields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    content_type: str = ""
    ttl: float | UnsetType = UNSET
    etag: str = ""


class _JsonFields(_Fields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    key: str | UnsetType = UNSET
    key_b64: str | UnsetType = UNSET
    value: str | UnsetType = UNSET
    value_b64: str | UnsetType = UNSET


class _PackedFields(_Fields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    key: bytes
    value: bytes


_JSON = msgspec.json.Decoder(_JsonFields)


class ItemParser(ABC):
    """Takes a body piece by piece.

    Args:
        rules: what the keyspace asks of its values.

    Attributes:
        line: the line being read, which is the bad one after an error.
    """

    def __init__(self, keyspace: str, rules: ValueRules) -> None:
        self.line = 1
        self._keyspace = keyspace
        self._rules = rules

    @property
    @abstractmethod
    def kept_bytes(self) -> int:
        """Bytes of an item that is not complete yet."""

    @abstractmethod
    def feed(self, piece: bytes) -> Iterator[Item]:
        """The items that this piece completes; to be taken to the end before the next piece. Raises BadBody."""

    @abstractmethod
    def end(self) -> Iterator[Item]:
        """The item that the end of the body completes, if any. Raises BadBody."""

    def _item(self, fields: _Fields, key: bytes, value: bytes) -> Item:
        try:
            check_key(key)
            change = Change(self._keyspace, key, value, check_content_type(fields.content_type), ttl_ms_of(fields.ttl))
            return Item(self.line, self._rules.applied(change))
        except KvError as error:
            raise BadBody(error.detail) from error


class JsonLines(ItemParser):
    """One JSON object a line (NDJSON); empty lines are skipped, and the last one needs no end."""

    def __init__(self, keyspace: str, rules: ValueRules) -> None:
        super().__init__(keyspace, rules)
        self._line_bytes_max = ESCAPED_BYTES_MAX * (rules.max_value_bytes + FIELDS_BYTES_MAX)
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    @property
    def kept_bytes(self) -> int:
        return self._kept_bytes

    def feed(self, piece: bytes) -> Iterator[Item]:
        lines = piece.split(b"\n")
        rest = lines.pop()
        if lines:
            lines[0] = self._take_kept(lines[0])
            yield from self._items(lines)
        self._kept.append(rest)
        self._kept_bytes += len(rest)
        self._check_length(self._kept_bytes)

    def end(self) -> Iterator[Item]:
        return self._items((self._take_kept(b""),))

    def _items(self, lines: Iterable[bytes]) -> Iterator[Item]:
        for line in lines:
            self._check_length(len(line))
            if line and not line.isspace():
                yield self._decode(line)
            self.line += 1

    def _decode(self, line: bytes) -> Item:
        try:
            fields = _JSON.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadBody(str(error)) from error
        key = required(bytes_of(fields.key, fields.key_b64, "key"), "key")
        return self._item(fields, key, required(bytes_of(fields.value, fields.value_b64, "value"), "value"))

    def _take_kept(self, rest: bytes) -> bytes:
        line = b"".join((*self._kept, rest))
        self._kept.clear()
        self._kept_bytes = 0
        return line

    def _check_length(self, length: int) -> None:
        if length > self._line_bytes_max:
            raise BadBody(f"a line has at most {self._line_bytes_max} bytes")


class PackedItems(ItemParser):
    """Maps of MessagePack, one after the other; `key` and `value` are bin."""

    def __init__(self, keyspace: str, rules: ValueRules) -> None:
        super().__init__(keyspace, rules)
        self._item_bytes_max = rules.max_value_bytes + KEY_BYTES_MAX + FIELDS_MAX * TEXT_BYTES_MAX
        self._fed_bytes = 0
        self._whole_bytes = 0
        self._unpacker = msgpack.Unpacker(
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_flat_map,
            max_buffer_size=self._item_bytes_max + PACKED_PIECE_BYTES,
            max_array_len=0,
            max_map_len=FIELDS_MAX,
            max_str_len=TEXT_BYTES_MAX,
            max_bin_len=max(rules.max_value_bytes, KEY_BYTES_MAX) + 1,
            max_ext_len=0,
        )

    @property
    def kept_bytes(self) -> int:
        return self._fed_bytes - self._whole_bytes

    def feed(self, piece: bytes) -> Iterator[Item]:
        for start in range(0, len(piece), PACKED_PIECE_BYTES):
            part = piece[start : start + PACKED_PIECE_BYTES]
            try:
                self._unpacker.feed(part)
            except msgpack.BufferFull as error:
                raise BadBody(f"an item has at most {self._item_bytes_max} bytes") from error
            self._fed_bytes += len(part)
            while (fields := self._next()) is not None:
                self._whole_bytes = self._unpacker.tell()
                yield self._item(fields, fields.key, fields.value)
                self.line += 1

    def end(self) -> Iterator[Item]:
        if self.kept_bytes:
            raise BadBody("the body ends within an item")
        return iter(())

    def _next(self) -> _PackedFields | None:
        try:
            return msgspec.convert(self._unpacker.unpack(), _PackedFields, builtin_types=(bytes,), strict=True)
        except msgpack.OutOfData:
            return None
        except (ValueError, TypeError, RecursionError, OverflowError, msgpack.UnpackException) as error:
            raise BadBody(f"not an item in MessagePack: {error or type(error).__name__}") from error


def _flat_map(pairs: Iterable[tuple[object, object]]) -> dict[object, object]:
    """A map without maps in it: nothing of an item nests, and what does costs many times its bytes."""
    fields = distinct_fields(pairs)
    nested = [name for name, value in fields.items() if type(value) is dict]
    if nested:
        raise ValueError(f"{nested[0]} is a map")
    return fields
