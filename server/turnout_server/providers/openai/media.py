"""Puts images, sound and documents on the openai wire, in either of the two forms its vendors have for them."""

from __future__ import annotations

from turnout_server.core.chat import Media, MediaKind
from turnout_server.providers.base64_text import Base64Text
from turnout_server.providers.dialects import MediaForm
from turnout_server.providers.failures import invalid_request
from turnout_server.providers.media import DEFAULT_MEDIA_TYPE
from turnout_server.providers.wire import JsonObject

_AUDIO_FORMATS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}
_FILE_NAMES = {"application/pdf": "document.pdf", "text/plain": "document.txt"}


def media_block(media: Media, form: MediaForm) -> JsonObject:
    """Returns the block of one medium; UpstreamError INVALID_REQUEST for what the form cannot carry."""
    media_type = media.media_type or DEFAULT_MEDIA_TYPE[media.kind]
    if media.kind is MediaKind.IMAGE:
        return {"type": "image_url", "image_url": {"url": media.url or _data_url(media, media_type)}}
    if media.data is None:
        raise invalid_request(f"the openai wire takes {media.kind.value.lower()} parts as bytes only, not by URL")
    if media.kind is MediaKind.AUDIO:
        audio_format = _AUDIO_FORMATS.get(media_type)
        if audio_format is None:
            raise invalid_request(f"the openai wire takes wav and mp3 audio, not {media_type}")
        data = Base64Text(media.data)
        sound: object = data if form is MediaForm.URLS else {"data": data, "format": audio_format}
        return {"type": "input_audio", "input_audio": sound}
    url = _data_url(media, media_type)
    if form is MediaForm.URLS:
        return {"type": "document_url", "document_url": url}
    return {"type": "file", "file": {"filename": _FILE_NAMES.get(media_type, "document"), "file_data": url}}


def _data_url(media: Media, media_type: str) -> Base64Text:
    if media.data is None:
        raise invalid_request(f"a {media.kind.value.lower()} part has neither data nor url")
    return Base64Text(media.data, before=f"data:{media_type};base64,")
