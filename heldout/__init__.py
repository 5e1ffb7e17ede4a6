"""heldout: the open do-not-train registry, for those who apply it.

This package is the *library*: canonical URLs, picture fingerprints, proofs, pulling and checking an exclusion list,
filtering shards, and the command line. The service (`registry`, `indexer`, `search`, `web`) is run from a checkout.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
