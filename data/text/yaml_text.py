"""The one reader of YAML for suites, sweeps and policies; any mistake is one line.

Numbers are those of YAML 1.2, so `1e-3` is a number. A key must not be repeated. A text that would take very
long to read, by its depth or by aliases that multiply it, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from latentbench.data.errors import LatentbenchError

MOST_VALUES = 200_000
"""The highest number of values in a file; an alias counts each time it is used."""
DEEPEST = 50
LONGEST_NUMBER = 100
FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
)


class _TooDeepError(Exception):
    """Collections are nested more than `DEEPEST` levels deep."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the floats of YAML 1.2, without repeated keys and without unlimited depth."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node. Raises _TooDeepError before reading deeper would exhaust the stack."""
        inside = int(self.check_event(yaml.CollectionStartEvent))
        self.depth += inside
        if self.depth > DEEPEST:
            raise _TooDeepError
        node = super().compose_node(parent, index)
        self.depth -= inside
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping. Raises ConstructorError for a repeated key."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    problem = f"the key {key.value!r} is given twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))


def parse_yaml(text: str, where: str) -> Any:
    """Return the content of a YAML text; `where` names it in messages. Raises LatentbenchError.

    >>> parse_yaml("{a: 1e-3, b: 2E+1, c: 1.5, d: 3}", "x.yaml")
    {'a': 0.001, 'b': 20.0, 'c': 1.5, 'd': 3}
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check(node, where)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except _TooDeepError:
        raise LatentbenchError(f"{where}: is nested more than {DEEPEST} levels deep") from None
    except yaml.YAMLError as error:
        raise LatentbenchError(f"{where}: not YAML: {_one_line(error)}") from None
    except ValueError as error:
        raise LatentbenchError(f"{where}: not YAML: {error}") from None


def _check(root: yaml.Node, where: str) -> None:
    """Raise LatentbenchError for a value that contains itself, for too many values and for long numbers."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in open_nodes:
            raise LatentbenchError(f"{where}: an alias stands inside the value that it names")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            sizes[id(node)] = 1 + sum(size(child) for child in _children(node))
            open_nodes.discard(id(node))
        if sizes[id(node)] > MOST_VALUES:
            raise LatentbenchError(
                f"{where}: holds more than {MOST_VALUES:,} values, its aliases written out"
            )
        return sizes[id(node)]

    size(root)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if node.tag == "tag:yaml.org,2002:int" and len(node.value) > LONGEST_NUMBER:
        problem = f"a number of {len(node.value):,} digits; {LONGEST_NUMBER} are the most"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return []


def _one_line(error: yaml.YAMLError) -> str:
    """Return the problem and its line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem} (line {error.problem_mark.line + 1})"
    return " ".join(str(error).split())
