"""What Prometheus scrapes at /metrics: counts, durations and states, by its conventions of names and units.

Knows names and labels. Labels hold what this project or its operator named (routes, objectives, phases), never words of users.
"""

import importlib.metadata
from collections.abc import Callable, Collection, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from classifiers.verdicts import UNSCORED
from service.decision_log import DecisionLog
from service.decisions import EMPTY, UNGROUNDED, Decision, unsupported

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PHASES = ("screen", "generate", "rank", "ground")
CIRCUITS = ("closed", "open", "half-open")
GROUNDINGS = ("no claims", "supported", "unsupported")

disable_created_metrics()  # a second series for each counter, which nobody asks for


class Metrics:
    """The metrics of one application. Safe to use from several threads."""

    def __init__(self, objectives: Collection[str], versions: Callable[[], Mapping[str, str]]) -> None:
        """`objectives`: of the policy, each counted from 0 on. `versions`: name -> value, of what decides now."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        version = importlib.metadata.version("winnow")
        self._registry.register(_Computed(lambda: [_info({"version": version, **versions()})]))

        self._requests = self._counter("requests", "Requests by route and status.", "route", "status")
        self._request_seconds = self._histogram(
            "request_duration_seconds", "From a request's head to the end of its answer.", SECONDS, "route"
        )
        self._errors = self._counter("errors", "Errors that clients were told, by their code.", "kind")
        self._phase_seconds = self._histogram(
            "phase_duration_seconds", "Seconds that one reply spent in a phase, waiting included.", SECONDS, "phase"
        )
        self._asked = self._counter("candidates_asked", "Candidates that the generator was asked for.")
        self._sampled = self._counter("candidates_sampled", "Candidates that came.")
        self._dropped = self._counter(
            "candidates_dropped", "Candidates dropped, each by the objective that scored highest.", "objective"
        )
        self._sampled_tokens = self._counter("sampled_tokens", "Tokens of all candidates.")
        self._prompt_tokens = self._counter("prompt_tokens", "Tokens of the conversations.")
        self._decisions = self._counter("decisions", "Replies decided on, whatever was sent.")
        self._all_dropped = self._counter("all_dropped", "Decisions in which no candidate passed.")
        self._unsafe_inputs = self._counter(
            "unsafe_inputs",
            "Decisions on a user's turn that is over a threshold, by its highest objective.",
            "objective",
        )
        self._blocked = self._counter("blocked_inputs", "Decisions that sent a fallback for the user's turn alone.")
        self._choices = self._counter("replies", "Replies sent, by finish reason.", "finish_reason")
        self._claims = self._counter("claims", "Claims in the replies sent, by support.", "support")
        self._grounded = self._counter(
            "grounded_replies",
            "Replies that were checked against sources, by whether all of their claims are supported.",
            "grounding",
        )
        self._rounds = self._counter("research_rounds", "Rounds of research.")
        self._batches = self._histogram("batch_rows", "Rows in one pass of the model.", ROWS, "work")

        for reason in (*objectives, UNSCORED, EMPTY, UNGROUNDED):
            self._dropped.labels(reason)
        for objective in (*objectives, UNSCORED):
            self._unsafe_inputs.labels(objective)
        for phase in PHASES:
            self._phase_seconds.labels(phase)
        for label in ("supported", "unsupported", "contradicted"):
            self._claims.labels(label)
        for grounding in GROUNDINGS:
            self._grounded.labels(grounding)
        for work in ("generate", "screen"):
            self._batches.labels(work)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request is over. `route` as it is declared, not as it was asked for."""
        self._requests.labels(route, status).inc()
        self._request_seconds.labels(route).observe(seconds)

    def error(self, kind: str) -> None:
        """A client was told of an error; `kind`: its code in the envelope."""
        self._errors.labels(kind).inc()

    def batch(self, work: str, rows: int) -> None:
        """One pass of the model. `work`: "generate" (rows are candidates) or "screen" (rows are texts)."""
        self._batches.labels(work).observe(rows)

    def decided(self, decision: Decision) -> None:
        """A reply was decided on."""
        self._decisions.inc()
        for phase, seconds in decision.seconds.items():
            self._phase_seconds.labels(phase).observe(seconds)
        self._asked.inc(decision.asked)
        self._sampled.inc(len(decision.judged))
        self._sampled_tokens.inc(sum(each.candidate.tokens for each in decision.judged))
        self._prompt_tokens.inc(decision.prompt_tokens)
        for reason, count in decision.dropped_by.items():
            self._dropped.labels(reason).inc(count)
        if decision.judged and not any(each.kept for each in decision.judged):
            self._all_dropped.inc()
        if decision.input_verdict.dropped:
            self._unsafe_inputs.labels(decision.input_verdict.because[0]).inc()
        if decision.blocked_input:
            self._blocked.inc()
        for reply in decision.replies:
            self._choices.labels(reply.finish_reason).inc()
            if reply.grounding is not None:
                for claim in reply.grounding.claims:
                    self._claims.labels(claim.label).inc()
                lacking = "unsupported" if unsupported(reply.grounding) else "supported"
                self._grounded.labels(lacking if reply.grounding.claims else "no claims").inc()
        self._rounds.inc(len(decision.rounds))

    def queue(self, waiting: Callable[[], int], running: Callable[[], int]) -> None:
        """From now on tell how many requests wait for their turn, and how many have it."""
        self._gauge("queue_length", "Requests that wait for their turn.", waiting)
        self._gauge("requests_running", "Requests that are worked on.", running)

    def index(self, passages: Callable[[], int]) -> None:
        """From now on tell of the index in service."""
        self._gauge("index_passages", "Passages of the index in service.", passages)

    def readiness(self, reasons: Callable[[], Collection[str]], warnings: Callable[[], Collection[str]]) -> None:
        """From now on tell whether the server is ready, and how many warnings /readyz shows."""
        self._gauge("ready", "1 where /readyz finds nothing on this machine amiss, else 0.", lambda: not reasons())
        self._gauge("warnings", "Warnings that /readyz shows.", lambda: len(warnings()))

    def decision_log(self, log: DecisionLog) -> None:
        """From now on tell the state of the decision log."""
        self._registry.register(_Computed(lambda: _log_families(log)))

    def circuit(self, state: Callable[[], str]) -> None:
        """From now on tell which of `CIRCUITS` the breaker before the upstream server is in."""

        def families() -> Iterable[Metric]:
            found = GaugeMetricFamily(
                "winnow_upstream_circuit", "1 for the state of the circuit to the upstream server.", labels=["state"]
            )
            now = state()
            for each in CIRCUITS:
                found.add_metric([each], float(each == now))
            yield found

        self._registry.register(_Computed(families))

    def page(self, accept: str | None) -> tuple[bytes, str]:
        """What is scraped, and its content type, in the form that the scraper accepts."""
        encode, content_type = choose_encoder(accept or "")
        return encode(self._registry), content_type

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(f"winnow_{name}", says, labels, registry=self._registry)

    def _histogram(self, name: str, says: str, buckets: Iterable[float], *labels: str) -> Histogram:
        return Histogram(f"winnow_{name}", says, labels, buckets=tuple(buckets), registry=self._registry)

    def _gauge(self, name: str, says: str, value: Callable[[], float]) -> None:
        Gauge(f"winnow_{name}", says, registry=self._registry).set_function(value)


class _Computed(Collector):
    """Metrics that are looked up when they are asked for."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


def _info(versions: Mapping[str, str]) -> Metric:
    return InfoMetricFamily("winnow", "Versions of what decides.", value=dict(versions))


def _log_families(log: DecisionLog) -> Iterable[Metric]:
    state = log.state()
    records = CounterMetricFamily(
        "winnow_decision_log_records", "Records of the decision log, by what became of them.", labels=["outcome"]
    )
    for outcome in ("kept", "lost"):
        records.add_metric([outcome], state[outcome])
    yield records
    yield GaugeMetricFamily("winnow_decision_log_waiting", "Records that wait to be written.", state["waiting"])
    yield GaugeMetricFamily("winnow_decision_log_failing", "1 while the log cannot be written.", "error" in state)
