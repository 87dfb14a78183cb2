"""The commands `winnow decisions` and `winnow replay`: what is in the decision log, and what another policy would make of it."""

import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.console import console, plain_errors, progress, say, settings_of

if TYPE_CHECKING:
    from service.records import Record

DECISIONS_EXAMPLE = (
    "Example: winnow decisions --since 7d --objective hate, then winnow decisions chatcmpl-fc8ee7be --json"
)
REPLAY_EXAMPLE = "Example: winnow replay --policy my-policy.toml --since 30d --output replayed.json"

LogOption = Annotated[Path | None, typer.Option("--log", help="the log's file; default: the setting decision_log")]
SinceOption = Annotated[
    str | None, typer.Option(help="only from then on: 2026-01-31, 2026-01-31T12:00+01:00, or so long ago: 30m, 12h, 7d")
]
SPANS = {"m": 60, "h": 3600, "d": 86_400}


def decisions(
    id: Annotated[str | None, typer.Argument(help="of one decision, or the beginning of it; default: a list")] = None,
    log: LogOption = None,
    since: SinceOption = None,
    objective: Annotated[
        str | None, typer.Option(help="only where it dropped a candidate; empty, unscored and ungrounded too")
    ] = None,
    all_dropped: Annotated[bool, typer.Option("--all-dropped", help="only where no candidate passed")] = False,
    limit: Annotated[int, typer.Option(min=1, help="so many, the newest")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="whole records, as JSON Lines")] = False,
    texts: Annotated[
        bool,
        typer.Option("--texts", help="with what was said, dropped candidates too; needs texts that were retained"),
    ] = False,
    labels: Annotated[
        Path | None, typer.Option(help="write the labels that people gave, for `winnow eval` and `winnow calibrate`")
    ] = None,
) -> None:
    """List the decisions of the log, newest first, or show one of them.

    A decision is the record of one reply: scores and verdict of every candidate, ranks, citations, timings, versions. What was said is
    in the log where the server retains it (retain_texts), and is shown with --texts alone.
    """
    with plain_errors():
        from service.log_file import LogReader

        if texts and id is None and not as_json:
            raise ValueError("--texts goes with the id of a decision, or with --json")
        with LogReader(_path(log)) as reader:
            if labels is not None:
                _export(reader, labels)
                return
            if id is not None:
                record = reader.find(id, texts)
                if texts and not record.has_texts:
                    raise ValueError(f"decision {record.id} holds no texts: the server retains none (retain_texts)")
                _show(record, as_json)
                return
            found = reader.decisions(_since(since), objective, all_dropped, limit, texts)
            if as_json:
                _print_lines(found)
            else:
                _list(list(found), reader.count(_since(since), objective, all_dropped))


def replay(
    policy: Annotated[
        str | None, typer.Option(help="strict, balanced, permissive, or a policy file; default: the setting")
    ] = None,
    log: LogOption = None,
    since: SinceOption = None,
    rescore: Annotated[
        bool, typer.Option("--rescore", help="read the retained texts again, with the weights that are installed")
    ] = False,
    texts: Annotated[
        bool, typer.Option("--texts", help="show what was said, dropped candidates too; needs texts that were retained")
    ] = False,
    examples: Annotated[int, typer.Option(min=0, help="changed decisions that are printed")] = 5,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the report with every change, as JSON")] = None,
) -> None:
    """Judge the logged decisions again under another policy, and say what would change: newly dropped, newly passed, replies.

    Nothing is sampled: of a reply it says whether it would be the same, certainly another, or open, where that depends on ranking or
    sampling again.
    """
    with plain_errors():
        from classifiers import load_policy
        from service.log_file import LogReader
        from service.replay import CannotReplay, Replay, rejudged, rescored

        settings = settings_of()
        chosen = load_policy(policy or settings.policy)
        if output is not None and not output.parent.is_dir():
            raise ValueError(f"--output names {output}, but there is no folder {output.parent}")
        with LogReader(_path(log)) as reader:
            start = _since(since)
            total = reader.count(start)
            if not total:
                raise ValueError(f"{reader.path} holds no decision" + (f" since {since}" if since else ""))
            safety, skipped, found = None, 0, Replay(chosen, texts)
            if rescore:
                from classifiers import Safety

                if not reader.holds_texts(start):
                    raise CannotReplay(
                        f"none of the {total} decisions holds texts (retain_texts), so nothing can be scored again"
                    )
                with console.status("loading the safety classifier"):
                    safety = Safety.load(chosen)
            with progress("replaying", total) as advance:
                for record in reader.decisions(start, texts=rescore or texts):
                    if safety is None:
                        found.add(record, rejudged(record, chosen))
                    elif record.has_texts:
                        found.add(record, rescored(record, chosen, safety, settings.screen_seconds))
                    else:
                        skipped += 1
                    advance(1)
        report = found.report(skipped, safety.version if safety else None)
        if output is not None:
            output.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        print_replay(report, Console(), examples)
        if output is not None:
            say(f"written to {output}")


