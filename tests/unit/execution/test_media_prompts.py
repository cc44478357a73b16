"""Images in a prompt: their tokens are estimated apart, and must not teach what text comes to."""

from dataclasses import replace

import pytest

from tests.unit.execution.scripted import World, answer, asking, chat
from tests.virtual_time import in_virtual_time
from turnout_server.core.chat import ChatInput, Media, MediaKind, Part
from turnout_server.core.model import Usage


def with_image(words: str) -> ChatInput:
    """A prompt of words and one image."""
    asked = chat(words)
    image = Part(content=Media(kind=MediaKind.IMAGE, media_type="image/png", data=b"\x89PNG"))
    message = replace(asked.messages[0], parts=(*asked.messages[0].parts, image))
    return replace(asked, messages=(message,))


@in_virtual_time
async def test_tokens_of_an_image_do_not_teach_what_text_comes_to() -> None:
    world = World({"a/m": [answer("fine", usage=Usage(input_tokens=2_000, output_tokens=10))]})
    target = world.router.configured.fleet.specs[0].target
    before = world.router.targets.tokens_per_byte(target)
    for _ in range(20):
        await world.executor.execute(asking(), with_image("x" * 4_000))

    assert before == pytest.approx(world.router.targets.tokens_per_byte(target))
