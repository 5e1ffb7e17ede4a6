"""Questions over built indexes: picture, text, URL, site and caption to labelled, grouped hits.

Imports `indexer` and `heldout`; knows nothing of claims. `engine.SearchEngine` is the way in.
"""
