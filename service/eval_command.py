"""`winnow eval`: suites, files of labelled exchanges, and the comparison of two runs. Reads options, hands over, prints; no logic."""

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from service.console import console, plain_errors, progress, say, settings_of

EXAMPLE = (
    "Example: winnow eval --quick, then winnow eval pick live --endpoint http://localhost:11434/v1 --model llama3.2"
)
KEY = "OPENAI_API_KEY"
RESULTS = Path("results")


def evaluate(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SUITE...|FILE...|compare A B]",
            help="suites, all of them by default; files or folders of labelled exchanges, for classify or the suites named; "
            "or two folders of runs",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="a part of the cases: minutes for all suites")] = False,
    seed: Annotated[int, typer.Option(min=0, help="of what is drawn: cases, samples, intervals")] = 0,
    endpoint: Annotated[
        str | None,
        typer.Option(help=f"OpenAI-compatible server of the model under test; its key is read from {KEY}"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="model under test, of the endpoint or, without one, by name or path")
    ] = None,
    index: Annotated[Path | None, typer.Option(help="folder made by `winnow index`")] = None,
    datasets: Annotated[
        Path | None, typer.Option(help="folder of the public sets, for the suites that need one")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="folder of the run, by default results/DATE-TIME; else a JSON result file"),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            help="go on with the run that is there: by default where the folder holds one; alone, with the newest in results",
        ),
    ] = None,
    gate: Annotated[
        Path | None, typer.Option(help="TOML file of floors; exit code 1 names what is under its floor")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="strict, balanced, permissive, or a policy file")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="with compare: although seeds or data differ")] = False,
    split: Annotated[str | None, typer.Option(help="with FILE: only train, calibration, validation or test")] = None,
    public: Annotated[
        Path | None, typer.Option(help="with FILE or --targets: folder of the public sets, to be judged as well")
    ] = None,
    targets: Annotated[
        bool, typer.Option("--targets", help="the safety targets' table; needs --public, no FILE")
    ] = False,
    card: Annotated[
        bool, typer.Option("--card", help="with --targets: put the table into the weights' model card")
    ] = False,
    questions: Annotated[
        int | None, typer.Option(min=1, help="so many questions in the suite ground, by default 16")
    ] = None,
) -> None:
    """Measure a model, a policy and a corpus: suites of cases into a folder with results.json, summary.md and a report.

    A run that was stopped goes on where it was, with the same --output. `winnow eval compare A B` tells what differs between two runs,
    and whether by more than chance. FILE: the suite classify on your own labelled exchanges.
    """
    from service.suites import SUITES
    from service.suites.run import Run

    with plain_errors():
        words = what or []
        if targets:
            if public is None or words:
                raise ValueError("--targets needs --public FOLDER and takes no FILE")
            _evaluate_targets(public, policy, card, output or RESULTS / "eval.json")
        elif words[:1] == ["compare"]:
            _compare(words[1:], anyway, output)
        else:
            suites, files = _suites_and_files(words)
            if files and (endpoint or datasets):
                raise ValueError(
                    "--endpoint goes with suites, not with a FILE; its public sets are named with --public"
                )
            if (split or public) and (suites or not files):
                raise ValueError("--split and --public go with a FILE of labelled exchanges; suites take --datasets")
            for name, sets in (("--public", public), ("--datasets", datasets)):
                if sets is not None and not sets.is_dir():
                    raise ValueError(f"{name} names {sets}, which is no folder")
            if questions and (files or (suites and "ground" not in suites)):
                raise ValueError("--questions goes with the suite ground")
            settings = settings_of(model=None if endpoint else model, policy=policy, index=index)
            with _remote(endpoint, model) as remote:
                run = Run(
                    settings, seed, quick, public or datasets, remote, files=files, split=split, questions=questions
                )
                _evaluate_suites(suites or (["classify"] if files else list(SUITES)), run, output, resume, gate)


