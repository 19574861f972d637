"""The command line: `python -m kneel_lib run | train | transfer | labels | test | predict | pretrain |
onnx | record | report | notebooks | verify`."""

import argparse
import os
import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from kneel_lib import notebook_runner, paths
from kneel_lib.errors import KneelError
from kneel_lib.experiment.store import Run


def run(options: argparse.Namespace) -> int:
    from kneel_lib.errors import find
    from kneel_lib.experiment.cohorts import load_cohort
    from kneel_lib.experiment.engines import ENGINES
    from kneel_lib.experiment.profiles import find_profile

    profile = find_profile(options.profile)
    find(options.engine, ENGINES, "engine")
    parameters = dict(notebook_runner.parse_parameter(text) for text in options.parameter)
    cohort = load_cohort(options.cohort, profile.simulated)
    os.environ.update(KNEEL_ENGINE=options.engine, KNEEL_JOBS=str(options.jobs))
    given = {**parameters, "profile": options.profile, "cohort": cohort.name}
    at_once = options.at_once or notebook_runner.side_by_side(options.engine)
    failed = notebook_runner.run_notebooks(
        given, paths.output(cohort.name, options.profile), options.notebook, at_once
    )
    return 1 if failed else 0


def train(options: argparse.Namespace) -> int:
    from kneel_lib.experiment.cohorts import load_cohort
    from kneel_lib.experiment.engines import each_run
    from kneel_lib.experiment.profiles import find_profile, profile_for
    from kneel_lib.experiment.rows import find_setting

    settings, profile = [find_setting(name) for name in options.setting], find_profile(options.profile)
    cohort = load_cohort(options.cohort, profile.simulated)
    sizes: dict[Any, list[Any]] = {profile_for(setting, profile): [] for setting in settings}
    for setting in settings:
        sizes[profile_for(setting, profile)].append(setting)
    for size, rows in sizes.items():
        for finished in each_run(
            rows, size, cohort, options.folds, options.seeds, options.device, options.engine, options.jobs
        ):
            say(finished)
    return 0


def transfer(options: argparse.Namespace) -> int:
    from kneel_lib.experiment.cohorts import load_cohort
    from kneel_lib.experiment.profiles import find_profile, profile_for
    from kneel_lib.experiment.rows import find_setting
    from kneel_lib.experiment.runs import get_run

    settings, profile = [find_setting(name) for name in options.setting], find_profile(options.profile)
    source, target = (load_cohort(name, profile.simulated) for name in (options.source, options.target))
    for seed in options.seeds:
        for setting in settings:
            size = profile_for(setting, profile)
            say(get_run(setting, size, target, seed=seed, source=source, device=options.device))
    return 0


def labels(options: argparse.Namespace) -> int:
    from kneel_lib.experiment.cohorts import load_cohort
    from kneel_lib.experiment.profiles import find_profile
    from kneel_lib.experiment.rows import SETTINGS
    from kneel_lib.experiment.runs import get_run

    profile, given = find_profile(options.profile), {"device": options.device}
    real = load_cohort(options.cohort, profile.simulated)
    for seed, start in product(options.seeds, options.starts):
        setting, first = (
            SETTINGS[f"{options.recipe}_finetune" if start == "low_cost" else options.recipe],
            None,
        )
        if start == "simulated":
            drawn = load_cohort("simulated", profile.simulated)
            first = get_run(setting, profile, real, seed=seed, source=drawn, weights=True, **given)
        for fold, count in product(options.folds, options.counts):
            say(get_run(setting, profile, real, fold, seed, count or None, first, **given))
    return 0


def say(run: Run) -> None:
    """One line about a finished run."""
    errors = run.errors("image" if run.spec.setting.method == "roi" else "truth")
    tried = f", tried on {run.spec.target}" if run.spec.target else ""
    minutes = run.manifest["train_seconds"] / 60
    print(
        f"{run.spec.said}{tried}: MRE {np.nanmean(errors):.3f} mm, {minutes:.1f} min, {run.folder}",
        flush=True,
    )


def test(options: argparse.Namespace) -> int:
    from kneel_lib.experiment.profiles import find_profile
    from kneel_lib.pipeline.test_sets import evaluate
    from kneel_lib.reporting.pipeline_tables import test_set_table

    profile = find_profile(options.profile)
    for dataset in options.dataset:
        for method in options.methods:
            made = evaluate(dataset, method, profile, options.folds, options.seed, options.device)
            row = test_set_table([made]).iloc[0]
            print(
                f"{dataset}, {method}: MRE {row['mre_mm']:.3f} mm, {row['out']:.2f} % of {row['knees']} "
                f"knees out, {row['missed']} missed, {made.folder}",
                flush=True,
            )
    return 0


