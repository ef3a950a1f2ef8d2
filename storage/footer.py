"""The footer that turns an Arrow IPC stream into an Arrow IPC file, without writing the batches again."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pyarrow as pa

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_FILE_MAGIC = b"ARROW1"
_RECORD_BATCHES_FIELD = 4 + 2 * 3  # place of the offset of `recordBatches` in the vtable of the Footer table
_BLOCK = struct.Struct("<qi4xq")  # position, metadata length, body length


def encode_footer(schema: pa.Schema, blocks: Sequence[tuple[int, int, int]]) -> bytes:
    """What follows the last message of a file: end of stream, and a footer that names each batch.

    Shape: a block is (position in the file, bytes of prefix and metadata, bytes of body).
    From: Arrow's File.fbs. pyarrow writes a file without batches; a list of blocks goes to the end of its footer
    and the Footer table is made to point there, which FlatBuffers allows as offsets only ever point forward.
    """
    sink = pa.BufferOutputStream()
    pa.ipc.new_file(sink, schema).close()
    empty_file = sink.getvalue().to_pybytes()
    size_position = len(empty_file) - len(_FILE_MAGIC) - 4
    (size,) = struct.unpack_from("<i", empty_file, size_position)
    footer = bytearray(empty_file[size_position - size : size_position])
    (table,) = struct.unpack_from("<I", footer)
    vtable = table - struct.unpack_from("<i", footer, table)[0]
    field = table + struct.unpack_from("<H", footer, vtable + _RECORD_BATCHES_FIELD)[0]
    footer += bytes(-(len(footer) + 4) % 8)  # the first block is aligned to 8 bytes, its count stands right before it
    struct.pack_into("<I", footer, field, len(footer) - field)
    footer += struct.pack("<I", len(blocks)) + b"".join(_BLOCK.pack(*block) for block in blocks)
    return END_OF_STREAM + bytes(footer) + struct.pack("<i", len(footer)) + _FILE_MAGIC
