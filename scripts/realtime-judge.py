#!/usr/bin/env python3
"""Holds client events of OpenAI's Realtime and Live protocols against the types of OpenAI's own package.

    realtime-judge.py EVENTS.jsonl        a verdict for each type of event; ends with 1 when any was refused
    realtime-judge.py --talk URL          the package's own client talks to a server once; ends with 1 when it cannot
    realtime-judge.py --live EVENTS.jsonl, --live-talk URL        the same for Live

Keys that the types do not know are refused, and so is a number that is a text.
"""
import asyncio
import base64
import collections
import importlib
import json
import pkgutil
import sys
import typing

import openai
import pydantic
import typing_extensions
from openai.types import live, realtime, responses
from openai.types.live import ClientEventParam, ServerEvent
from openai.types.realtime import RealtimeClientEventParam, RealtimeServerEvent


def strict() -> None:
    for package in (realtime, live, responses):
        for found in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{found.name}")
            # What is in "any iterable" would be judged only when somebody looks at it.
            if hasattr(module, "Iterable"):
                module.Iterable = typing.List
            for thing in vars(module).values():
                if isinstance(thing, type) and typing_extensions.is_typeddict(thing):
                    thing.__pydantic_config__ = {"extra": "forbid"}


def judge(path: str, events: object) -> int:
    strict()
    one = pydantic.TypeAdapter(events)
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


async def live_talk(url: str) -> int:
    one = pydantic.TypeAdapter(ServerEvent)
    client = openai.AsyncOpenAI(api_key="tea", websocket_base_url=url)
    seen, sound = [], 0
    async with client.live.connect() as connection:
        audio = {"format": {"type": "audio/pcmu", "rate": 8000}}
        await connection.send({"type": "session.start", "session": {"model": "gpt-live-1", "audio": audio}})
        while True:
            text = await connection.recv_bytes()
            one.validate_json(text, strict=True)
            event = connection.parse_event(text)
            seen.append(event.type)
            if event.type == "session.started":
                await connection.send({"type": "session.input_audio.append", "audio": base64.b64encode(bytes(160)).decode()})
                await connection.send({"type": "session.commentary.append", "delegation_id": None, "content": "Greet."})
            if event.type == "session.output_audio.delta":
                sound += len(base64.b64decode(event.delta, validate=True))
                await connection.send({"type": "session.close"})
            if event.type in ("error", "session.closed"):
                break
    print(" ".join(seen), sound)
    whole = ["session.started", "session.output_transcript.delta", "session.output_audio.delta", "session.closed"]
    return 0 if sound and all(kind in seen for kind in whole) else 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--talk", where]:
            sys.exit(asyncio.run(talk(where)))
        case ["--live-talk", where]:
            sys.exit(asyncio.run(live_talk(where)))
        case ["--live", events]:
            sys.exit(judge(events, ClientEventParam))
        case [events]:
            sys.exit(judge(events, RealtimeClientEventParam))
    sys.exit(__doc__)
