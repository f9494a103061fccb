"""Configuration: which source wins, and how each mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from renga.config import check_keys, load_config, settings
from renga.errors import SetupError
from renga.prices import load_prices

TWO = """
[server]
port = 9000
[backends.small]
kind = "local"
model = "shipped:haiku"
[backends.echo]
kind = "scripted"
reply = "hello"
[tiers.haiku]
backends = ["small"]
[tiers.opus]
backends = ["echo", "small"]
[aliases]
gpt-4o = "opus"
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "given.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_a_file_the_shipped_model_serves_haiku(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(env={})
    assert config.tiers["haiku"].backends == ("small",)
    assert config.backends["small"].model == "shipped:haiku"
    assert config.source == "built-in defaults"


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, TWO)
    assert load_config(file, env={}).server.port == 9000
    assert load_config(file, env={"RENGA_PORT": "9001"}).server.port == 9001
    assert load_config(file, env={"RENGA_PORT": "9001"}, port=9002).server.port == 9002
    assert load_config(env={"RENGA_CONFIG": str(file)}).server.port == 9000


def test_a_file_in_the_working_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "renga.toml").write_text(TWO, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    config = load_config(env={})
    assert config.source == "renga.toml"
    assert config.tiers["opus"].backends == ("echo", "small")
    assert config.aliases == {"gpt-4o": "opus"}


def test_the_state_folder_is_the_environments(tmp_path: Path) -> None:
    assert load_config(env={"RENGA_HOME": str(tmp_path)}).home == tmp_path


def test_a_state_folder_without_a_place_is_named() -> None:
    with pytest.raises(SetupError, match="~nobody_here/x") as caught:
        load_config(env={"RENGA_HOME": "~nobody_here/x"})
    assert "RENGA_HOME" in caught.value.hint


TIERS = "[backends.a]\n[tiers.haiku]\nbackends = ['a']\n"
FARM = "[backends.a]\nkind = 'openai'\nmodel = 'm'\n"
GOOD = f"{FARM}urls = ['http://10.0.0.5:8000/v1']\n"

WRONG = [
    ("[servr]", "unknown key 'servr'", "did you mean 'server'"),
    ("[server]\nprot = 1", "unknown key 'prot'", "did you mean 'port'"),
    ("[backends.a]\nkind = 'local'\nthread = 2", "unknown key 'thread'", "did you mean 'threads'"),
    ("[backends.a]\nload = 'no'", "load = 'no'; accepted: true or false", ""),
    ("[backends.a]\ncache_share = 1.5", "cache_share = 1.5; accepted: 0 to 1", ""),
    ("[backends.a]\ndraft_tokens = -2", "draft_tokens = -2; accepted: -1 or more", ""),
    ("[backends.a]\nkv_precision = 'i4'", "kv_precision = 'i4'", "auto, u8, bf16, f32"),
    (
        "[backends.a]\nprecision = 'exact'\nkv_precision = 'u8'",
        "backends.a.kv_precision = 'u8' with precision = 'exact'",
        "accepted: auto, f32",
    ),
    (
        "[backends.a]\nkind = 'magic'",
        "backends.a.kind = 'magic'",
        "local, llamacpp, openvino_vlm, openai, messages, scripted",
    ),
    (
        "[backends.a]\nkind = 'local'\n[backends.a]\nkind = 'local'",
        "line 3: two backends are named 'a'",
        "[backends.NAME]",
    ),
    ("[tiers.opus]\n[tiers.opus]", "line 2: two tiers are named 'opus'", "a table of its own"),
    (f"{FARM}urls = []", "kind 'openai' needs `urls`", "http://10.0.0.5:8000/v1"),
    ("[backends.a]\nkind = 'openai'\nurls = ['http://a']", "needs `model`", "its name"),
    (f"{FARM}urls = ['10.0.0.5:8000']", "'10.0.0.5:8000' is no URL of a server", "http://HOST"),
    (f"{FARM}urls = ['ftp://a']", "'ftp://a' is no URL of a server", "http://HOST"),
    (f"{FARM}urls = ['http://a b']", "'http://a b' is no URL of a server", "http://HOST"),
    (f"{FARM}urls = ['http://a:99999']", "is no URL of a server", "http://HOST"),
    (f"{FARM}urls = ['http://a/v1?key=x']", "has a query or a fragment", ""),
    (f"{FARM}urls = ['http://a/v1', 'http://A/v1/']", "'http://A/v1/' stands there twice", ""),
    (f"{GOOD}timeout_s = -1", "timeout_s = -1.0; accepted: 0.001 or more", ""),
    (f"{GOOD}timeout_s = 0", "timeout_s = 0.0; accepted: 0.001 or more", ""),
    (f"{GOOD}max_connections = 0", "max_connections = 0; accepted: 1 or more", ""),
    (f"{GOOD}cost_per_hour = -0.5", "cost_per_hour = -0.5; accepted: 0 or more", ""),
    (f"{GOOD}timeout = 3", "unknown key 'timeout'", "did you mean 'timeout_s'?"),
    (f"{GOOD}threads = 3", "a.threads is no setting of kind 'openai'", "models on this machine"),
    (f"{GOOD}reply = 'x'", "a.reply is no setting of kind 'openai'", "accepted: kind, model"),
    ("[backends.a]\nurls = ['http://a']", "a.urls is no setting of kind 'auto'", "other servers"),
    (
        "[backends.a]\nkind = 'scripted'\napi_key_env = 'A'",
        "a.api_key_env is no setting of kind 'scripted'",
        "accepted: kind, model, load, threads",
    ),
    (f"{TIERS}fallback = 'opus'", "fallback = 'opus' is no configured tier", "no other"),
    (f"{TIERS}fallback = 'haiku'", "fallback goes round: haiku -> haiku", ""),
    (
        f"{TIERS}fallback = 'opus'\n[tiers.opus]\nbackends = ['a']\nfallback = 'haiku'",
        "tiers.haiku.fallback goes round: haiku -> opus -> haiku",
        "",
    ),
    ("[backends.a]\n[tiers.haiku]\nbackends = ['a', 'a']", "names 'a' twice", "each backend once"),
    (f"{TIERS}price = 3", "tiers.haiku.price = 3; accepted: a table", ""),
    (f"{TIERS}price = {{ input = 3 }}", "tiers.haiku.price has no `output`", "input = 3.0"),
    (f"{TIERS}price = {{ output = 3 }}", "tiers.haiku.price has no `input`", "output = 15.0"),
    (f"{TIERS}price = {{ input = -1, output = 3 }}", "price.input = -1; accepted", "dollars"),
    (f"{TIERS}price = {{ input = 1, output = nan }}", "price.output = nan; accepted", "dollars"),
    (f"{TIERS}price = {{ input = true, output = 1 }}", "price.input = True; accepted", "dollars"),
    (
        f"{TIERS}price = {{ input = 1, output = 1, cached = 1 }}",
        "tiers.haiku.price: unknown key 'cached'",
        "did you mean 'cache_read'?",
    ),
    (
        f"{TIERS}price = {{ input = 1, output = 1 }}\n[prices.haiku]\ninput = 3",
        "tiers.haiku.price and prices.haiku both say what it costs",
        "leave out [prices.haiku]",
    ),
    ("[retry]\nattempts = 0", "attempts = 0; accepted: 1 to 20", ""),
    ("[retry]\ndeadline_s = -1", "deadline_s = -1.0; accepted: 0.001 or more", ""),
    ("[breaker]\nshare = 2", "share = 2.0; accepted: 0 to 1", ""),
    ("[response_cache]\nmax_mb = 0", "max_mb = 0; accepted: 1 or more", ""),
    ("[backends.a]\nkind = 'local'", "no tier is configured", "[tiers.haiku]"),
    ("[tiers.giant]\nbackends = ['a']", "unknown key 'giant'", "haiku, sonnet, opus"),
    ("[tiers.haiku]\nbackends = ['a']", "names 'a', which is not defined", "none"),
    ("[tiers.haiku]\nbackends = []", "tiers.haiku.backends is empty", ""),
    ("[tiers.haiku]\nbackends = 'small'", "accepted: a list of strings", ""),
    ("[server]\nport = '80'", "server.port = '80'; accepted: a whole number", ""),
    ("[server]\nport = true", "server.port = True; accepted: a whole number", ""),
    ("[server]\nport = -1", "port = -1; accepted: 0 to 65535", ""),
    ("[server]\nport = 70000", "port = 70000; accepted: 0 to 65535", ""),
    ("[server]\ndrain_seconds = 'x'", "accepted: a number", ""),
    ("server = 3", "server = 3; accepted: a table", ""),
    ("backends = 3", "backends = 3; accepted: a table", ""),
    ("[server]\ndrain_seconds = nan", "drain_seconds = nan; accepted: 0 or more", ""),
    ("[server]\ndrain_seconds = inf", "drain_seconds = inf; accepted: 0 or more", ""),
    ("[prices]\nhaiku = 3", "prices.haiku = 3; accepted: a table", ""),
    ("[aliases]\nx = 3", "aliases.x = 3", ""),
    ("[server", "not valid TOML", ""),
]


@pytest.mark.parametrize(("text", "message", "hint"), WRONG)
def test_a_mistake_is_named_with_what_would_be_accepted(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(SetupError) as caught:
        load_config(write(tmp_path, text), env={})
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message


COMPLETE = """
[store]
url = "sqlite"                       # or postgresql://...
[backends.farm]
kind = "openai"
urls = ["http://10.0.0.5:8000/v1", "http://10.0.0.6:8000/v1"]
model = "Qwen/Qwen3-4B"
api_key_env = "FARM_KEY"
window = 40960
timeout_s = 120
[backends.claude]
kind = "messages"
urls = ["https://api.anthropic.com"]
api_key_env = "ANTHROPIC_API_KEY"
model = "claude-sonnet-4-5"
[tiers.sonnet]
backends = ["farm", "claude"]
price = { input = 3.0, output = 15.0 }   # dollars per million tokens; cache and batch by default
[limits.default]                     # per key; also [limits.keys.NAME], [limits.workspaces.NAME]
requests_per_minute = 600
input_tokens_per_minute = 400_000
output_tokens_per_minute = 80_000
concurrent = 64
usd_per_month = 500
"""
KEYS = {"FARM_KEY": "farm-secret-1", "ANTHROPIC_API_KEY": " sk-ant-secret-2\n"}


def test_tiers_over_rented_servers_are_read_with_keys_that_nothing_shows(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, COMPLETE), env=KEYS)
    farm, claude = config.backends["farm"], config.backends["claude"]
    assert farm.urls == ("http://10.0.0.5:8000/v1", "http://10.0.0.6:8000/v1")
    assert (farm.window, farm.timeout_s) == (40960, 120.0)
    assert (farm.api_key, claude.api_key) == ("farm-secret-1", "sk-ant-secret-2")
    assert "secret" not in repr(config)
    assert config.tiers["sonnet"].backends == ("farm", "claude")
    assert load_prices(config.prices)["sonnet"].cache_read == 300_000
    check_keys(config.backends, ["farm", "claude"], config.source)


def test_a_key_that_is_named_and_not_there_stops_what_needs_it_alone(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, COMPLETE), env={"FARM_KEY": "x", "ANTHROPIC_API_KEY": ""})
    check_keys(config.backends, ["farm"], config.source)
    with pytest.raises(SetupError, match="names ANTHROPIC_API_KEY, which is not set") as caught:
        check_keys(config.backends, ["claude"], config.source)
    assert "export ANTHROPIC_API_KEY=" in caught.value.hint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("api_key = 'sk-very-secret'", "backends.a.api_key: keys do not stand in the file"),
        ("api_key_env = 'sk-very-secret'", "api_key_env names no environment variable"),
        ("urls = ['https://me:sk-very-secret@host/v1']", "holds a name or a password"),
        ("urls = ['https://me:sk-very-secret@host:99999']", "holds a name or a password"),
        ("urls = ['https://me:a/sk-very-secret@host']", "holds a name or a password"),
        ("urls = ['https://a/v1?key=sk-very-secret']", "has a query or a fragment"),
        ("urls = ['https://a#sk-very-secret', 'https://a#sk-very-secret/']", "has a query"),
    ],
)
def test_a_key_in_the_file_is_refused_and_not_repeated(
    tmp_path: Path, line: str, message: str
) -> None:
    text = FARM + ("" if line.startswith("urls") else "urls = ['http://a']\n") + line
    with pytest.raises(SetupError, match=message) as caught:
        load_config(write(tmp_path, text), env={})
    assert "api_key_env = " in caught.value.hint
    assert "secret" not in caught.value.message + caught.value.hint


