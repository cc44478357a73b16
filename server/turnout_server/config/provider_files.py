"""What files that a provider's block names must hold: headers and certificates are not just anything."""

from __future__ import annotations

from pathlib import Path

from turnout_server.providers.certificates import ca_fault, client_cert_fault
from turnout_server.providers.header_files import HeaderFileError, parse_headers


def content_fault(key: str, file: str) -> str:
    """Returns what is wrong with the content of a file that can be read, "" for nothing; never any of it.

    `key` is the key of the configuration that names it.
    """
    match key:
        case "ca_file":
            return ca_fault(file)
        case "client_cert_file":
            return client_cert_fault(file)
        case "headers_from_file":
            return _headers_fault(file)
        case _:
            return ""


def _headers_fault(file: str) -> str:
    try:
        parse_headers(Path(file).read_text(encoding="utf-8"), file)
    except UnicodeDecodeError:
        return f"{file} is not UTF-8 text"
    except (OSError, HeaderFileError) as error:
        return str(error)
    return ""
