"""A storage node: `run` for a process of its own, `serve_node` inside a running loop."""

from kvstore.node.process import run, serve_node

__all__ = ["run", "serve_node"]
