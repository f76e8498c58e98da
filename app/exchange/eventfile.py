"""TensorBoard's event files, written and read without TensorBoard.

A file is a row of TFRecords (length, its checksum, content, its checksum), each content an `Event` in protobuf. Of
TensorFlow's event.proto, summary.proto and tensor.proto only the fields that scalars, texts and hyper-parameters need
are declared here; protobuf passes over the others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2
from google.protobuf.message import DecodeError

LARGEST_RECORD = 256 * 1024 * 1024
"""Images and histograms may be large; a length beyond this is a damaged file."""
DT_FLOAT, DT_DOUBLE, DT_STRING = 1, 2, 7
_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_KINDS = {
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
}
# A star: repeated. A question mark: one of those so marked is there, so that a zero differs from nothing.
_MESSAGES = {
    "Event": ("double wall_time 1", "int64 step 2", "string file_version 3", "Summary summary 5"),
    "Summary": ("*Value value 1",),
    "Value": ("string tag 1", "?float simple_value 2", "?Tensor tensor 8", "Metadata metadata 9"),
    "Metadata": ("PluginData plugin_data 1",),
    "PluginData": ("string plugin_name 1", "bytes content 2"),
    "Tensor": ("int32 dtype 1", "Shape shape 2", "bytes content 4", "*float float_val 5", "*double double_val 6",
               "*bytes string_val 8"),
    "Shape": ("*Dim dim 2",),
    "Dim": ("int64 size 1",),
    "HParams": ("int32 version 1", "SessionStart session_start_info 3"),
    "SessionStart": ("*HParam hparams 1", "double start_time_secs 5"),
    "HParam": ("string key 1", "google.protobuf.Value value 2"),
}  # fmt: skip


class DamagedFile(Exception):
    """An event file whose content its checksums do not confirm; the message names the record and its place."""


class Scalar(NamedTuple):
    tag: str
    step: int
    value: float
    wall_time: float
    """Unix seconds."""


class HParams(NamedTuple):
    """Hyper-parameters as the HPARAMS page of TensorBoard has them."""

    values: dict[str, Any]


def _declared() -> Mapping[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="fitroom_events.proto",
        package="fitroom_events",
        syntax="proto3",
        dependency=[struct_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields:
            _declare(message, *text.split())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"fitroom_events.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


def _declare(message: Any, kind: str, name: str, number: str) -> None:
    field = message.field.add(name=name, number=int(number))
    label = "LABEL_REPEATED" if kind.startswith("*") else "LABEL_OPTIONAL"
    field.label = descriptor_pb2.FieldDescriptorProto.Label.Value(label)
    if kind.startswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0
    kind = kind.lstrip("*?")
    if kind in _KINDS:
        field.type = _KINDS[kind]
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{kind}" if "." in kind else f".fitroom_events.{kind}"


_CLASSES = _declared()


class EventWriter:
    """Appends events to an open file; the first one says which format it is."""

    def __init__(self, out: BinaryIO, *, wall_time: float) -> None:
        self._out = out
        self._write(_CLASSES["Event"](wall_time=wall_time, file_version="brain.Event:2"))

    def scalar(self, tag: str, step: int, value: float, wall_time: float) -> None:
        event = _CLASSES["Event"](wall_time=wall_time, step=step)
        event.summary.value.add(tag=tag, simple_value=value)
        self._write(event)

    def text(self, tag: str, text: str, wall_time: float) -> None:
        """Markdown on the TEXT page."""
        event = _CLASSES["Event"](wall_time=wall_time)
        value = event.summary.value.add(tag=tag)
        value.metadata.plugin_data.plugin_name = "text"
        value.tensor.dtype = DT_STRING
        value.tensor.shape.dim.add(size=1)
        value.tensor.string_val.append(text.encode())
        self._write(event)

    def hparams(self, values: Mapping[str, Any], wall_time: float) -> None:
        """Hyper-parameters on the HPARAMS page: numbers, texts and truths; None is left out."""
        content = _CLASSES["HParams"]()
        content.session_start_info.start_time_secs = wall_time
        for name, value in values.items():
            if value is not None:
                found = content.session_start_info.hparams.add(key=name).value
                _set_value(found, value)
        event = _CLASSES["Event"](wall_time=wall_time)
        plugin = event.summary.value.add(tag="_hparams_/session_start_info").metadata.plugin_data
        plugin.plugin_name, plugin.content = "hparams", content.SerializeToString()
        self._write(event)

    def _write(self, event: Any) -> None:
        content = event.SerializeToString()
        length = _LENGTH.pack(len(content))
        self._out.write(length + _checksum(length) + content + _checksum(content))


def _set_value(found: Any, value: Any) -> None:
    if isinstance(value, bool):
        found.bool_value = value
    elif isinstance(value, int | float):
        found.number_value = value
    else:
        found.string_value = str(value)


def read(path: Path) -> Iterator[Scalar | HParams]:
    """What an event file tells, in its order; a last record that is still being written is left out.

    Raises `DamagedFile`, and OSError where the file cannot be read.
    """
    kinds: dict[str, str] = {}
    for number, content in enumerate(records(path), start=1):
        try:
            event = _CLASSES["Event"].FromString(content)
        except DecodeError as error:
            raise DamagedFile(f"record {number} is no event: {error}") from error
        for value in event.summary.value:
            plugin = value.metadata.plugin_data
            if plugin.plugin_name:
                kinds[value.tag] = plugin.plugin_name
            if plugin.plugin_name == "hparams":
                yield from _hparams(plugin.content, number)
            elif (scalar := _scalar(value, kinds.get(value.tag, "scalars"))) is not None:
                yield Scalar(value.tag, event.step, scalar, event.wall_time)


def _scalar(value: Any, kind: str) -> float | None:
    """TensorFlow 1 and PyTorch write `simple_value`, TensorFlow 2 a tensor of one number."""
    holds = value.WhichOneof("choice")
    if kind != "scalars" or holds is None:
        return None
    if holds == "simple_value":
        return float(value.simple_value)
    tensor = value.tensor
    for dtype, numbers, form in ((DT_FLOAT, tensor.float_val, "<f"), (DT_DOUBLE, tensor.double_val, "<d")):
        if tensor.dtype == dtype:
            if len(numbers) == 1:
                return float(numbers[0])
            if len(tensor.content) == struct.calcsize(form):
                return float(struct.unpack(form, tensor.content)[0])
    return None


def _hparams(content: bytes, number: int) -> Iterator[HParams]:
    try:
        found = _CLASSES["HParams"].FromString(content)
    except DecodeError as error:
        raise DamagedFile(f"record {number} holds no hyper-parameters: {error}") from error
    values = {item.key: _plain(item.value) for item in found.session_start_info.hparams}
    if values:
        yield HParams(values)


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    return None if kind in (None, "null_value") else getattr(value, kind)


def records(path: Path) -> Iterator[bytes]:
    """The contents of the whole records of a file. Raises `DamagedFile`."""
    with path.open("rb") as file:
        place = 0
        while True:
            head = file.read(12)
            if len(head) < 12:
                return
            (length,) = _LENGTH.unpack(head[:8])
            if _checksum(head[:8]) != head[8:] or length > LARGEST_RECORD:
                raise DamagedFile(f"the record at byte {place:,} is damaged")
            body = file.read(length + 4)
            if len(body) < length + 4:
                return
            if _checksum(body[:-4]) != body[-4:]:
                raise DamagedFile(f"the record at byte {place:,} is damaged")
            yield body[:-4]
            place = file.tell()


def _checksum(content: bytes) -> bytes:
    """CRC-32C, turned and shifted as TFRecord wants it, so that a checksum of checksums is not weak."""
    crc = google_crc32c.value(content)
    return _CHECKSUM.pack((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
