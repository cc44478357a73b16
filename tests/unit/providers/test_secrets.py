from __future__ import annotations

from pathlib import Path

import pytest

from turnout_server.providers.connection import ProviderConnection, SecretReference
from turnout_server.providers.dialects import ANTHROPIC
from turnout_server.providers.header_files import parse_headers
from turnout_server.providers.secrets import Secrets, SecretUnavailableError
from turnout_server.providers.upstream import wire_of


def connection(**credentials: SecretReference) -> ProviderConnection:
    return ProviderConnection(provider="p", wire="anthropic", dialect=ANTHROPIC, credentials=credentials)


def test_environment_variable_is_read_when_it_is_needed() -> None:
    environ = {"KEY": " one "}
    secrets = Secrets([connection(main=SecretReference(env="KEY"))], environ=environ)
    assert "one" == secrets.get("p", "main")
    environ["KEY"] = "two"

    assert "two" == secrets.get("p", "main")


def test_file_is_looked_at_once_a_second_and_read_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("one\n")
    now = [0.0]
    secrets = Secrets([connection(main=SecretReference(file=str(path)))], clock=lambda: now[0])
    assert "one" == secrets.get("p", "main")
    path.write_text("second\n")
    assert "one" == secrets.get("p", "main")
    now[0] = 1.0

    assert "second" == secrets.get("p", "main")


@pytest.mark.parametrize("gone", [True, False])
def test_file_in_the_middle_of_being_replaced_counts_as_it_was(tmp_path: Path, *, gone: bool) -> None:
    path = tmp_path / "key"
    path.write_text("one")
    now = [0.0]
    secrets = Secrets([connection(main=SecretReference(file=str(path)))], clock=lambda: now[0])
    secrets.get("p", "main")

    def empty() -> None:
        if gone:
            path.unlink()
        else:
            path.write_text("")

    now[0] = 1.0
    empty()
    assert "one" == secrets.get("p", "main")
    path.write_text("two")
    assert "two" == secrets.get("p", "main")

    now[0] = 2.0
    empty()
    assert "two" == secrets.get("p", "main")
    now[0] = 3.0
    with pytest.raises(SecretUnavailableError):
        secrets.get("p", "main")


def test_changed_names_the_credentials_whose_secret_is_another(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("one")
    now = [0.0]
    references = {"file": SecretReference(file=str(path)), "env": SecretReference(env="KEY")}
    secrets = Secrets([connection(**references)], environ={"KEY": "x"}, clock=lambda: now[0])
    assert () == secrets.changed()
    path.write_text("other")
    now[0] = 2.0

    assert (("p", "file"),) == secrets.changed()
    assert () == secrets.changed()


@pytest.mark.parametrize(
    ("reference", "words"),
    [(SecretReference(env="NOPE"), "NOPE"), (SecretReference(file="/nowhere/key"), "/nowhere/key")],
)
def test_missing_secret_is_named_by_its_reference(reference: SecretReference, words: str) -> None:
    with pytest.raises(SecretUnavailableError, match=words):
        Secrets([connection(main=reference)], environ={}).get("p", "main")


def test_unknown_label_is_unavailable() -> None:
    with pytest.raises(SecretUnavailableError, match="other"):
        Secrets([connection()], environ={}).get("p", "other")


@pytest.mark.parametrize("text", ["host: x", "no colon", "bad name: x", "x: a\x01b", "Content-Length: 3"])
def test_header_file_refuses_what_is_no_header_or_not_the_operators(text: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse_headers(f"ok: 1\n{text}", "file")


def test_unknown_wire_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="openai, anthropic"):
        wire_of("soap")


def test_secrets_of_another_configuration_are_its_own_and_the_old_ones_stay_for_who_began_with_them(
    tmp_path: Path,
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("planted-one")
    two.write_text("planted-two")
    now = [0.0]
    old = Secrets(
        [connection(main=SecretReference(file=str(one)), gone=SecretReference(env="GONE"))],
        environ={"GONE": "planted-gone"},
        clock=lambda: now[0],
    )
    new = old.following([connection(main=SecretReference(file=str(two)), same=SecretReference(file=str(one)))])

    assert (("p", "main"),) == new.changed()
    assert () == new.changed()
    assert ("planted-two", "planted-one") == (new.get("p", "main"), new.get("p", "same"))
    assert ("planted-one", "planted-gone") == (old.get("p", "main"), old.get("p", "gone"))
    with pytest.raises(SecretUnavailableError, match="gone"):
        new.get("p", "gone")
    assert {"planted-one", "planted-two"} == set(new.known())


def test_what_was_read_for_configurations_that_are_over_is_forgotten(tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(5)]
    for file in files:
        file.write_text("planted")
    secrets = Secrets([connection(main=SecretReference(file=str(files[0])))])
    for file in files[1:]:
        secrets = secrets.following([connection(main=SecretReference(file=str(file)))])
        secrets.changed()
    secrets.forget_others([str(files[1])])

    assert {str(files[1]), str(files[4])} == set(secrets.files._files)
