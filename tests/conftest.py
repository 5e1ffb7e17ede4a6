"""What holds for every test."""

from hypothesis import settings

# A busy machine is no failure: no example is refused for the time it took.
settings.register_profile("heldout", deadline=None)
settings.load_profile("heldout")
