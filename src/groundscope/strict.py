"""YAML and JSON whose keys stand once each: their readers let a second one replace the first unsaid."""

import json
from typing import Any

import yaml
from yaml.composer import ComposerError

_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(text: str | bytes) -> Any:
    """Return what ``text`` holds; merge keys (``<<``) bring in what stands elsewhere, and give way to a mapping's own.

    Raises yaml.YAMLError as ``yaml.safe_load`` does, and for a key that a mapping has twice.
    """
    return yaml.load(text, _OnceLoader)


def read_json_text(text: str) -> Any:
    """Return what ``text`` holds; raises ValueError as ``json.loads`` does, and for a key that an object has twice."""
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key '{key}' stands twice in one object; keep one of the two")
        content[key] = value
    return content


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
