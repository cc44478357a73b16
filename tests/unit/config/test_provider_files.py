"""Files that a provider's block names are read with the configuration: their faults are told before any call."""

from __future__ import annotations

from pathlib import Path

import pytest

from turnout_server.config.faults import ConfigurationError
from turnout_server.config.load import load

OWN_CERTIFICATE = "it must hold a PEM certificate and its key, without a pass phrase"
PLANTED = "planted-0123456789"


def faults(folder: Path, key: str, content: str | bytes) -> list[str]:
    file = folder / "named"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    configuration = folder / "turnout.yaml"
    configuration.write_text(f"providers: {{openai: {{{key}: {file}}}}}")
    with pytest.raises(ConfigurationError) as caught:
        load(str(configuration), {})
    return [str(fault).partition("providers.")[2].replace(str(file), "FILE") for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("key", "content", "expected"),
    [
        ("ca_file", PLANTED, "openai.ca_file: FILE cannot be used: it holds no PEM certificate"),
        (
            "client_cert_file",
            PLANTED,
            f"openai.client_cert_file: FILE cannot be used: {OWN_CERTIFICATE}",
        ),
        (
            "headers_from_file",
            f"x-team: routing\n{PLANTED}",
            "openai.headers_from_file: line 2 of FILE is not a header: write Name: value, in ASCII characters",
        ),
        ("headers_from_file", b"x-team: \xff", "openai.headers_from_file: FILE is not UTF-8 text"),
        ("headers_from_file", "", "openai.headers_from_file: file FILE is empty"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_without_any_of_it(
    tmp_path: Path, key: str, content: str | bytes, expected: str
) -> None:
    assert faults(tmp_path, key, content) == [expected]


def test_proxy_that_is_none_is_told_without_its_password(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(f"providers: {{openai: {{proxy_url: 'socks5://turnout:{PLANTED}@proxy:1080'}}}}")
    with pytest.raises(ConfigurationError) as caught:
        load(str(file), {})

    (fault,) = caught.value.faults
    assert "providers.openai.proxy_url: must begin with http:// or https://" in str(fault)
    assert PLANTED not in str(fault)