def predict(options: argparse.Namespace) -> int:
    from kneel_lib.pipeline.predict import predict_all

    failed = predict_all(
        options.path, options.output, options.spacing, options.side, options.stages, options.flip
    )
    print(
        f"{len(failed)} files could not be used; landmarks.csv, landmarks.json and overlays are under "
        f"{options.output}"
    )
    return 1 if failed else 0


def pretrain(options: argparse.Namespace) -> int:
    from kneel_lib.experiment.cohorts import load_cohort
    from kneel_lib.experiment.engines import each_run
    from kneel_lib.experiment.profiles import find_profile, profile_for
    from kneel_lib.experiment.rows import find_setting
    from kneel_lib.pipeline.pretrained import write_pretrained

    setting = find_setting(options.setting)
    if setting.method not in ("network", "roi"):
        raise KneelError(f"{setting.name} has no network: choose a row that is trained, such as best, or roi")
    profile = profile_for(setting, find_profile(options.profile))
    cohort = load_cohort(options.cohort, profile.simulated)
    for run in each_run(
        [setting], profile, cohort, options.folds, options.seeds, options.device, weights=True
    ):
        print(write_pretrained(run, "roi" if setting.method == "roi" else "landmarks"))
    return 0


def onnx(options: argparse.Namespace) -> int:
    from pathlib import Path

    from kneel_lib.pipeline.onnx_export import export
    from kneel_lib.pipeline.predict import check_pretrained
    from kneel_lib.pipeline.pretrained import named_networks

    for name, network in check_pretrained(named_networks()).items():
        print(export(network, Path(options.output) / f"{name}.onnx"))
    return 0


def record(options: argparse.Namespace) -> int:
    from kneel_lib.experiment.profiles import find_profile
    from kneel_lib.experiment.rows import find_setting
    from kneel_lib.experiment.store import record

    for name in options.profiles:
        find_profile(name)
    for name in options.settings or ():
        find_setting(name)
    for run in record(options.profiles, options.settings):
        print(f"{run.spec.said}: {run.folder}")
    return report(options)


def report(options: argparse.Namespace) -> int:
    from kneel_lib.report import build_report

    for path in build_report():
        print(path)
    return 0


def notebooks(options: argparse.Namespace) -> int:
    notebook_runner.publish_notebooks(options.notebook)
    return 0


def verify(options: argparse.Namespace) -> int:
    from kneel_lib.data.crops import verify

    problems = verify(options.data or paths.downloads())
    for row in problems.itertuples():
        print(f"{row.problem}: {row.file}")
    if len(problems):
        raise KneelError(
            f"{len(problems)} files under {options.data or paths.downloads()} are missing or different: "
            "see data/README.md"
        )
    print("all files are there and as expected")
    return 0


def fold_name(text: str) -> int | str:
    """A fold from the command line: a number, or val."""
    return text if text == "val" else not_negative(text)


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


