#!/usr/bin/env python3
"""Holds what the chat brain sends and hears against the types of OpenAI's own package.

    chat-judge.py REQUESTS.jsonl     each line is the body of a POST /chat/completions; ends with 1 when any was refused,
                                     or when a call of a tool has no result, or a result no call
    chat-judge.py --stream < DELTAS  deltas of an answer, a JSON list, as the package's own chunks: server-sent events

Keys that the types do not know are refused, and so is a number that is a text.
"""
import importlib
import json
import pkgutil
import sys
import typing

import pydantic
import typing_extensions
from openai.types import chat, shared_params
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming


def strict() -> None:
    for package in (chat, shared_params):
        for found in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{found.name}")
            # What is in "any iterable" would be judged only when somebody looks at it, and a text is one.
            if hasattr(module, "Iterable"):
                module.Iterable = typing.List
            for thing in vars(module).values():
                if isinstance(thing, type) and typing_extensions.is_typeddict(thing):
                    thing.__pydantic_config__ = {"extra": "forbid"}


def unanswered(messages: list) -> str | None:
    """What every strict server insists on: the results of an answer's calls follow it, all of them, once."""
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                return f"a result of no call: {message}"
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            return f"calls without results: {waiting}"
        calls = message.get("tool_calls", [])
        waiting = [call["id"] for call in calls]
        for call in calls:
            if not isinstance(json.loads(call["function"]["arguments"]), dict):
                return f"arguments that are no object: {call}"
    return f"calls without results: {waiting}" if waiting else None


def judge(path: str) -> int:
    strict()
    one = pydantic.TypeAdapter(CompletionCreateParamsStreaming)
    good, bad = 0, 0
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            try:
                one.validate_json(line, strict=True)
                problem = unanswered(json.loads(line)["messages"])
            except pydantic.ValidationError as error:
                problem = str(error)
            if problem:
                bad += 1
                print(f"{line.strip()[:2000]}\n{problem}", file=sys.stderr)
            else:
                good += 1
    print(f"{good} taken, {bad} refused")
    return 1 if bad or not good else 0


def stream() -> int:
    for delta in json.load(sys.stdin):
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "small", "choices": [choice]}
        chunk = ChatCompletionChunk.model_validate(chunk, strict=True)
        # What the package's types do not know must not go unnoticed.
        for known in [chunk, *chunk.choices, *[choice.delta for choice in chunk.choices]]:
            assert not known.model_extra, known.model_extra
        print(f"data: {chunk.model_dump_json(exclude_unset=True)}\n")
    print("data: [DONE]\n")
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--stream"]:
        sys.exit(stream())
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(judge(sys.argv[1]))
