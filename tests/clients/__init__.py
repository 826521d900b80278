"""Clients that others' tools generate from our OpenAPI document, and the programs that use them."""
