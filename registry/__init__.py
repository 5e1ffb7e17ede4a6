"""The registry: claims, the append-only log of what happened to them, and the exclusion list made from it.

Imports only `heldout`. `registry.service.Registry` is the way in; `registry.api` puts it on HTTP.
"""
