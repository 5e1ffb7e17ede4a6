"""The secret of a claim: who has it may withdraw a claim that belongs to no account, or move it into one.

It follows from the claim's id and a key of the operator's, so that a claim sent twice gives the same secret and the
database holds nothing that a thief could use. The key is derived (HKDF, RFC 5869) from the log's, which never changes.
"""

import base64
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from heldout.checkpoint import Signer

_INFO = b"heldout claim secrets v1"
_N_BYTES = 20


class ClaimSecrets:
    """Makes and checks the secrets of one registry's claims."""

    def __init__(self, signer: Signer) -> None:
        self._key = HKDF(SHA256(), 32, salt=None, info=_INFO).derive(signer.seed)

    def of(self, claim_id: str) -> str:
        """The claim's secret: 32 lower-case letters and digits."""
        mac = hmac.digest(self._key, claim_id.encode(), "sha256")[:_N_BYTES]
        return base64.b32encode(mac).decode("ascii").lower()

    def is_of(self, claim_id: str, given: str | None) -> bool:
        """Whether this is it; takes the same time whatever was given."""
        right = self.of(claim_id).encode()
        return hmac.compare_digest(right, (given or "").strip().lower().encode("utf-8", "replace"))
