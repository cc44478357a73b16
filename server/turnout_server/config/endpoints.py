"""Where a provider's calls go: its own address, one for each endpoint, or the one that the vendor has in a region.

A region that is only a word would promise what nobody keeps, so the region of a vendor that answers from within it
brings that address, and the price there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from turnout_server.config.schema_providers import ProviderSection


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where calls of one endpoint go; the name is "" where a provider has only one.

    `is_regional` says that the address is the vendor's for the region.
    """

    name: str
    region: str
    base_url: str
    is_regional: bool = False


def endpoints_of(section: ProviderSection, base_url: str, regions: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """Returns the endpoints; `regions` are the vendor's addresses, `base_url` is for those that have none of them.

    An address that the operator gives, of the endpoint or of the provider, is used whatever the region.
    """
    own = {} if section.base_url else regions
    if not section.endpoints:
        return (_endpoint("", section.region, "", base_url, own),)
    return tuple(
        _endpoint(one.name, one.region or section.region, one.base_url, base_url, own) for one in section.endpoints
    )


def _endpoint(name: str, region: str, given: str, base_url: str, regions: Mapping[str, str]) -> Endpoint:
    is_regional = not given and region in regions
    address = regions[region] if is_regional else given or base_url
    return Endpoint(name=name, region=region, base_url=address.rstrip("/"), is_regional=is_regional)
