"""One process of a registry that others work on too: takes claims, sequences and publishes until it is killed."""

import sys
from pathlib import Path

from registry.service import Registry
from tests.registry.builders import request, url


def main(state_dir: str, database_url: str, name: str, n: str) -> None:
    """Make `n` claims, tell of each once it is stored, sequence after each and publish now and then."""
    with Registry(Path(state_dir), database_url) as registry:
        for number in range(int(n)):
            claim = registry.submit(request(url(f"{name}-{number}"), url(f"{name}-{number}-too")))
            sys.stdout.write(f"{claim.id}\n")
            sys.stdout.flush()
            if number % 5 == 4:
                registry.publish()


if __name__ == "__main__":
    main(*sys.argv[1:])
