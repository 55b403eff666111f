"""The line of a record: JSON, sealed so that a later change of it is noticed.

A line ends in its `digest`, the first 16 hex digits of the sha256 of the line without it. The digest
detects slips, such as an edited value or half of a merge; it does not protect against forgery.
"""

from __future__ import annotations

import hashlib
import json

from pydantic import ValidationError

from latentbench.bench.store.records.record import OLDEST_SCHEMA, SCHEMA, Record

_SEAL = b',"digest":"'
_SEALED = len(_SEAL) + 16 + len(b'"}')

CHANGED = "changed after it was written: its digest does not match"
RESTORE = "restore the file, as with git checkout"
MEASURE_AGAIN = f"{RESTORE}, or measure again with: latentbench run --fresh"


class NotARecord(ValueError):
    """The error of a line that is not a record, with its reason and its remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what, self.remedy = what, remedy


def line_of(record: Record) -> bytes:
    """Return the record as a sealed line, newline included."""
    body = record.model_dump_json().encode()
    return body[:-1] + _SEAL + _digest(body) + b'"}\n'


def record_of(line: bytes) -> Record:
    """Return the record of a line that ends in its newline.

    Raises NotARecord for a line that is torn, of a schema that this version does not read, changed after
    it was written, or not a record at all.
    """
    body, sealed = body_of(line)
    record = _validated(body)
    if not sealed and record.schema_version > OLDEST_SCHEMA:
        raise NotARecord(CHANGED, MEASURE_AGAIN)
    return record


def body_of(line: bytes) -> tuple[bytes, bool]:
    """Return the JSON of a line without its digest, and whether it had one.

    Raises NotARecord for a line that is torn, or whose digest does not match.
    """
    if not line.endswith(b"\n"):
        raise NotARecord("torn: the writer was stopped in mid-line", "the same command measures it again")
    line = line.rstrip(b"\r\n")
    if not line[-_SEALED:].startswith(_SEAL):
        return line, False
    body = line[:-_SEALED] + b"}"
    if line[-18:-2] != _digest(body):
        raise NotARecord(CHANGED, MEASURE_AGAIN)
    return body, True


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:16].encode()


def _validated(body: bytes) -> Record:
    try:
        return Record.model_validate_json(body)
    except ValidationError as error:
        content = _content_of(body)
        schema = content.get("schema_version")
        if isinstance(schema, int) and not OLDEST_SCHEMA <= schema <= SCHEMA:
            raise NotARecord(
                f"schema {schema}, and this version reads {OLDEST_SCHEMA} to {SCHEMA}", "update latentbench"
            ) from None
        if "digest" in content:
            raise NotARecord(CHANGED, MEASURE_AGAIN) from None
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise NotARecord(f"not a record ({where} {first['msg']})", RESTORE) from None


def _content_of(body: bytes) -> dict[str, object]:
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