def _suites_and_files(words: list[str]) -> tuple[list[str], list[Path]]:
    """Raises ValueError where a word is neither, or a suite is named with files that reads none."""
    from service.suites import OF_FILES, SUITES

    suites = [word for word in words if word in SUITES]
    files = [word for word in words if word not in SUITES]
    for word in files:
        if not Path(word).exists() and not word.endswith(".jsonl"):
            raise ValueError(f"{word!r} is neither a suite ({', '.join(SUITES)}) nor a file")
    if files and (others := [name for name in suites if name not in OF_FILES]):
        raise ValueError(
            f"{', '.join(others)} cannot be run on files ({', '.join(files)}); {' and '.join(OF_FILES)} can"
        )
    return suites, [Path(word) for word in files]


@contextmanager
def _remote(endpoint: str | None, model: str | None) -> Iterator[Any]:
    """The model behind the endpoint while the block runs; None without one."""
    from service.suites.endpoint import EndpointModel

    if endpoint is None:
        yield None
        return
    remote = EndpointModel(endpoint, model, os.environ.get(KEY))
    try:
        yield remote
    finally:
        remote.close()


def _evaluate_suites(asked: list[str], run: Any, output: Path | None, resume: bool | None, gate: Path | None) -> None:
    from service.evaluating import SuiteFailed
    from service.evaluating import evaluate as run_suites
    from service.gating import failures, read_gate
    from service.run_folder import RunFolder, newest
    from service.suites.sheets import LABELLED, SHEET
    from service.summary import print_summary

    floors = read_gate(gate, asked) if gate else []
    if output is None:
        output = newest(RESULTS) if resume else RESULTS / f"{datetime.now():%Y-%m-%d-%H%M%S}"
    folder = RunFolder(output)
    if resume is False and folder.holds_run:
        raise ValueError(f"{output} holds a run; name another folder with --output, or leave out --no-resume")
    if resume and not folder.holds_run:
        raise ValueError(f"{output} holds no run that could go on")
    if run.files:
        run.exchanges  # noqa: B018  # before anything is loaded: a line of them may not be usable
    with console.status("loading model, classifiers and index"):
        run.corridor  # noqa: B018
    say(f"{'going on with' if folder.holds_run else 'writing to'} {output}; if stopped: winnow eval --output {output}")
    try:
        results = run_suites(asked, run, folder, _command(), progress)
    except SuiteFailed as error:
        say(f"error: {error}")
        say(f"the rows so far are kept; the same command with --output {output} goes on from them")
        raise typer.Exit(2) from error
    print_summary(results, Console())
    say(f"written to {output / 'report.html'} and {output / 'summary.md'}")
    if "live" in asked and not (output / LABELLED).exists():
        sheet = output / SHEET
        say(f"to label replies by hand: winnow label {sheet} --rater NAME, and in the end --export {output / LABELLED}")
    broken = failures(floors, results["suites"])
    for line in broken:
        console.print(f"gate: {line}", style="red", markup=False, soft_wrap=True)
    if broken:
        raise typer.Exit(1)


def _command() -> str:
    """What was typed, the program by its name alone."""
    return shlex.join(["winnow", *sys.argv[1:]])


def _compare(folders: list[str], anyway: bool, output: Path | None) -> None:
    from service.comparing import compare, print_comparison
    from service.run_folder import RunFolder

    if len(folders) != 2:
        raise ValueError(f"compare takes two folders of runs, not {len(folders)}: winnow eval compare A B")
    comparison = compare(RunFolder(Path(folders[0])), RunFolder(Path(folders[1])), anyway, progress)
    if output:
        _write(comparison, output)
    print_comparison(comparison, Console())


def _evaluate_targets(public: Path, policy: str | None, card: bool, output: Path) -> None:
    from classifiers import Safety
    from classifiers.card import rewrite_card
    from classifiers.safety import SHIPPED
    from service.targets import print_targets, safety_targets

    safety = Safety.load(policy or settings_of().policy)
    report = safety_targets(safety, public, progress, "winnow eval --targets --public PATH")
    if card:
        rewrite_card(SHIPPED, report)
    _write(report, output)
    print_targets(report, Console())


def _write(report: dict[str, Any], output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    say(f"written to {output}")
