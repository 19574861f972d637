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
COHORT, CROPS = (option("--cohort", default=default) for default in ("auto", "crops"))
SEED, SEEDS = option("--seed", type=not_negative, default=0), several("--seeds", not_negative, [0])
DEVICE = option("--device", type=device, default="cpu")
ENGINES = "sequential, processes, ray or dask (default: processes for several runs; experiment/workers.py)"
ENGINE = option("--engine", ENGINES)
JOBS = option("--jobs", "how many runs at once (default: one a core)", type=positive)
FOLDS = several("--folds", fold_name, range(5), "0 to 4, or val: train on the split train, hold out val")
SOME_NOTEBOOKS = option("--notebook", "only those whose names start so, e.g. 01 03", nargs="*")
AT_ONCE = "notebooks side by side (default: one a core up to 4; one where an engine is named)"
AVERAGED = "of A and B: the fold models to average (default: as many as the profile says)"
STARTS = ["simulated", "scratch", "low_cost"]
EVERY_START = [*STARTS, "pseudo_labelled"]
"""The last one wants crops without landmarks too, so that it runs only where it is asked for."""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options; `command` is the name of a function of `commands`."""
    parser = argparse.ArgumentParser(prog="python -m kneel_lib", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def add(name: str, text: str, *options: Option) -> None:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=name)
        for flag, how in options:
            command.add_argument(flag, **how)

    given = option(
        "--parameter", "a notebook parameter, e.g. seed=1", nargs="*", default=[], metavar="NAME=VALUE"
    )
    at_once = option("--at-once", AT_ONCE, type=not_negative, default=0)
    run = profile("quick"), COHORT, SOME_NOTEBOOKS, given, at_once, ENGINE, JOBS
    add("run", "run the notebooks with papermill and build all tables and figures", *run)
    varied = several(
        "--folds", not_negative, None, "folds to try, where a notebook has one (default: its own)"
    )
    grid = SOME_NOTEBOOKS, several("--seeds", not_negative, [0, 1, 2], "seeds to try"), varied
    add(
        "sweep",
        "notebooks at several seeds and folds, all their numbers in one table",
        *grid,
        profile("smoke"),
        COHORT,
        given,
        at_once,
    )
    train = SETTINGS, profile("native"), COHORT, FOLDS, SEEDS, DEVICE, ENGINE, JOBS
    add("train", "make the missing runs of some settings, fold by fold", *train)
    source, target = option("--source", default="simulated"), option("--target", default="crops")
    transfer = SETTINGS, source, target, profile("long"), SEEDS, DEVICE
    add("transfer", "train on all knees of one cohort and try on another", *transfer)
    recipe = option("--recipe", choices=["best", "wing"], default="best")
    counts = several("--counts", not_negative, [25, 50, 100, 200, 0], "labelled knees; 0 is all of the fold")
    starts = several("--starts", str, STARTS, choices=EVERY_START)
    folds, seeds = several("--folds", not_negative, [0]), several("--seeds", not_negative, [0, 1])
    labels = profile("long"), CROPS, recipe, counts, starts, folds, seeds, DEVICE
    add("labels", "accuracy against the number of labelled real knees, from scratch and pre-trained", *labels)
    dataset = several("dataset", str, None, "A and B (simulated), val and test (splits of the real crops)")
    methods = several("--methods", str, ["rfrv_clm", "one_stage", "two_stage"])
    test = dataset, methods, profile("long"), several("--folds", not_negative, None, AVERAGED), SEED, DEVICE
    add("test", "Table 2: whole pipelines on test sets, trained first where that is missing", *test)
    add(
        "predict",
        "landmarks of your own radiographs: DICOM, PNG, JPEG, TIFF, BMP or WebP files",
        option("path", "a file or a folder"),
        option("--output", default="kneel_landmarks"),
        option("--spacing", "mm a pixel where the file says none (else: pixels)", type=float),
        option("--side", "of pictures of one knee that do not say which", choices=["L", "R"], default=""),
        option("--jobs", "how many processes; -1: one a core", type=processes, default=-1),
        option("--resume", "go on where a stopped run ended", action="store_true"),
        option("--via", "pictures and tables to correct in the VGG Image Annotator", action="store_true"),
        option("--sr", "DICOM structured reports of DICOM files", action="store_true"),
        option("--pdf", "a page to print, eight knees a page", action="store_true"),
        option("--weights", "a folder of other networks, as adapt writes it", default=""),
    )
    add(
        "adapt",
        "train the pretrained network on with answers that a person has corrected (docs/corrections.md)",
        option("path", "the folder that was given to predict"),
        option("corrected", "via.csv or via.json as it was saved after correcting"),
        option("--answers", "the folder that predict wrote to", default="kneel_landmarks"),
        option("--output", "for predict --weights", default="kneel_adapted"),
        option("--spacing", "mm a pixel where the file says none", type=float),
        option("--epochs", type=positive, default=10),
        SEED,
        DEVICE,
    )
    pretrain = (
        option("setting"),
        profile("native"),
        COHORT,
        several("--folds", any_fold, ["val"], "0 to 4, val, or all: every knee is trained on"),
        SEEDS,
        DEVICE,
        option("--output", "another folder than the package's", default=""),
    )
    add("pretrain", "put trained networks (made now if missing) into the package, for predict", *pretrain)
    add("onnx", "write the pretrained networks as ONNX files", option("--output", default="kneel_onnx"))
    profiles = several("--profiles", str, ["study", "study_native", "long", "native", "paper"])
    settings = option("--settings", "only these settings", nargs="*")
    add("record", "copy finished runs to results/ without weights, re-make the report", profiles, settings)
    add("report", "re-make the recorded tables and curves from results/ alone")
    add("notebooks", "refresh the outputs inside notebooks/", SOME_NOTEBOOKS)
    data = option("--data", "their folder (default: KNEEL_DATA or data/downloads)")
    add("verify", "check the downloaded files", data)
    return parser.parse_args(arguments)


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
        kept = "what was finished is kept (epochs and runs too: the same command goes on from there)"
        print(f"stopped; {kept}", file=sys.stderr)
        return 130