def print_replay(report: dict[str, Any], out: Console, examples: int) -> None:
    """The counts as tables, then the first changes."""
    after = report["after"]
    how = f"scored again with weights {after['weights']}" if after["weights"] else "from the stored scores"
    out.print(f"{report['decisions']} decisions from {report['from']} to {report['to']}, {how}", markup=False)
    if report["skipped"]:
        out.print(f"{report['skipped']} decisions hold no texts and were left out", style="yellow", markup=False)
    before, then = (
        ", ".join(f"{name} ({count})" for name, count in report[when]["policies"].items())
        for when in ("before", "after")
    )
    out.print(f"policy: {before} → {after['preset']} {then}", markup=False)
    table = Table()
    for heading in ("", "judged", "dropped before", "dropped after", "newly dropped", "newly passed", "unscored"):
        table.add_column(heading, justify="left" if not heading else "right")
    for kind in ("questions", "candidates"):
        table.add_row(kind, *(str(value) for value in report[kind].values()))
    out.print(table)
    if report["objectives"]:
        table = Table("objective")
        for heading in ("newly dropped", "newly passed", "newly flagged", "no longer flagged"):
            table.add_column(heading, justify="right")
        for name, row in report["objectives"].items():
            table.add_row(Text(name), *(str(value) for value in row.values()))
        out.print(table)
    replies, every = report["replies"], report["all_dropped"]
    counts = f"{replies['same']} the same, {replies['another']} another, {replies['open']} open"
    out.print(
        f"replies: {counts}; no candidate passes in {every['before']} decisions, then in {every['after']}", markup=False
    )
    for why, count in report["why"].items():
        out.print(f"  {count} × {why}", markup=False)
    for row in report["changes"][:examples]:
        out.print(
            f"\n{row['id']}  {row['created']}  reply: {row['reply']}" + (f", {row['why']}" if row["why"] else ""),
            markup=False,
        )
        for turn in row.get("messages", ()):
            out.print(f"  {turn['role']}: {_printable(turn['content'])}", markup=False, soft_wrap=True)
        for what, each in [("question", row["question"])] * bool(row["question"]) + [
            (f"candidate {each['candidate']}{' (sent)' if each['sent'] else ''}", each) for each in row["candidates"]
        ]:
            score, before_, threshold = (_figure(each[key]) for key in ("score", "score_before", "threshold"))
            moved = score if score == before_ else f"{before_} → {score}"
            out.print(f"  {what} {each['change']}: {each['objective']} {moved}, threshold {threshold}", markup=False)
            if "text" in each:
                out.print(f"    {_printable(each['text'])}", markup=False, soft_wrap=True)
    left = len(report["changes"]) - examples
    if left > 0:
        out.print(f"\n{left} more changed decisions; --output FILE has them all", markup=False)


