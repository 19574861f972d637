"""The command line: `python -m kneel_lib run | sweep | train | transfer | labels | test | predict |
adapt | pretrain | onnx | record | report | notebooks | verify`."""

import argparse
import io
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from kneel_lib.errors import KneelError

Option = tuple[str, dict[str, Any]]

USES = ("predict", "onnx", "verify")
"""Commands that need nothing of the study, and start quickly."""


def fold_name(text: str) -> int | str:
    """A fold from the command line: a number, or val."""
    return text if text == "val" else not_negative(text)


def any_fold(text: str) -> int | str:
    """A fold from the command line, or all: none is held out."""
    return text if text == "all" else fold_name(text)


def not_negative(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def spacing(text: str) -> float:
    """A pixel spacing in mm, as a radiograph may have it."""
    from kneel_lib.data.grey import SPACING_RANGE_MM

    low, high = SPACING_RANGE_MM
    try:
        found = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid float value: '{text}'") from None
    if not low <= found <= high:
        raise argparse.ArgumentTypeError(f"a pixel spacing of {text} mm: expected {low} to {high} mm")
    return found


def processes(text: str) -> int:
    """How many processes: a whole number from 1, or -1 for one a core."""
    return -1 if text == "-1" else positive(text)


def device(text: str) -> str:
    """A device that torch knows and this machine has."""
    import torch

    try:
        torch.empty(1, device=text)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch has a kind for each
        raise argparse.ArgumentTypeError(
            f"'{text}' is no device that can be used here ({str(error).splitlines()[0]}): cpu always is"
        ) from None
    return text


def option(name: str, text: str | None = None, **how: Any) -> Option:
    """An option or argument of a command, for `argparse.ArgumentParser.add_argument`."""
    return name, {"help": text, **how}


def several(name: str, kind: Any, default: Any = None, text: str | None = None, **how: Any) -> Option:
    """An option or argument that takes one value or more."""
    given = {} if default is None else {"default": default}
    return option(name, text, nargs="+", type=kind, **given, **how)


def profile(default: str) -> Option:
    return option("--profile", default=default)


SETTINGS = several("setting", str)
COHORT = option("--cohort", default="auto")
SEED, SEEDS = option("--seed", type=not_negative, default=0), several("--seeds", not_negative, [0])
DEVICE = option("--device", type=device, default="cpu")
ENGINES = "sequential, processes, ray or dask (default: processes for several runs; experiment/workers.py)"
ENGINE = option("--engine", ENGINES)
JOBS = option("--jobs", "how many runs at once (default: one a core; one on a GPU)", type=positive)
FOLDS = several("--folds", fold_name, range(5), "0 to 4, or val: train on the split train, hold out val")
SOME_NOTEBOOKS = option("--notebook", "only those whose names start so, e.g. 01 03", nargs="*")
USUAL_STARTS = ["simulated", "scratch", "low_cost"]
EVERY_START = [*USUAL_STARTS, "pseudo_labelled"]
"""The last one wants crops without landmarks too, so that it runs only where it is asked for."""


GIVEN = option(
    "--parameter", "a notebook parameter, e.g. seed=1", nargs="*", default=[], metavar="NAME=VALUE"
)
AT_ONCE = option(
    "--at-once",
    "notebooks side by side (default: one a core up to 4; one where an engine is named)",
    type=not_negative,
    default=0,
)

COMMANDS: dict[str, tuple[str, tuple[Option, ...]]] = {
    "run": (
        "run the notebooks with papermill and build all tables and figures",
        (profile("quick"), COHORT, SOME_NOTEBOOKS, GIVEN, AT_ONCE, ENGINE, JOBS),
    ),
    "sweep": (
        "notebooks at several seeds and folds, all their numbers in one table",
        (
            SOME_NOTEBOOKS,
            several("--seeds", not_negative, [0, 1, 2], "seeds to try"),
            several(
                "--folds", not_negative, None, "folds to try, of notebooks that have one (default: theirs)"
            ),
            profile("smoke"),
            COHORT,
            GIVEN,
            AT_ONCE,
        ),
    ),
    "train": (
        "make the missing runs of some settings, fold by fold",
        (SETTINGS, profile("native"), COHORT, FOLDS, SEEDS, DEVICE, ENGINE, JOBS),
    ),
    "transfer": (
        "train on all knees of one cohort and try on another",
        (
            SETTINGS,
            option("--source", default="simulated"),
            option("--target", default="crops"),
            profile("long"),
            SEEDS,
            DEVICE,
        ),
    ),
    "labels": (
        "accuracy against the number of labelled real knees, from scratch and pre-trained",
        (
            profile("long"),
            option("--cohort", default="crops"),
            option("--recipe", choices=["best", "wing"], default="best"),
            several("--counts", not_negative, [25, 50, 100, 200, 0], "labelled knees; 0 is all of the fold"),
            several("--starts", str, USUAL_STARTS, choices=EVERY_START),
            several("--folds", not_negative, [0]),
            several("--seeds", not_negative, [0, 1]),
            DEVICE,
        ),
    ),
    "test": (
        "Table 2: whole pipelines on test sets, trained first where that is missing",
        (
            several("dataset", str, None, "A and B (simulated), val and test (splits of the real crops)"),
            several("--methods", str, ["rfrv_clm", "one_stage", "two_stage"]),
            profile("long"),
            several(
                "--folds",
                not_negative,
                None,
                "of A and B: the fold models to average (default: as many as the profile says)",
            ),
            SEED,
            DEVICE,
        ),
    ),
    "predict": (
        "landmarks of your own radiographs: DICOM, PNG, JPEG, TIFF, BMP or WebP files",
        (
            option("path", "a file or a folder", nargs="+"),
            option("--output", default="kneel_landmarks"),
            option("--spacing", "mm a pixel where the file says none (else: pixels)", type=spacing),
            option("--side", "of pictures of one knee that do not say which", choices=["L", "R"], default=""),
            option("--jobs", "how many processes; -1: one a core", type=processes, default=-1),
            option("--resume", "go on where a stopped run ended", action="store_true"),
            option("--via", "pictures and tables to correct in the VGG Image Annotator", action="store_true"),
            option("--sr", "DICOM structured reports of DICOM files", action="store_true"),
            option("--pdf", "a page to print, eight knees a page", action="store_true"),
            option("--weights", "a folder of other networks, as adapt writes it", default=""),
        ),
    ),
    "adapt": (
        "train the pretrained network on with answers that a person has corrected (docs/corrections.md)",
        (
            option("path", "the folder that was given to predict"),
            several("corrected", str, None, "via.csv or via.json, one or more, as saved after correcting"),
            option("--answers", "the folder that predict wrote to", default="kneel_landmarks"),
            option("--output", "for predict --weights", default="kneel_adapted"),
            option("--spacing", "mm a pixel, if predict was told another way", type=spacing),
            option("--epochs", type=positive, default=10),
            SEED,
            DEVICE,
        ),
    ),
    "pretrain": (
        "put trained networks (made now if missing) into the package, for predict",
        (
            option("setting"),
            profile("native"),
            COHORT,
            several("--folds", any_fold, ["val"], "0 to 4, val, or all: every knee is trained on"),
            SEEDS,
            DEVICE,
            option("--output", "another folder than the package's", default=""),
        ),
    ),
    "onnx": ("write the pretrained networks as ONNX files", (option("--output", default="kneel_onnx"),)),
    "record": (
        "copy finished runs to results/ without weights, re-make the report",
        (
            several("--profiles", str, ["study", "study_native", "long", "native", "paper"]),
            option("--settings", "only these settings", nargs="*"),
        ),
    ),
    "report": ("re-make the recorded tables and curves from results/ alone", ()),
    "notebooks": ("refresh the outputs inside notebooks/", (SOME_NOTEBOOKS,)),
    "verify": (
        "check the downloaded files",
        (option("--data", "their folder (default: KNEEL_DATA or data/downloads)"),),
    ),
}
"""{a function of `commands` or `use`: (what it does, its options)}."""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options; `command` is one of COMMANDS."""
    parser = argparse.ArgumentParser(prog="python -m kneel_lib", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, (text, options) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=name)
        for flag, how in options:
            command.add_argument(flag, **how)
    asked = parser.parse_args(arguments)
    for name, given in vars(asked).items():
        if isinstance(given, list):  # what is given twice is asked once
            setattr(asked, name, list(dict.fromkeys(given)))
    return asked


def main(arguments: list[str] | None = None) -> int:
    """Run a command of the command line; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no such letter shows its escape
            stream.reconfigure(errors="backslashreplace")
    options = parse(arguments)
    room = "use" if options.command in USES else "commands"
    module = import_module(f"kneel_lib.{room}")  # not before the line is read: `--help` needs no torch
    return carry_out(options, getattr(module, options.command))


def carry_out(options: argparse.Namespace, command: Callable[[argparse.Namespace], int]) -> int:
    """Call the command; a `KneelError` becomes one line and exit code 1."""
    try:
        return command(options)
    except KneelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # nobody reads what we say any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        again = "with --resume " if getattr(options, "resume", True) is False else ""
        print(
            f"stopped; what was finished is kept: the same command {again}goes on from there", file=sys.stderr
        )
        return 130
