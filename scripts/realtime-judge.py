#!/usr/bin/env python3
"""Holds client events of OpenAI's Realtime protocol against the types of OpenAI's own package.

    realtime-judge.py EVENTS.jsonl        a verdict for each type of event; ends with 1 when any was refused
    realtime-judge.py --talk URL          the package's own client talks to a server once; ends with 1 when it cannot

Keys that the types do not know are refused, and so is a number that is a text.
"""
import asyncio
import base64
import collections
import importlib
import json
import pkgutil
import sys

import openai
import pydantic
import typing_extensions
from openai.types import realtime
from openai.types.realtime import RealtimeClientEventParam, RealtimeServerEvent


def strict() -> None:
    for found in pkgutil.iter_modules(realtime.__path__):
        module = importlib.import_module(f"{realtime.__name__}.{found.name}")
        for thing in vars(module).values():
            if isinstance(thing, type) and typing_extensions.is_typeddict(thing):
                thing.__pydantic_config__ = {"extra": "forbid"}


def judge(path: str) -> int:
    strict()
    one = pydantic.TypeAdapter(RealtimeClientEventParam)
    good, bad, why = collections.Counter(), collections.Counter(), {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            kind = json.loads(line).get("type", "?")
            try:
                one.validate_json(line, strict=True)
                good[kind] += 1
            except pydantic.ValidationError as error:
                bad[kind] += 1
                why.setdefault(kind, f"{line.strip()[:400]}\n{error}")
    for kind in sorted(good | bad):
        print(f"{kind}: {good[kind]} taken, {bad[kind]} refused")
    for kind, text in why.items():
        print(f"--- {kind}\n{text}", file=sys.stderr)
    if not good | bad:
        print("no events", file=sys.stderr)
    return 1 if bad or not good else 0


async def talk(url: str) -> int:
    one = pydantic.TypeAdapter(RealtimeServerEvent)
    client = openai.AsyncOpenAI(api_key="tea", websocket_base_url=url)
    seen, sound = [], 0
    async with client.realtime.connect(model="gpt-realtime-2.1") as connection:
        await connection.session.update(session={"type": "realtime", "instructions": "Be kind."})
        await connection.input_audio_buffer.append(audio=base64.b64encode(bytes(160)).decode())
        await connection.response.create()
        while True:
            text = await connection.recv_bytes()
            one.validate_json(text, strict=True)
            event = connection.parse_event(text)
            seen.append(event.type)
            if event.type == "response.output_audio.delta":
                sound += len(base64.b64decode(event.delta, validate=True))
            if event.type in ("error", "response.done"):
                break
    print(" ".join(seen), sound)
    whole = ["session.created", "session.updated", "response.created", "response.output_audio.delta", "response.done"]
    return 0 if sound and all(kind in seen for kind in whole) else 1


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--talk":
        sys.exit(asyncio.run(talk(sys.argv[2])))
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(judge(sys.argv[1]))
