"""The URL and site doors: look-ups by canonical address. Samples whose picture is gone are found here too."""

from heldout.urls import canonical_key, surt_key, surt_range
from search import merge
from search.merge import Ref
from search.rankings import Answer, Listed, Ranged
from search.reading import Reading


def answer_url(reading: Reading, url: str) -> Answer:
    """Samples of this address, however it is written, the scheme included.

    Raises:
        InputError: not an address.
    """
    text = url.strip()
    address = surt_key(canonical_key(text if "://" in text else f"https://{text}"))
    found = merge.exact(
        (
            Ref(dataset, int(sample))
            for dataset, generation in reading.generations.items()
            for sample in generation.url_range(address, address + "\0", limit=generation.n)
        ),
        by_url=True,
    )
    return Answer(Listed(found, total=len(found)))


def answer_site(reading: Reading, site: str) -> Answer:
    """Samples of a host and its subdomains, or below a profile's path, in the order of addresses.

    Raises:
        InputError: neither a host nor a host with a path.
    """
    low, high = surt_range(site)
    found = {
        dataset: generation.url_range(low, high, limit=generation.n)
        for dataset, generation in reading.generations.items()
    }
    return Answer(Ranged(found))
