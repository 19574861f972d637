"""Where runs come from, as their manifests say it: which commit, made how; and which runs may be recorded.

A run may be made in pieces, each going on where the one before was stopped. What each piece says of its code
and machine is noted when it begins, not when the run ends: by then the tree may be another one.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kneel_lib.errors import KneelError
from kneel_lib.files import write_text

PIECES = "pieces.json"
"""A run under way keeps the beginnings of its pieces here."""

FIXED = {"commit": "commits", "threads": "thread counts", "precision": "precisions", "device": "devices"}
"""What all runs of a row must have in common, and how several of it are called. The processor is in the
manifest too, but may differ: nobody has five of the same."""

NOTED = ("started", *FIXED, "processor", "card")
SEVERAL, UNKNOWN, DIRTY = "several", "unknown", "-dirty"


def begin_piece(work: Path, beginning: dict[str, Any], afresh: bool) -> list[dict[str, Any]]:
    """The beginnings of all pieces of the run in the folder `work`, with this one, which is noted there.

    afresh: nothing that an earlier piece left is gone on from, so that it does not count.
    """
    path = work / PIECES
    try:
        before = json.loads(path.read_text()) if path.is_file() and not afresh else []
    except ValueError:
        raise KneelError(f"{path} cannot be read: delete {work}, the run is made anew") from None
    pieces = [*before, beginning]
    write_text(path, json.dumps(pieces, indent=1) + "\n")
    return pieces


def as_manifest(pieces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a manifest says of code and machine: that of the first piece, and of several each one's own."""
    noted = [{name: piece[name] for name in NOTED if name in piece} for piece in pieces]
    return {**pieces[0], **({"pieces": noted} if len(pieces) > 1 else {})}


def values(manifests: Iterable[dict[str, Any]], name: str) -> set[str]:
    """What these manifests, with their pieces, say of one thing of `FIXED`. Of a device its kind; manifests
    of older runs say nothing of it, and were made on a processor."""
    said = (piece.get(name) for manifest in manifests for piece in manifest.get("pieces") or [manifest])
    return {
        str(value or "cpu").split(":")[0] if name == "device" else str(value or UNKNOWN) for value in said
    }


def commit_of(manifests: Iterable[dict[str, Any]]) -> str:
    """The one commit that all of these runs come from, with "-dirty" behind it where the tree had changes;
    else "several"."""
    commits = values(manifests, "commit")
    return commits.pop() if len(commits) == 1 else SEVERAL


def is_clean(commit: str) -> bool:
    """Whether a row of this `commit_of` comes from one commit, without changes."""
    return commit not in (SEVERAL, UNKNOWN) and not commit.endswith(DIRTY)


def faults(new: Sequence[Any], recorded: Sequence[Any] = ()) -> dict[str, str]:
    """{hash of a run: why it may not be recorded} of the runs `new` (`store.Run`) of one recorded file.

    recorded: what that file holds already. Runs of one row differ in fold and seed alone; they must come from
    one commit without changes, with one number of threads, one precision and one kind of device. Rows that
    were recorded before this was asked are left as they are, and grow no more if they are mixed.
    """
    found: dict[str, str] = {}
    for run in new:
        unclean = sorted(c for c in values([run.manifest], "commit") if not is_clean(c))
        if unclean:
            found[run.spec.hash] = f"made by code of commit {unclean[0]}"
    rows: dict[Any, list[Any]] = {}
    asked = {run.spec.hash for run in new}
    for run in [*recorded, *(run for run in new if run.spec.hash not in found)]:
        key = run.spec.kind, run.spec.labels, run.spec.target, run.spec.origin
        rows.setdefault(key, []).append(run)
    for row in rows.values():
        manifests = [run.manifest for run in row]
        mixed = {name: values(manifests, name) for name in FIXED}
        why = "; ".join(
            f"its row would have several {FIXED[name]} ({', '.join(sorted(said))})"
            for name, said in mixed.items()
            if len(said) > 1
        )
        if why:
            found |= {run.spec.hash: why for run in row if run.spec.hash in asked}
    return found


def refusal(runs: Sequence[Any], why: dict[str, str]) -> str:
    """One line that names the runs (`store.Run`) of `faults`, each with its reason."""
    reasons: dict[str, list[str]] = {}
    for run in runs:
        reasons.setdefault(why[run.spec.hash], []).append(f"{run.spec.profile.name} {run.spec.said}")
    named = "; ".join(f"{' | '.join(names)}: {reason}" for reason, names in reasons.items())
    return (
        f"not recorded: {named}. Make all runs of a row from one commit without changes, with the same "
        "threads, precision and kind of device (delete their folders first); all others are recorded, and "
        "`python -m kneel_lib report` renews the tables"
    )
