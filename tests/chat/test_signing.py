"""Signatures: what is ours is known again, and nothing else passes for it."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.chat.signing import KEY_FILE, VERSION, Checked, Signer, add_key
from renga.errors import SetupError

SIGNER = Signer([bytes(32), bytes(range(32))])
TAMPERED, FOREIGN = Checked("tampered"), Checked("foreign")

# What lone halves of characters come as, too: JSON can spell them.
texts = st.text(st.characters(codec=None), max_size=200)


@settings(deadline=None)
@given(texts, st.binary(), st.booleans())
def test_what_was_signed_is_ours_where_it_stood(text: str, place: bytes, shown: bool) -> None:
    signature = SIGNER.sign(text, place, shown=shown)
    assert SIGNER.check(text, signature, place) == Checked("ours", text)
    assert SIGNER.check(text, signature, place + b"x") == FOREIGN
    assert signature.isascii()


@settings(deadline=None)
@given(texts, st.text(min_size=1, max_size=200), st.booleans(), st.integers(min_value=0))
def test_what_an_origin_signed_comes_back_and_no_bit_of_it_changes_unseen(
    text: str, origin: str, shown: bool, at: int
) -> None:
    signature = SIGNER.sign(text, b"here", shown=shown, origin=origin)
    assert SIGNER.check(text, signature, b"here") == Checked("ours", text, origin)
    assert SIGNER.check(text, signature, b"there") == FOREIGN
    blob = bytearray(base64.urlsafe_b64decode(signature[4:] + "=" * (-len(signature[4:]) % 4)))
    blob[at % len(blob)] ^= 1 << at % 8
    changed = signature[:4] + base64.urlsafe_b64encode(blob).decode()
    assert SIGNER.check(text, changed, b"here").verdict != "ours"
    # Nor is one form of a signature taken for the other.
    assert SIGNER.check(text, VERSION + signature[4:], b"here").verdict != "ours"


@settings(deadline=None)
@given(texts, texts)
def test_a_changed_text_is_tampered_and_none_counts_where_it_was_not_shown(
    text: str, other: str
) -> None:
    shown, omitted = (SIGNER.sign(text, b"", shown=shown) for shown in (True, False))
    assert SIGNER.check(text + "x", shown, b"") == TAMPERED
    assert SIGNER.check("", shown, b"").verdict == ("tampered" if text else "ours")
    assert SIGNER.check(other, omitted, b"") == Checked("ours", text)


@pytest.mark.parametrize("shown", [True, False])
def test_no_changed_bit_of_a_signature_is_ours(shown: bool) -> None:
    signature = SIGNER.sign("I think, so far.", b"here", shown=shown)
    blob = base64.urlsafe_b64decode(signature.removeprefix(VERSION) + "==")
    for bit in range(8 * len(blob)):
        changed = bytearray(blob)
        changed[bit // 8] ^= 1 << bit % 8
        written = VERSION + base64.urlsafe_b64encode(changed).decode().rstrip("=")
        verdict = SIGNER.check("I think, so far.", written, b"here").verdict
        # Of the key's name nothing can be said: another server's could be that.
        assert verdict == ("foreign" if bit < 64 else "tampered")


@pytest.mark.parametrize("shown", [True, False])
def test_a_signature_that_was_cut_or_lengthened_is_tampered(shown: bool) -> None:
    signature = SIGNER.sign("I think", b"", shown=shown)
    for end in range(len(VERSION), len(signature)):
        assert SIGNER.check("I think", signature[:end], b"") == TAMPERED
    assert SIGNER.check("I think", signature + "AAAA", b"") == TAMPERED
    assert SIGNER.check("I think", signature + "!", b"") == TAMPERED


@settings(deadline=None)
@given(st.text())
def test_what_others_signed_is_foreign(signature: str) -> None:
    assert SIGNER.check("I think", signature, b"").verdict in ("foreign", "tampered")
    assert SIGNER.check("I think", "Er" + signature, b"") == FOREIGN
    assert SIGNER.check("I think", Signer.temporary().sign("I think", b"", shown=True), b"") == (
        FOREIGN
    )


def test_a_text_that_is_not_shown_makes_a_signature_shorter_than_itself() -> None:
    text = "First the tens, then the ones; then I add them. " * 40
    assert len(SIGNER.sign(text, b"", shown=False)) < len(text) / 4
    assert len(SIGNER.sign(text, b"", shown=True)) < 100


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    signature = Signer.load(tmp_path).sign("I think", b"", shown=True)
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert Signer.load(tmp_path).check("I think", signature, b"").verdict == "ours"


def test_all_who_begin_at_once_have_the_key_that_stays(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        for home in (tmp_path / f"{n}" for n in range(40)):
            home.mkdir()
            signers = list(threads.map(Signer.load, [home] * 8))
            assert [file.name for file in home.iterdir()] == [KEY_FILE]
            last = Signer.load(home)
            for signer in signers:
                signature = signer.sign("I think", b"", shown=True)
                assert last.check("I think", signature, b"").verdict == "ours"


def test_a_key_is_added_behind_a_last_line_without_an_end(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_text("ab" * 32)
    assert add_key(tmp_path) == 2
    Signer.load(tmp_path)


def test_a_newer_key_signs_and_the_older_is_still_understood(tmp_path: Path) -> None:
    first = Signer.load(tmp_path)
    assert add_key(tmp_path) == 2
    second = Signer.load(tmp_path)
    old, new = (s.sign("I think", b"", shown=True) for s in (first, second))
    assert second.check("I think", old, b"").verdict == "ours"
    assert second.check("I think", new, b"").verdict == "ours"
    assert first.check("I think", new, b"") == FOREIGN
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"abc\n", b"\xff\n", b"0" * 63 + b"g\n"])
def test_a_key_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / KEY_FILE
    file.write_bytes(content)
    with pytest.raises(SetupError, match=f"key file {file}: ") as caught:
        Signer.load(tmp_path)
    assert "move it away" in str(caught.value.hint)
    assert file.read_bytes() == content
