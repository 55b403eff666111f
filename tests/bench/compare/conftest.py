"""Two runs of given records, compared."""

import pytest

from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.policy import shipped
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store


@pytest.fixture
def compared(tmp_path):
    """`compared(a, b)` compares two lists of records, or of pairs (record, arrays)."""

    def write(name, records):
        with Store(tmp_path / name).writer("my", None) as writer:
            for record in records:
                writer.append(*(record if isinstance(record, tuple) else (record,)))
            return read(writer.finish())

    def compared(a, b, **options):
        return compare(write("a", a), write("b", b), options.pop("policy", shipped()), **options)

    return compared