def add_engine(command: argparse.ArgumentParser) -> None:
    """The options that say where missing runs are made."""
    command.add_argument(
        "--engine",
        default="sequential",
        help="sequential, processes, ray or dask: see kneel_lib/experiment/engines.py",
    )
    command.add_argument("--jobs", type=positive, default=1, help="how many runs at once")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options; `command` is the function to call."""
    parser = argparse.ArgumentParser(prog="python -m kneel_lib", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def add(function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(function.__name__, help=text, description=text)
        command.set_defaults(command=function)
        return command

    command = add(run, "run the notebooks with papermill and build all tables and figures")
    command.add_argument("--profile", default="quick")
    command.add_argument("--cohort", default="auto")
    command.add_argument("--notebook", nargs="*", help="only those whose names start so, e.g. 01 03")
    command.add_argument(
        "--parameter", nargs="*", default=[], metavar="NAME=VALUE", help="a notebook parameter, e.g. seed=1"
    )
    command.add_argument(
        "--at-once",
        type=not_negative,
        default=0,
        help="notebooks side by side (default: one a core up to 4; one where an engine is named)",
    )
    add_engine(command)
    command = add(train, "make the missing runs of some settings, fold by fold")
    command.add_argument("setting", nargs="+")
    command.add_argument("--profile", default="native")
    command.add_argument("--cohort", default="auto")
    command.add_argument(
        "--folds",
        nargs="+",
        type=fold_name,
        default=range(5),
        help="0 to 4, or val: train on the split train, hold out val",
    )
    command.add_argument("--seeds", nargs="+", type=not_negative, default=[0])
    command.add_argument("--device", type=device, default="cpu")
    add_engine(command)
    command = add(transfer, "train on all knees of one cohort and try on another")
    command.add_argument("setting", nargs="+")
    command.add_argument("--source", default="simulated")
    command.add_argument("--target", default="crops")
    command.add_argument("--profile", default="long")
    command.add_argument("--seeds", nargs="+", type=not_negative, default=[0])
    command.add_argument("--device", type=device, default="cpu")
    command = add(labels, "accuracy against the number of labelled real knees, from scratch and pre-trained")
    command.add_argument("--profile", default="long")
    command.add_argument("--cohort", default="crops")
    command.add_argument("--recipe", choices=["best", "wing"], default="best")
    command.add_argument(
        "--counts",
        nargs="+",
        type=not_negative,
        default=[25, 50, 100, 200, 0],
        help="labelled knees; 0 is all of the fold",
    )
    command.add_argument(
        "--starts",
        nargs="+",
        choices=["scratch", "simulated", "low_cost"],
        default=["simulated", "scratch", "low_cost"],
    )
    command.add_argument("--folds", nargs="+", type=not_negative, default=[0])
    command.add_argument("--seeds", nargs="+", type=not_negative, default=[0, 1])
    command.add_argument("--device", type=device, default="cpu")
    command = add(test, "Table 2: whole pipelines on test sets, trained first where that is missing")
    command.add_argument(
        "dataset", nargs="+", help="A and B (simulated), val and test (splits of the real crops)"
    )
    command.add_argument("--methods", nargs="+", default=["rfrv_clm", "one_stage", "two_stage"])
    command.add_argument("--profile", default="long")
    command.add_argument(
        "--folds",
        nargs="+",
        type=not_negative,
        help="of A and B: the fold models to average (default: as many as the profile says)",
    )
    command.add_argument("--seed", type=not_negative, default=0)
    command.add_argument("--device", type=device, default="cpu")
    command = add(predict, "landmarks of your own radiographs: DICOM files, or pictures with --spacing")
    command.add_argument("path", help="a file or a folder")
    command.add_argument("--output", default="kneel_landmarks")
    command.add_argument(
        "--spacing", type=float, help="mm a pixel, for pictures and for DICOM files that do not say it"
    )
    command.add_argument(
        "--side", choices=["L", "R"], default="", help="of pictures that show one knee and do not say which"
    )
    command.add_argument("--stages", type=int, choices=[1, 2], default=2)
    command.add_argument("--flip", action="store_true", help="view mirror images too")
    command = add(
        pretrain, "put trained networks (made now if they are missing) into the package, for predict"
    )
    command.add_argument("setting")
    command.add_argument("--profile", default="native")
    command.add_argument("--cohort", default="auto")
    command.add_argument("--folds", nargs="+", type=fold_name, default=["val"])
    command.add_argument("--seeds", nargs="+", type=not_negative, default=[0])
    command.add_argument("--device", type=device, default="cpu")
    command = add(onnx, "write the pretrained networks as ONNX files")
    command.add_argument("--output", default="kneel_onnx")
    command = add(record, "copy finished runs to results/ (without weights) and re-make the report")
    command.add_argument(
        "--profiles", nargs="+", default=["study", "study_native", "long", "native", "paper"]
    )
    command.add_argument("--settings", nargs="*", help="only these settings")
    add(report, "re-make the recorded tables and curves from results/ alone")
    command = add(notebooks, "refresh the outputs inside notebooks/")
    command.add_argument("--notebook", nargs="*")
    command = add(verify, "check the downloaded files")
    command.add_argument("--data", help="their folder (default: KNEEL_DATA or data/downloads)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run a command of the command line; returns the exit code."""
    return carry_out(parse(arguments))


def carry_out(options: argparse.Namespace) -> int:
    """Call the options' command; a `KneelError` becomes one line and exit code 1."""
    try:
        return options.command(options)
    except KneelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "stopped; what was finished is kept (epochs and runs too: the same command goes on from there)",
            file=sys.stderr,
        )
        return 130
