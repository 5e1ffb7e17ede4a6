"""Wire records: what the HTTP API returns and the client gives back, frozen.

Pydantic at the edges only; inside, the packages use arrays and frozen dataclasses. Words are those of the glossary:
a *sample* is one image-text pair of a data set, a *hit* is a scored sample, a *subject* is what an opt-out is about.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Hex256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Preference = Literal["train-ai=n", "train-ai=y"]
Assurance = Literal["declared", "account", "host", "credential", "reviewed"]
ActingAs = Literal["artist", "representative", "estate", "organisation"]
ClaimState = Literal["pending", "in_force", "withdrawn", "rejected", "disputed", "quarantined"]
SubjectKind = Literal["url", "prefix", "host", "image"]
DisputeState = Literal["open", "upheld", "refused", "withdrawn", "expired", "moot"]
DisputeBasis = Literal["mine", "agreement", "place", "nobodys", "other"]
HitLabel = Literal["exact", "near", "similar", "caption", "site"]
Channel = Literal["bytes", "url", "pdq", "geometry", "clip", "caption", "site"]
Safety = Literal["any", "safe", "unsafe"]

ASSURANCES: tuple[Assurance, ...] = ("declared", "account", "host", "credential", "reviewed")
"""Weakest first; the position is the code used in the exclusion list's files."""

CLAIM_STATES: tuple[ClaimState, ...] = ("in_force", "disputed", "quarantined", "pending", "rejected", "withdrawn")
"""Most effective first: a claim is in the first state that any of its subjects is in. `heldout.states` has the rest."""


class Record(BaseModel):
    """Base of the wire records: frozen, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class UrlSubject(Record):
    """This address."""

    kind: Literal["url"] = "url"
    url: str = Field(
        description="The address as found in the data set; canonicalised by the registry.", max_length=16_384
    )


class ImageSubject(Record):
    """This picture, anywhere."""

    kind: Literal["image"] = "image"
    pdq: Hex256 = Field(description="PDQ hash of the upright picture, 256 bits as hex.")
    quality: int = Field(ge=0, le=100, description="PDQ quality; below 50 the picture is too plain to match by PDQ.")
    sha256: Hex256 | None = Field(default=None, description="SHA-256 of the file's bytes, when the bytes were at hand.")


class PrefixSubject(Record):
    """Everything below this path of this host, as a profile on a platform. Counts once the profile is proved."""

    kind: Literal["prefix"] = "prefix"
    prefix: str = Field(
        description="Address of the folder, as https://art.example/jane/. Its name is public in the log, for ever.",
        max_length=2_100,
    )


class HostSubject(Record):
    """This host and everything below it. Counts once the site is proved."""

    kind: Literal["host"] = "host"
    host: str = Field(
        description="As jane.example; never one that many people share. Its name is public in the log, for ever.",
        max_length=300,
    )


Subject = Annotated[UrlSubject | ImageSubject | PrefixSubject | HostSubject, Field(discriminator="kind")]

MAX_SUBJECTS = 10_000
"""Of one claim."""


class ClaimRequest(Record):
    """A request to opt works out."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "subjects": [
                        {"kind": "url", "url": "https://jane.example/art/castle.jpg"},
                        {"kind": "host", "host": "jane.example"},
                        {
                            "kind": "image",
                            "pdq": "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22",
                            "quality": 100,
                        },
                    ],
                    "acting_as": "artist",
                }
            ]
        }
    )

    subjects: list[Subject] = Field(min_length=1, max_length=MAX_SUBJECTS)
    preference: Preference = Field(
        default="train-ai=n",
        description="In the words of IETF AIPREF: `train-ai=n` opts out, `train-ai=y` grants.",
    )
    acting_as: ActingAs = "artist"
    contact: str | None = Field(default=None, max_length=320, description="E-mail, kept out of the log, erasable.")
    name: str | None = Field(default=None, max_length=200, description="Name to show, kept out of the log, erasable.")


class Claim(Record):
    """A claim as the registry holds it. Personal data is not part of it."""

    id: str
    state: ClaimState = Field(description="The most effective one that any of its subjects is in.")
    preference: Preference
    assurance: Assurance = Field(description="What is shown for all of its subjects.")
    acting_as: ActingAs
    received_at: datetime
    n_subjects: int
    n_url_subjects: int
    n_image_subjects: int
    n_prefix_subjects: int = 0
    n_host_subjects: int = 0
    subject_states: dict[ClaimState, int] = Field(default_factory=dict, description="Subjects by state.")
    log_indices: list[int] = Field(description="Positions in the log; empty until the event is sequenced.")
    notes: list[str] = Field(default_factory=list, description="What does not count yet and why, in plain words.")
    secret: str | None = Field(
        default=None,
        description="Given once, to whoever made the claim without an account: withdraws it, or moves it into one.",
    )


