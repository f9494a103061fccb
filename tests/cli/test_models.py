"""`renga models load` and `unload` against a server that runs, and one whose model is broken."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_refusals import assert_refused
from tests.cli.test_serve import ask
from tests.conftest import RunRenga, StartServer, scripted

BROKEN = """
[backends.script]
kind = "scripted"
[backends.broken]
model = "{folder}"
[backends.later]
kind = "scripted"
load = false
[tiers.haiku]
backends = ["script"]
[tiers.sonnet]
backends = ["later"]
[tiers.opus]
backends = ["broken"]
"""


def test_a_model_is_unloaded_and_loaded_by_its_name(renga: RunRenga, start_server: StartServer):
    served = start_server(scripted())
    done = renga("models", "unload", "script", "--against", served.url)
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "script")
    assert "`renga models load script` loads it" in done.stdout
    listed = renga("models", "--against", served.url).stdout.splitlines()
    assert listed[-1].split()[-1] == "unloaded"
    assert_refused(renga("ask", "hi", "--against", served.url), "renga models load script")
    assert renga("models", "load", "script", "--against", served.url).returncode == 0
    assert ask(served.url) == "Good morning"


def test_without_an_address_it_is_the_configurations(renga: RunRenga, start_server: StartServer):
    port = int(start_server(scripted()).url.rpartition(":")[2])
    config = f"[server]\nport = {port}\n" + scripted()
    assert renga("models", "unload", "script", config=config).returncode == 0
    config = f"[server]\nhost = '0.0.0.0'\nport = {port}\n" + scripted()
    assert renga("models", "load", "script", config=config).returncode == 0


def test_an_unknown_name_is_one_line_with_the_nearest(renga: RunRenga, start_server: StartServer):
    served = start_server(scripted())
    done = renga("models", "load", "scirpt", "--against", served.url)
    assert_refused(done, "scirpt", "did you mean 'script'?")


def test_where_no_server_runs_it_says_so(renga: RunRenga):
    config = "[server]\nport = 9\n" + scripted()
    assert_refused(renga("models", "load", "script", config=config), "cannot reach", "renga serve")


def test_options_before_the_subcommand_are_not_lost(renga: RunRenga):
    done = renga("models", "--against", "http://localhost:9", "load", "script")
    assert_refused(done, "stand behind it")


def test_a_broken_model_is_told_by_the_banner_the_list_and_the_doctor(
    renga: RunRenga, start_server: StartServer, tmp_path: Path
):
    (tmp_path / "empty").mkdir()
    config = BROKEN.format(folder=tmp_path / "empty")
    served = start_server(config)
    assert ask(served.url) == "Good morning"
    [opus] = [line for line in served.banner if line.startswith("  opus")]
    assert "broken: failed to load: model file" in opus
    assert "`renga models load broken` tries again" in opus
    [sonnet] = [line for line in served.banner if line.startswith("  sonnet")]
    assert sonnet.endswith("later: unloaded; `renga models load later` loads it")
    states = [line.split()[-1] for line in listing(renga, "--against", served.url)]
    assert states == ["failed", "unloaded", "ready"]
    written = listing(renga, config=config)
    assert "config.json: is missing" in written[0]
    assert written[1].endswith("load = false")
    assert_refused(
        renga("models", "load", "broken", "--against", served.url), "config.json: is missing"
    )
    checked = renga("doctor", "--port", "0", config=config)
    assert checked.returncode == 0
    assert "note  backend broken: model file" in checked.stdout
    assert "the server starts without it" in checked.stdout


def test_the_list_has_every_backend_of_a_tier_and_the_window_that_it_will_have(renga: RunRenga):
    config = """
[backends.small]
kv_cache_mb = 1
[backends.wide]
kv_cache_mb = 1
window = 4096
[tiers.haiku]
backends = ["small", "wide"]
"""
    first, second = listing(renga, config=config)[-2:]
    assert "small: shipped:haiku" in first
    assert first.endswith(" 128  loads at start")
    assert second.split()[:2] == ["wide:", "shipped:haiku"]
    assert "window = 4096 needs" in second


def listing(renga: RunRenga, *args: str, config: str | None = None) -> list[str]:
    lines = renga("models", *args, config=config).stdout.splitlines()[1:]
    return [line.rstrip() for line in lines]
