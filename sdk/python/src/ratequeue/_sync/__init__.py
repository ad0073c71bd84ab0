# Generated from _async/__init__.py by generate_sync.py. Do not edit.
"""The client. Written for asyncio; the blocking one in ``_sync`` is generated from it by ``generate_sync.py``."""