class ClaimPage(Record):
    """One page of an account's claims, newest first."""

    claims: list[Claim]
    next_cursor: str | None = Field(default=None, description="Give it back as `cursor` for the next page.")


class SubjectProblem(Record):
    """A subject of a request that would not count, and why."""

    index: int = Field(description="Its place in the request's `subjects`, from 0.")
    reason: str
    same_as: int | None = Field(default=None, description="Of one said twice: the place of the first.")


class ClaimPreview(Record):
    """What a request would opt out, if it were made. Nothing is stored."""

    n_subjects: int = Field(description="Distinct subjects that can be used.")
    n_url_subjects: int
    n_image_subjects: int
    n_prefix_subjects: int
    n_host_subjects: int
    n_pending: int = Field(description="Of `n_subjects`: places that count once they are proved.")
    n_plain: int = Field(description="Pictures too plain for their copies to be told: only the same file counts.")
    duplicates: list[SubjectProblem] = Field(description="Subjects that say again what an earlier one says.")
    unusable: list[SubjectProblem] = Field(description="Subjects that a claim cannot hold: take them out.")
    notes: list[str]


class Sample(Record):
    """One image-text pair of a data set release."""

    dataset: str
    id: int = Field(description="Dense row number over the release's shards.")
    key: str = Field(description="The data set's own key, else shard:row.")
    url: str | None
    host: str | None
    caption: str | None
    width: int | None
    height: int | None
    status: str = Field(description="`ok`, or why there is no picture.")
    sha256: Hex256 | None
    pdq: Hex256 | None
    pdq_quality: int | None
    unsafe: bool = Field(default=False, description="By the data set's own columns; shown blurred, never dropped.")
    signals: tuple[str, ...] = Field(default=(), description="Opt-out signals that the server sent with the picture.")


class SearchFilters(Record):
    """Which hits an answer is to have. A card that is shown still lists every copy of its picture, filtered or not."""

    hosts: tuple[str, ...] = Field(default=(), description="Of one of these hosts or their subdomains.")
    min_width: int | None = Field(default=None, ge=1, description="In pixels; an unknown width is left out.")
    min_height: int | None = Field(default=None, ge=1, description="In pixels; an unknown height is left out.")
    labels: tuple[HitLabel, ...] = Field(default=(), description="With one of these labels.")
    safety: Safety = Field(default="any", description="By the data set's own columns.")
    not_opted_out: bool = Field(default=False, description="Only what no opt-out in force covers yet.")

    @property
    def are_any(self) -> bool:
        """Whether anything is filtered at all."""
        return self != SearchFilters()


class Evidence(Record):
    """Why a sample is a hit: the channel and its measure.

    `value` is 0 for equal bytes or URL, the Hamming distance (0-256) for `pdq`, how well the pictures agree where they
    overlap (0-1) for `geometry`, the cosine for `clip`, and the engine's relevance for `caption`.
    """

    channel: Channel
    value: float
    inliers: int | None = Field(default=None, description="Keypoints in common, for `geometry`.")
    query_share: float | None = Field(
        default=None, description="Share of the query picture that the sample shows, 0-1, for `geometry`."
    )
    sample_share: float | None = Field(
        default=None, description="Share of the sample that the query picture shows, 0-1, for `geometry`."
    )


class Hit(Record):
    """One scored sample, best evidence first."""

    sample: Sample
    label: HitLabel
    score: float = Field(description="Orders hits of one answer; comparable within one answer only.")
    evidence: list[Evidence]
    unverified: bool = Field(
        default=False,
        description="A similar hit whose picture is not stored here: it may be a copy. `/v1/search/check` fetches it.",
    )


class Copy(Record):
    """A proved copy of a hit that the query itself did not return."""

    sample: Sample
    channel: Literal["bytes", "pdq"] = Field(description="What proves it.")
    distance: int = Field(
        ge=0, le=256, description="0 for the same bytes, else the PDQ distance to the copy nearest it."
    )


class Group(Record):
    """The copies of one picture among an answer's hits and elsewhere in the data sets searched: one card."""

    hits: list[int] = Field(description="Positions in the answer's `hits`, best first; the first is the card's face.")
    copies: list[Copy] = Field(description="Proved copies besides those hits.")
    hosts: list[str] = Field(description="Every host that serves one of them, sorted.")
    n_samples: int = Field(description="Hits and copies together.")
    complete: bool = Field(default=True, description="False where there are more copies than an answer lists.")