def test_what_a_variable_holds_is_no_part_of_the_complaint(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, COMPLETE), env={"FARM_KEY": "very\nsecret"})
    with pytest.raises(SetupError, match="what FARM_KEY holds is no key") as caught:
        check_keys(config.backends, ["farm"], config.source)
    assert "secret" not in caught.value.message + caught.value.hint


def test_limits_are_read_a_key_s_own_over_the_default(tmp_path: Path) -> None:
    text = """
[limits.default]
requests_per_minute = 600
usd_per_month = 500
[limits.keys.alice]
requests_per_minute = 5
concurrent = 3
[limits.workspaces.team]
usd_per_day = 0.5
"""
    limits = load_config(write(tmp_path, text), env={}).limits
    assert limits.default.requests_per_minute == 600
    assert limits.default.concurrent is None
    alice = limits.keys["alice"]
    assert (alice.requests_per_minute, alice.concurrent, alice.usd_per_month) == (5, 3, 500.0)
    assert limits.workspaces["team"].usd_per_day == 0.5
    assert limits.workspaces["team"].requests_per_minute is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[limits]\nrequests_per_minute = 5", "limits.requests_per_minute stands in no table"),
        ("[limits.default]\nrequests_per_minute = -1", "requests_per_minute = -1; accepted: 1 to"),
        ("[limits.default]\nusd_per_day = -0.5", "usd_per_day = -0.5; accepted: 0 to"),
        ("[limits.default]\nusd_per_day = nan", "usd_per_day = nan; accepted: 0 to"),
        ("[limits.default]\nconcurrent = 1.5", "concurrent = 1.5; accepted: a whole number"),
        ("[limits.default]\nrequest_per_minute = 5", "unknown key 'request_per_minute'"),
        ("[limits.tiers.haikku]\nconcurrent = 5", "limits.tiers: unknown key 'haikku'"),
        ("[limits.defualt]\nconcurrent = 5", "limits: unknown key 'defualt'"),
        ("[limits.keys]\nalice = 5", "limits.keys.alice = 5; accepted: a table"),
    ],
)
def test_a_limit_that_cannot_be_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SetupError) as refused:
        load_config(write(tmp_path, text), env={})
    assert message in refused.value.message


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SetupError, match=r"cannot read the configuration nowhere\.toml"):
        load_config(Path("nowhere.toml"), env={})


def test_a_malformed_variable_is_named() -> None:
    with pytest.raises(SetupError, match="RENGA_PORT='many'; accepted: a whole number"):
        load_config(env={"RENGA_PORT": "many"})


def test_every_setting_has_its_sentence() -> None:
    assert all(about for _, _, _, about in settings())
