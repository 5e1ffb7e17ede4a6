"""Jobs of disputes and quarantine: what is due is done, no mail is lost by a server that fails; from a shell too."""

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from heldout.errors import UnavailableError
from registry.mail import Mail
from registry.quarantine import Thresholds
from registry.service import Registry
from tests.registry.builders import ORIGIN, Clock
from tests.registry.parties import account, claimed, disputed, states
from tests.web.conftest import make_settings
from web.dispute_mail import DisputeClerk
from web.quarantine import PictureWatch

ROOT = Path(__file__).parents[2]


@dataclass
class Post:
    """A mail server that takes mail, but for those it is told to refuse."""

    refused: set[str] = field(default_factory=set)
    taken: list[Mail] = field(default_factory=list)

    def send(self, mail: Mail) -> None:
        """As `registry.mail.Mailer.send`."""
        if mail.to in self.refused:
            raise UnavailableError("the mail server is down")
        self.taken.append(mail)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def own(tmp_path: Path, clock: Clock) -> Registry:
    return Registry.prepare(tmp_path / "state", origin=ORIGIN, clock=clock)


def test_a_mail_that_is_not_taken_is_sent_later_and_the_others_now(own: Registry, clock: Clock) -> None:
    jane = account(own, "jane@mail.example")
    for name in ("ota", "ria"):
        disputed(own, claimed(own, contact=f"{name}@mail.example"), jane)
    post = Post(refused={"ota@mail.example"})
    clerk = DisputeClerk(own, post, "https://heldout.example")
    with pytest.raises(UnavailableError):
        clerk.work()
    assert [mail.to for mail in post.taken] == ["ria@mail.example"]
    post.refused.clear()
    clerk.work()
    assert len(post.taken) == 1
    clock.advance(minutes=11)
    clerk.work()
    assert [mail.to for mail in post.taken] == ["ria@mail.example", "ota@mail.example"]
    own.close()


def test_without_a_mail_server_deadlines_still_run_and_mails_wait(own: Registry, clock: Clock) -> None:
    claim = claimed(own, contact="ota@mail.example")
    disputed(own, claim, account(own, "jane@mail.example"))
    clock.advance(days=90)
    DisputeClerk(own, None, "https://heldout.example").work()
    assert states(own, claim) == ["in_force"] * 3
    post = Post()
    DisputeClerk(own, post, "https://heldout.example").work()
    assert {(mail.to, mail.subject.partition(" / ")[0]) for mail in post.taken} == {
        ("ota@mail.example", "Somebody disputes your opt-out"),
        ("ota@mail.example", "A dispute is over"),
        ("jane@mail.example", "A dispute is over"),
    }
    own.close()


def test_jobs_outlive_their_failures(own: Registry) -> None:
    class Broken:
        """What no job can use."""

        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

    clerk = DisputeClerk(own, None, "https://heldout.example", every_s=0.001)
    watch = PictureWatch(own, Broken(), Thresholds(), every_s=0.001)  # type: ignore[arg-type]

    async def run() -> None:
        tasks = [asyncio.create_task(clerk.run()), asyncio.create_task(watch.run())]
        give_up_at = time.monotonic() + 60
        while watch.condition.failing_since is None:
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.005)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()

    asyncio.run(run())
    assert clerk.condition.failing_since is None
    own.close()


def test_a_shell_looks_pictures_up(datasets_dir: Path, tmp_path: Path) -> None:
    settings = make_settings(datasets_dir, tmp_path)
    told = {"HELDOUT_STATE_DIR": str(settings.state_dir), "HELDOUT_DATASETS_DIR": str(datasets_dir)}

    def run() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "web.quarantine"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HELDOUT_")}
        return subprocess.run(  # noqa: S603 - our own interpreter
            command, cwd=ROOT, env=environment | told, capture_output=True, text=True, check=False, timeout=300
        )

    missing = run()
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "keygen" in missing.stderr
    with Registry.prepare(settings.state_dir, origin=ORIGIN) as registry:
        claimed(registry)
        done = run()
    assert (done.returncode, done.stdout) == (0, "Looked up 1 pictures in 1 data sets; held 0.\n")