class SearchResult(Record):
    """One page of hits, best first, and their groups."""

    hits: list[Hit]
    groups: list[Group] = Field(default_factory=list, description="Every hit is in exactly one, in the hits' order.")
    next_cursor: str | None = None
    total: int | None = Field(default=None, description="Samples that match, over all pages, where that is known.")
    left_out: dict[HitLabel, int] = Field(
        default_factory=dict,
        description="Exact and near hits that the filters leave out and no card of this page lists, by label.",
    )
    notes: list[str] = Field(default_factory=list, description="What the answer could not do, in plain words.")
    generations: dict[str, int] = Field(default_factory=dict, description="Data set -> index generation that answered.")

    def samples_of(self, group: Group) -> list[Sample]:
        """All samples of one of `groups`: its hits', best first, then its copies'."""
        return [self.hits[position].sample for position in group.hits] + [copy.sample for copy in group.copies]


class Check(Record):
    """What came of fetching one sample's picture and comparing it with the query."""

    sample: Sample
    outcome: Literal["exact", "near", "different", "not_fetched"] = Field(
        description="`exact` and `near` are proved copies; `different`: nothing proves one; `not_fetched`: `reason`."
    )
    evidence: list[Evidence] = Field(default_factory=list, description="What proves a copy, best first.")
    reason: str | None = Field(default=None, description="Why there was nothing to compare, in plain words.")


class CheckResult(Record):
    """Samples whose pictures were fetched and compared, in the order asked."""

    checks: list[Check]
    n_left: int = Field(default=0, description="Samples asked for beyond what one request checks: ask for them again.")
    generations: dict[str, int] = Field(default_factory=dict, description="Data set -> index generation of the ids.")


class DatasetInfo(Record):
    """A data set that can be searched."""

    name: str
    n_samples: int
    generation: int
    model_tag: str
    d: int = Field(description="Length of an embedding.")


class Instruction(Record):
    """One thing to put somewhere, to be copied as it is."""

    label: str
    text: str


class Proof(Record):
    """A way in which a claimant shows that something is theirs, and how far it has come."""

    id: str = Field(description="Keep it to yourself: who has it may have the proof looked for.")
    claim: str
    method: Literal["dns", "well-known", "meta", "account", "credential"]
    target: str = Field(description="A host, the address of a page, or a picture's PDQ.")
    token: str = Field(description="The code. It does not expire, and is worth nothing to anybody else.")
    put: list[Instruction] = Field(description="What to put where. Leave it there: removing it takes the proof back.")
    state: Literal["waiting", "proved", "lost"]
    gives: Assurance
    n_subjects: int = Field(description="Subjects of the claim that it proves now.")
    code: str | None = Field(description="Of the last look: `found`, or a short word of what is wrong.")
    result: str | None = Field(description="Of the last look, in words.")
    created_at: datetime
    checked_at: datetime | None
    proved_at: datetime | None = Field(description="When it was last seen.")
    failing_since: datetime | None
    next_check_at: datetime | None = Field(description="None: when somebody asks.")


class ProofList(Record):
    """The proofs of a claim, oldest first."""

    proofs: list[Proof]


MAX_STATEMENT_CHARS = 5_000
Statement = Annotated[str, StringConstraints(strip_whitespace=True, min_length=20, max_length=MAX_STATEMENT_CHARS)]


class DisputeRequest(Record):
    """A counter-claim: why a claim, or part of it, should not hold."""

    claim: str = Field(max_length=64)
    basis: DisputeBasis = Field(
        description="`mine`: I made it or hold the rights; `agreement`: the claimant agreed otherwise; `place`: the "
        "site or profile is mine; `nobodys`: a logo, a blank or something free for all; `other`."
    )
    statement: Statement = Field(
        description="In your words. The claimant and the reviewers read it; it is not public and never in the log."
    )
    subjects: list[Subject] | None = Field(
        default=None,
        min_length=1,
        max_length=1_000,
        description="What of the claim it is about; an address that it does not hold stands for the site or profile of "
        "the claim it is on. Left out: all of it.",
    )


class Dispute(Record):
    """A counter-claim as it stands. The statements are for the two sides and the reviewers."""

    id: str
    claim: str
    state: DisputeState = Field(
        description="`open`, or how it ended; `moot`: the claim was taken back. Every outcome can be reviewed."
    )
    basis: DisputeBasis
    subjects: list[int] = Field(description="Positions of the claim's subjects it is about, from 0.")
    n_subjects: int
    filed_at: datetime
    answer_due_at: datetime = Field(description="Until when no decision is made without the claimant's answer.")
    answered_at: datetime | None
    decide_due_at: datetime = Field(description="When it ends by itself, if nobody has decided.")
    decided_at: datetime | None
    statement: str | None = Field(default=None, description="Of who filed it; None for others than the two sides.")
    answer: str | None = Field(default=None, description="Of the claimant; None for others than the two sides.")
    decision: str | None = Field(default=None, description="The reviewer's reason; None for others.")


class DisputePage(Record):
    """One page of disputes, newest first."""

    disputes: list[Dispute]
    next_cursor: str | None = Field(default=None, description="Give it back as `cursor` for the next page.")
