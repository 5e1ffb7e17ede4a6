"""What other programs' plug-in points ask for, over a pulled list. Each needs the program it is named after.

Programs that take a function need none: give them `heldout.filtering.Filter`. Examples: docs/integrations.md.
"""