def since(text: str, now: float) -> float:
    """Seconds since 1970 of a date, a time (in this machine's zone where it names none) or so long before now. Raises ValueError."""
    found = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if found:
        return now - int(found[1]) * SPANS[found[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(
            f"--since is {text!r}; give a date, 2026-01-31, a time, or so long ago: 30m, 12h, 7d"
        ) from error


def _since(text: str | None) -> float | None:
    return None if text is None else since(text, time.time())


def _path(log: Path | None) -> Path:
    path: Path | None = log or settings_of().decision_log
    if path is None:
        raise ValueError("there is no decision log: name its file with --log, or set decision_log for the server")
    return path


def _print_lines(found: Any) -> None:
    from service.records import shown

    for record in found:
        print(json.dumps(shown(record), ensure_ascii=False))


def _list(found: "list[Record]", total: int) -> None:
    from service.decisions import dropped_by

    table = Table()
    for heading in ("time", "id", "policy", "sampled", "dropped", "by", "sent", "claims", "seconds"):
        right = heading in ("sampled", "dropped", "claims", "seconds")
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading in ("time", "id"))
    for record in found:
        reasons = dropped_by(record.judged)
        table.add_row(
            _when(record),
            Text(record.id),
            Text(record.versions.get("policy", "")),
            str(len(record.candidates)),
            str(sum(reasons.values())),
            Text(", ".join(f"{name} {count}" for name, count in reasons.most_common())),
            Text(_sent(record)),
            _claims(record),
            f"{sum(record.seconds.values()):.1f}",
        )
    Console().print(table)
    if total > len(found):
        say(f"{len(found)} of {total} decisions; --limit for more")


def _show(record: "Record", as_json: bool) -> None:
    from service.records import shown

    if as_json:
        print(json.dumps(shown(record), ensure_ascii=False, indent=1))
        return
    out = Console()

    def line(text: str) -> None:
        out.print(text, markup=False, highlight=False, soft_wrap=True)

    def words(digest: str) -> str:
        return f": {_printable(record.texts[digest])}" if digest in record.texts else ""

    line(f"{record.id}  {_when(record)}  {record.model}  seed {record.seed}")
    line("versions: " + ", ".join(f"{name} {value}" for name, value in record.versions.items()))
    line("seconds: " + ", ".join(f"{phase} {value:.2f}" for phase, value in record.seconds.items()))
    asked = f"{record.wanted} candidates, {record.choices} choices, grounding {record.grounding}, ungrounded {record.ungrounded}"
    came = f"{len(record.candidates)} of {record.asked} candidates came"
    line(f"asked for: {asked}; {record.attempts} attempts, {len(record.rounds)} rounds of research, {came}")
    for turn in record.messages:
        line(f"{turn.role}, {turn.said.characters} characters{words(turn.said.digest)}")
    question = record.input_verdict
    line(f"question: {'dropped by ' + ', '.join(question.because) if question.dropped else 'passes'}")
    for number, reply in enumerate(record.replies):
        whose = "the policy's own words" if reply.candidate is None else f"candidate {reply.candidate}"
        line(f"reply {number}, {whose}, {reply.said.characters} characters{words(reply.said.digest)}")
        for claim in reply.claims or ():
            cited = ", ".join(f"{each.passage} {each.start}–{each.end}" for each in claim.citations)
            line(
                f"  claim {claim.start}–{claim.end} {claim.label}, support {claim.support:.2f}{cited and '; ' + cited}"
            )
    table = Table()
    for heading in (
        "candidate",
        "rank",
        "unsafe",
        "verdict",
        "attempt",
        "round",
        "evidence",
        "rating",
        "log-likelihood",
        "characters",
    ):
        table.add_column(heading, justify="left" if heading in ("verdict", "evidence") else "right")
    if record.texts:
        table.add_column("text")
    ranks = {at: str(rank) for rank, at in enumerate(record.ranked, 1)}
    for at, (candidate, judged) in enumerate(zip(record.candidates, record.judged, strict=True)):
        scores = ", ".join(
            f"{name} {candidate.verdict.scores.get(name, 1.0):.3f}" for name in candidate.verdict.because
        )
        cells: list[str | Text] = [
            str(at),
            ranks.get(at, "-"),
            f"{candidate.verdict.unsafe:.3f}",
            Text("kept" if judged.kept else scores or str(judged.reason)),
            str(candidate.attempt),
            str(candidate.round),
            "yes" if candidate.with_evidence else "no",
            _figure(candidate.rated.rank_score if candidate.rated else None),
            _figure(candidate.log_likelihood),
            str(candidate.said.characters),
        ]
        if record.texts:
            cells.append(Text(_printable(record.texts.get(candidate.said.digest, ""))))
        table.add_row(*cells)
    out.print(table)


def _export(reader: Any, output: Path) -> None:
    from service.feedback import exported

    if output.exists():
        raise ValueError(f"{output} exists; name another file with --labels")
    found = exported(reader)
    for count, why in (
        (found.without_texts, "are of decisions whose texts were not retained (retain_texts)"),
        (found.without_objective, "name no safety objective, so they say nothing about safety"),
    ):
        if count:
            say(f"{count} labels {why}")
    if not found.rows:
        raise ValueError(f"{reader.path} holds no label that could be written")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found.rows)
    output.write_text(lines, encoding="utf-8")
    say(f"{len(found.rows)} labelled exchanges written to {output}")


def _when(record: "Record") -> str:
    return datetime.fromtimestamp(record.created).strftime("%Y-%m-%d %H:%M:%S")


def _sent(record: "Record") -> str:
    fallbacks = sum(reply.candidate is None for reply in record.replies)
    if not fallbacks:
        return "answer"
    return "fallback" if fallbacks == len(record.replies) else f"{fallbacks} of {len(record.replies)} fallback"


def _claims(record: "Record") -> str:
    claims = [claim for reply in record.replies for claim in reply.claims or ()]
    return f"{sum(claim.label == 'supported' for claim in claims)}/{len(claims)}" if claims else "-"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _printable(text: str) -> str:
    from service.quoting import one_line

    return one_line(text)
