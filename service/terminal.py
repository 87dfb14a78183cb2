"""A conversation in the terminal that shows what was dropped, and the sources. Knows the console; the corridor does the work."""

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from service.chat import Corridor, Wants
from service.decisions import Decision
from service.generator import GeneratorFailed, Message, PromptTooLong, Sampling
from service.quoting import one_line, title_of
from service.wire import citation_url


def converse(corridor: Corridor, console: Console | None = None) -> None:
    """Ask, answer, repeat, until an empty line, "/quit" or the end of input."""
    out = console or Console()
    settings = corridor.settings
    sampling = Sampling(settings.max_tokens, settings.temperature, top_p=settings.top_p)
    wants = Wants(candidates=settings.candidates, sampling=sampling, ungrounded=settings.ungrounded)
    messages: list[Message] = []
    out.print(f"[bold]{escape(corridor.generator.name)}[/], policy {corridor.policy.preset}. An empty line ends it.")
    while True:
        try:
            said = out.input("[bold cyan]you> [/]").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if said in ("", "/quit"):
            return
        messages.append({"role": "user", "content": said})
        try:
            with out.status(f"sampling {wants.candidates} replies"):
                decision = corridor.reply(messages, wants)
        except PromptTooLong as error:
            out.print(f"[red]{escape(str(error))}; starting afresh[/]")
            messages.clear()
            continue
        except GeneratorFailed as error:
            out.print(f"[red]{escape(str(error))}; say it again[/]")
            messages.pop()
            continue
        messages.append({"role": "assistant", "content": decision.replies[0].text})
        show(decision, out)


def show(decision: Decision, out: Console) -> None:
    """The reply with numbered sources, and one line on what happened to the candidates."""
    reply = decision.replies[0]
    citations = reply.grounding.citations if reply.grounding else ()
    shown, at = Text(), 0
    for number, citation in enumerate(citations, 1):
        shown.append(reply.text[at : citation.end]).append(f" ({number})", "cyan")
        at = citation.end
    out.print(Panel(shown.append(reply.text[at:]), title="winnow", title_align="left", expand=False))
    for number, citation in enumerate(citations, 1):
        passage = citation.quote.passage
        source = Text.assemble(
            "  ",
            (f"({number})", "cyan"),
            " ",
            (title_of(passage.title), "bold"),
            f' "{one_line(citation.quote.text)}" ',
        )
        out.print(source.append(f"{citation_url(citation)}, support {citation.score:.2f}", "dim"))
    reasons = ", ".join(f"{name} {count}" for name, count in decision.dropped_by.most_common())
    dropped = f"{len(decision.dropped)} dropped" + (f" ({reasons})" if reasons else "")
    seconds = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in decision.seconds.items())
    out.print(f"  [dim]{len(decision.judged)} sampled, {dropped}; {seconds}[/]")
