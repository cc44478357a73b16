"""RPCs of the router's methods come in side by side: none queues behind those of another method."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]  # has no types
from grpc_reflection.v1alpha import reflection_pb2  # type: ignore[import-untyped]  # has no types

from tests.api.sidecar import Sidecar
from turnout.v1 import router_pb2


def method_count(module: Any) -> int:
    return sum(len(service.methods) for service in module.DESCRIPTOR.services_by_name.values())


async def test_grpc_waits_for_each_of_the_routers_methods_by_itself(sidecar: Sidecar) -> None:
    del sidecar
    # What is waited for is gRPC's own, and shows in its tasks alone.
    waits = Counter(getattr(task.get_coro(), "__name__", "") for task in asyncio.all_tasks())

    # Health is served beside the router, and on a port of its own.
    beside = 2 * method_count(health_pb2) + method_count(reflection_pb2)
    assert method_count(router_pb2) + beside == waits["_request_registered_call"]
    assert 2 == waits["_request_call"]
