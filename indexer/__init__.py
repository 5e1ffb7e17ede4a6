"""indexer: dataset shards to fingerprints and embeddings, and those to a served index generation.

Run as `python -m indexer ingest | build | export | evaluate`. Serving needs only `generation` and an `encoder`.
"""
