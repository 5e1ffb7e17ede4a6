"""One of several processes that all do the same: claim under the same keys, prove, withdraw. A program."""

import json
import sys
from pathlib import Path

from registry.service import Registry
from tests.registry.builders import host, image, request, url


def main(state_dir: str, database_url: str, n: str) -> None:
    """Wait for a line, make `n` claims and change each; print their ids."""
    with Registry(Path(state_dir), database_url) as registry:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()  # all begin at once
        made = []
        for i in range(int(n)):
            wanted = request(url(f"{i}"), image(f"{i}"), host(f"site{i}.example"))
            claim = registry.submit(wanted, idempotency_key=f"key {i}")
            made.append(claim.id)
            registry.raise_assurance(claim.id, "host", reason="dns-txt", positions=[2])
            if i % 2:
                registry.withdraw_own(claim.id, secret=claim.secret)
    sys.stdout.write(json.dumps(made))


if __name__ == "__main__":
    main(*sys.argv[1:])
