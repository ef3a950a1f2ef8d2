"""The footer that turns an Arrow IPC stream into an Arrow IPC file, without writing the batches again."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
import pyarrow as pa

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_FILE_MAGIC = b"ARROW1"
_RECORD_BATCHES_FIELD = 4 + 2 * 3  # place of the offset of `recordBatches` in the vtable of the Footer table
_BLOCK = np.dtype([("position", "<i8"), ("metadata_size", "<i4"), ("padding", "<i4"), ("body_size", "<i8")])


def encode_footer(schema: pa.Schema, positions: npt.NDArray[np.int64], metadata_sizes: npt.NDArray[np.int32]) -> bytes:
    """What follows the last message of a file: end of stream, and a footer that names each batch.

    Shape: `positions` of all messages and then of the end of the last; `metadata_sizes` with the 8 bytes before it.
    From: Arrow's File.fbs. pyarrow writes a file without batches; a list of blocks goes to the end of its footer
    and the Footer table is made to point there, which FlatBuffers allows as offsets only ever point forward.
    """
    blocks = np.zeros(len(metadata_sizes), _BLOCK)
    blocks["position"] = positions[:-1]
    blocks["metadata_size"] = metadata_sizes
    blocks["body_size"] = np.diff(positions) - metadata_sizes
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
    footer += struct.pack("<I", len(blocks)) + blocks.tobytes()
    return END_OF_STREAM + bytes(footer) + struct.pack("<i", len(footer)) + _FILE_MAGIC
