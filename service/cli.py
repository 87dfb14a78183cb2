"""The command line, `winnow serve|chat|screen|...`. Reads options, hands over, prints; no logic."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from service import eval_command, keys_cli, label_cli, log_cli
from service.console import console, plain_errors, progress, settings_of

app = typer.Typer(
    help="Sample many replies, drop the unsafe ones, rank the rest, cite a local corpus.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
ModelOption = Annotated[str | None, typer.Option("--model", help="chat model, by name or path")]
PolicyOption = Annotated[str | None, typer.Option("--policy", help="strict, balanced, permissive, or a policy file")]
UpstreamOption = Annotated[
    str | None,
    typer.Option(
        "--upstream",
        help="OpenAI-compatible server that the candidates come from; its key is read from WINNOW_UPSTREAM_KEY",
    ),
]
UpstreamModelOption = Annotated[str | None, typer.Option("--upstream-model", help="model of the upstream server")]
IndexOption = Annotated[Path | None, typer.Option("--index", help="folder made by `winnow index`")]


@app.command(epilog="Example: winnow serve --policy strict --port 8080")
def serve(
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on")] = None,
    model: ModelOption = None,
    policy: PolicyOption = None,
    index: IndexOption = None,
    upstream: UpstreamOption = None,
    upstream_model: UpstreamModelOption = None,
    keys: Annotated[Path | None, typer.Option(help="file of API keys made by `winnow keys add`")] = None,
    insecure_no_keys: Annotated[
        bool, typer.Option("--insecure-no-keys", help="listen for other machines without keys: anybody may ask")
    ] = False,
) -> None:
    """Answer chat requests over HTTP, in the OpenAI shapes."""
    import uvicorn

    with plain_errors():
        from service import logs
        from service.app import create_app
        from service.assembly import assemble
        from service.listening import check_address, server_options

        settings = settings_of(
            host=host,
            port=port,
            model=model,
            policy=policy,
            index=index,
            upstream=upstream,
            upstream_model=upstream_model,
            keys=keys,
            insecure_no_keys=insecure_no_keys or None,
        )
        check_address(settings)
        logs.configure(settings.log_format, settings.log_level)
        with console.status("loading model, classifier and index"):
            corridor = assemble(settings)
        web = create_app(corridor)
    where = f"http://{settings.host}:{settings.port}"
    key = " -H 'authorization: Bearer KEY'" if settings.keys else ""
    body = '{"model": "default", "messages": [{"role": "user", "content": "What is the capital of Kenya?"}]}'
    print(
        f"\nWinnow is ready. Try:\n\n  curl {where}/v1/chat/completions -H 'content-type: application/json'{key} -d '{body}'\n"
    )
    uvicorn.run(web, **server_options(settings))


@app.command(epilog="Example: winnow chat --policy strict")
def chat(
    model: ModelOption = None,
    policy: PolicyOption = None,
    index: IndexOption = None,
    upstream: UpstreamOption = None,
    upstream_model: UpstreamModelOption = None,
) -> None:
    """Talk in the terminal; shows what was dropped and the sources."""
    with plain_errors():
        from service.assembly import assemble
        from service.terminal import converse

        settings = settings_of(
            model=model, policy=policy, index=index, upstream=upstream, upstream_model=upstream_model
        )
        with console.status("loading model, classifier and index"):
            corridor = assemble(settings)
        converse(corridor)


@app.command(epilog="Example: winnow screen candidates.jsonl --policy strict --output verdicts.jsonl")
def screen(
    file: Annotated[Path, typer.Argument(help="JSON Lines: id, messages, candidates")],
    policy: PolicyOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="default: standard output")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="say which sentence decided, and in which reading")
    ] = False,
) -> None:
    """Judge your own candidates: verdicts, ranks and the pick for each line.

    A line in: {"id", "messages": [{"role", "content"}, ...], "candidates": ["...", ...]}. Without messages the text alone is
    judged; without candidates the user's last turn.
    """
    with plain_errors():
        from classifiers import Safety
        from service.batch import read_lines, screen_line

        lines = list(read_lines(file))
        safety = Safety.load(policy or settings_of().policy)
        explained = safety.explain if explain else None
        _write_rows("screening", lines, lambda line: screen_line(safety.judge, line, explained), output)


@app.command(epilog="Example: winnow ground answers.jsonl --index my-index --output grounded.jsonl")
def ground(
    file: Annotated[Path, typer.Argument(help="JSON Lines: id, text, messages, sources; or a text file")],
    index: IndexOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="default: standard output")] = None,
    all_sentences: Annotated[
        bool, typer.Option("--all-sentences", help="take every sentence for a claim, greetings too")
    ] = False,
) -> None:
    """Attach sources to your own text: each claim with its support, label and citation.

    A line in: {"id", "text", "messages"?: what the text answers, "sources"?: ["...", ...] that replace the index}.
    """
    with plain_errors():
        from classifiers import Support
        from service.assembly import load_index
        from service.grounding import ground_line, read_texts

        lines = list(read_texts(file))
        settings = settings_of(index=index)
        searched = load_index(settings)
        with console.status("loading the support classifier"):
            scorer = Support.load()
        threshold = settings.support_threshold or scorer.threshold
        _write_rows(
            "grounding", lines, lambda line: ground_line(line, searched, threshold, all_sentences, scorer), output
        )


app.command("eval", epilog=eval_command.EXAMPLE)(eval_command.evaluate)


app.command("label", epilog=label_cli.EXAMPLE)(label_cli.label)


app.command("decisions", epilog=log_cli.DECISIONS_EXAMPLE)(log_cli.decisions)


app.add_typer(keys_cli.app, name="keys", epilog=keys_cli.EXAMPLE)


app.command("replay", epilog=log_cli.REPLAY_EXAMPLE)(log_cli.replay)


@app.command(
    "index", epilog="Example: winnow index ~/notes manual.md --output my-index, then winnow serve --index my-index"
)
def build_index(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="files, folders and patterns; every run names all of them")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder of the index")] = Path("winnow-index"),
    engine: Annotated[str, typer.Option(help="auto (by size), rank-bm25 or bm25s")] = "auto",
    language: Annotated[str, typer.Option(help="of the documents: english, spanish, german, french, ...")] = "english",
    status: Annotated[bool, typer.Option("--status", help="say what is in the folder; takes no PATHS")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="with --status: compare every file with its checksum, however large")
    ] = False,
) -> None:
    """Build a BM25 index from your own documents, or bring it up to date: only what is new or changed is read.

    Markdown, text, HTML, PDF, CSV and JSON Lines, gzipped too. A server that uses the folder goes on with the new index.
    """
    with plain_errors():
        from retrieval import NothingFound, index_status, update_index
        from retrieval.formats import SUFFIXES

        if status or verify:
            if paths or not status:
                raise ValueError("--status takes no PATHS, and --verify needs --status")
            for name, value in index_status(output, verify).items():
                print(f"{name}: {value}")
            return
        if not paths:
            raise ValueError("name files or folders to be indexed, or give --status")

        def waiting() -> None:
            console.print(f"{output} is being written by another run; waiting for it", markup=False, soft_wrap=True)

        try:
            found = update_index(paths, output, engine, progress=progress, waiting=waiting, language=language)
            skipped = found.skipped
        except NothingFound as error:
            found, skipped = None, error.skipped
        for each in skipped:
            console.print(f"skipped {each.path}: {each.reason}", style="yellow", markup=False, soft_wrap=True)
        if found is None:
            looked = f"{', '.join(SUFFIXES[:-1])} and {SUFFIXES[-1]}"
            raise ValueError(f"no documents were found in {', '.join(map(str, paths))}; looked for {looked}")
        if found.anew:
            console.print(f"everything was read anew: {found.anew}", style="yellow", markup=False, soft_wrap=True)
        counts = f"{found.documents} documents, {found.passages} passages, {len(skipped)} skipped"
        files = f"{found.new} new, {found.changed} changed, {found.deleted} deleted, {found.unchanged} unchanged"
        console.print(f"{output}: {counts}; files: {files}; engine {found.engine}", markup=False, soft_wrap=True)


@app.command(
    epilog="Example: winnow calibrate my-labelled.jsonl --output my-policy.toml, then winnow serve --policy my-policy.toml"
)
def calibrate(
    file: Annotated[Path, typer.Argument(help="your own labelled exchanges: a .jsonl file or a folder of them")],
    output: Annotated[Path, typer.Option("--output", "-o", help="policy file to write")] = Path("winnow-policy.toml"),
    confidence: Annotated[float, typer.Option(help="of the guarantee, between 0 and 1")] = 0.95,
) -> None:
    """Set a threshold with a guarantee on your own data, for every preset; all objectives share it."""
    with plain_errors():
        from service.calibrating import calibrate_on, print_thresholds

        beside = output.with_suffix(".json")
        if beside == output:
            raise ValueError(f"{output} is to be a policy, in TOML; name a .toml file with --output")
        for path in (output, beside):
            if path.exists():
                raise ValueError(f"{path} exists; name another file with --output")
        with progress("judging", None) as advance:
            table, text = calibrate_on(file, 1 - confidence, advance)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
        beside.write_text(json.dumps(table, indent=1) + "\n")
        print_thresholds(table, Console())
        console.print(f"written to {output} and {beside}", markup=False, soft_wrap=True)


@app.command(epilog="Example: winnow train --objective no_medical_dosage examples.jsonl --policy winnow-policy.toml")
def train(
    examples: Annotated[Path | None, typer.Argument(help="with --objective: your labelled examples, .jsonl")] = None,
    objective: Annotated[
        str | None, typer.Option(help="name of a rule of your own, to be learned from examples")
    ] = None,
    policy: Annotated[Path, typer.Option(help="with --objective: policy file that gets the entry")] = Path(
        "winnow-policy.toml"
    ),
    datasets: Annotated[Path, typer.Option(help="folder of the public sets")] = Path("../shared/datasets"),
    labelled: Annotated[Path | None, typer.Option(help="our own labelled exchanges")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="where weights and card go")] = None,
    seed: Annotated[int, typer.Option(help="seed of the training")] = 0,
    grounding: Annotated[bool, typer.Option("--grounding", help="train the support classifier instead")] = False,
    judge: Annotated[bool, typer.Option("--judge", help="train the offline evaluation's second judge instead")] = False,
    quality: Annotated[bool, typer.Option("--quality", help="train the quality ranker instead")] = False,
    thresholds: Annotated[
        bool, typer.Option("--thresholds", help="set the safety thresholds anew, as the weights read here; minutes")
    ] = False,
) -> None:
    """Train the safety classifier as it is shipped, another of the shipped judges, or, with --objective, a rule of your own.

    The whole training takes about an hour and a half on two cores, that of the support classifier about an hour, that of the quality
    ranker, which rests on the safety classifier, about twenty minutes; all go on after a kill. A rule of your own takes less than a
    minute, and the shipped weights stay as they are.
    """
    with plain_errors():
        if objective is not None:
            from service.calibrating import learn_objective

            if examples is None:
                raise ValueError(
                    "--objective needs a file of labelled examples: winnow train --objective NAME examples.jsonl"
                )
            folder = output or Path("winnow-objectives")
            with progress("reading examples", None) as advance:
                figures = learn_objective(objective, examples, folder, policy, advance)
            value = figures["auroc"]
            console.print(
                f"{objective}: AUROC {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}] by cross-validation over "
                f"{figures['examples']} examples; card in {folder / objective}, entry in {policy}",
                markup=False,
                soft_wrap=True,
            )
            return
        from classifiers.guarantee import write_thresholds
        from classifiers.safety import SHIPPED
        from classifiers.training import train as run
        from data import LABELLED, POLICY

        if examples is not None:
            raise ValueError("examples are given without --objective NAME")
        if grounding + judge + quality + thresholds > 1:
            raise ValueError("--grounding, --judge, --quality and --thresholds go one at a time")
        if grounding:
            from classifiers.grounding import SHIPPED_SUPPORT
            from classifiers.grounding_training import train_support
            from data import GROUNDING

            folder = output or SHIPPED_SUPPORT
            train_support(datasets, labelled or GROUNDING / "pairs", folder, seed, progress)
            console.print(f"written to {folder}", markup=False, soft_wrap=True)
            return
        if judge:
            from classifiers.judge_training import JudgeRecipe, train_judge
            from classifiers.second_judge import SHIPPED_JUDGE
            from data import POOLS

            folder = output or SHIPPED_JUDGE
            with progress("fitting", JudgeRecipe().folds + 1) as advance:
                train_judge(datasets, POOLS / "pools.jsonl", folder, advance=advance)
            console.print(f"written to {folder}", markup=False, soft_wrap=True)
            return
        if quality:
            from classifiers.quality import SHIPPED_QUALITY
            from classifiers.quality_training import train_quality
            from data import QUALITY

            folder = output or SHIPPED_QUALITY
            train_quality(datasets, labelled or LABELLED, QUALITY / "replies.jsonl", folder, seed, progress)
            console.print(f"written to {folder}", markup=False, soft_wrap=True)
            return
        target = output or SHIPPED
        if thresholds:
            from classifiers.recertifying import recertify

            recertify(datasets, labelled or LABELLED, target, progress)
        else:
            run(datasets, labelled or LABELLED, target, seed, progress, console)
        if target == SHIPPED:
            write_thresholds(POLICY, json.loads((target / "thresholds.json").read_text()))
        console.print(f"written to {target}", markup=False, soft_wrap=True)


def _write_rows(what: str, lines: list[Any], row_of: Callable[[Any], Any], output: Path | None) -> None:
    """A row of JSON for each line, written as soon as it is known, to a file or to standard output."""
    sink = output.open("w", encoding="utf-8") if output else None
    with progress(what, len(lines)) as advance:
        for line in lines:
            print(json.dumps(row_of(line), ensure_ascii=False), file=sink, flush=True)
            advance(1)
    if sink:
        sink.close()
