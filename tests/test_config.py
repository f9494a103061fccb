"""Configuration: which source wins, and how each mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from renga.config import load_config, settings
from renga.errors import SetupError

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
        "local, llamacpp, openvino_vlm, scripted",
    ),
    (
        "[backends.a]\nkind = 'openai'",
        "kind 'openai' is not built yet",
        "local, llamacpp, openvino_vlm, scripted",
    ),
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


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SetupError, match=r"cannot read the configuration nowhere\.toml"):
        load_config(Path("nowhere.toml"), env={})


def test_a_malformed_variable_is_named() -> None:
    with pytest.raises(SetupError, match="RENGA_PORT='many'; accepted: a whole number"):
        load_config(env={"RENGA_PORT": "many"})


def test_every_setting_has_its_sentence() -> None:
    assert all(about for _, _, _, about in settings())
