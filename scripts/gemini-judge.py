"""Reads messages to Gemini Live, one a line, and judges them by the types of the vendor's package.

Unknown names, wrong types and unknown words are faults; so is an `id` that a tool's result lacks, and more than one thing
in one message. Prints a line for each kind of message and one for each fault; ends with 1 when there was a fault.
"""

import collections
import enum
import json
import sys

from google.genai import types

KINDS = ("setup", "clientContent", "realtimeInput", "toolResponse", "contextUpdate")


def words(value, path=""):
    """Every word of an enumeration that the types do not declare: they take any and only warn."""
    if isinstance(value, enum.Enum):
        if value.name not in type(value)._member_names_:
            yield f"{path}: {value.value!r}"
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from words(item, f"{path}[{index}]")
    elif hasattr(type(value), "model_fields"):
        for name in type(value).model_fields:
            yield from words(getattr(value, name), f"{path}.{name}")


def judge(line):
    message = json.loads(line)
    if not isinstance(message, dict) or len(message) != 1 or next(iter(message)) not in KINDS:
        raise ValueError("one message holds one of " + ", ".join(KINDS))
    kind, content = next(iter(message.items()))
    if kind == "realtimeInput":
        if len(content) != 1:
            raise ValueError("one field of realtimeInput a message")
        kind += "." + next(iter(content))
    apart = []
    if kind == "setup":
        # The package writes it into the setup itself (`_live_converters`), past the type of the setup.
        detection = content.pop("realtimeInputConfig", None)
        if detection is not None:
            apart.append(types.RealtimeInputConfig.model_validate_json(json.dumps(detection)))
    typed = types.LiveClientMessage.model_validate_json(json.dumps(message))
    unknown = [word for value in (typed, *apart) for word in words(value)]
    if unknown:
        raise ValueError("unknown words: " + ", ".join(unknown))
    if typed.tool_response and any(not answer.id for answer in typed.tool_response.function_responses or [None]):
        raise ValueError("a result without the id of its call")
    return kind


def main():
    counts, faults = collections.Counter(), 0
    for number, line in enumerate(sys.stdin, 1):
        try:
            counts[judge(line)] += 1
        except Exception as fault:  # whatever the types say
            faults += 1
            print(f"line {number}: {type(fault).__name__}: {fault}: {line.strip()[:300]}")
    for kind, count in sorted(counts.items()):
        print(f"{kind}: {count} right")
    print(f"{faults} faults")
    return 1 if faults or not counts else 0


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    sys.exit(main())
