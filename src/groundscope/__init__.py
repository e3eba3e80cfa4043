"""groundscope: when, where and by which mechanism symbol grounding emerges inside language models."""

__version__ = "0.1.0"
