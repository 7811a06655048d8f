"""Tar headers, read and written.

Names travel as UTF-8 with surrogate escapes whatever the locale, so that equal trees give equal bytes.

Spec: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13
"""

from wcbuild.layer.tar.format import (
    BLOCK_SIZE,
    END_OF_ARCHIVE,
    encode_name,
    padding,
)
from wcbuild.layer.tar.reading import RawEntry, read_entries
from wcbuild.layer.tar.writing import header, header_with_records

__all__ = [
    "BLOCK_SIZE",
    "END_OF_ARCHIVE",
    "RawEntry",
    "encode_name",
    "header",
    "header_with_records",
    "padding",
    "read_entries",
]
