"""YAML whose keys stand once each, as its standard wants: PyYAML lets a second one replace the first unsaid."""

from typing import Any

import yaml
from yaml.composer import ComposerError

_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(text: str) -> Any:
    """Return what ``text`` holds; merge keys (``<<``) bring in what stands elsewhere, and give way to a mapping's own.

    Raises yaml.YAMLError as ``yaml.safe_load`` does, and for a key that a mapping has twice.
    """
    return yaml.load(text, _OnceLoader)


class _OnceLoader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        mapping = super().compose_mapping_node(anchor)
        assert mapping is not None
        seen: dict[tuple[str, str], int] = {}  # tag and text of a key -> the line where it stands
        for key, _ in mapping.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if (key.tag, key.value) in seen:
                first = seen[key.tag, key.value] + 1
                raise ComposerError(
                    problem=f"the key '{key.value}' stands at line {first} already; keep one of the two",
                    problem_mark=key.start_mark,
                )
            seen[key.tag, key.value] = key.start_mark.line
        return mapping
