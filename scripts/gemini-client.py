"""Holds a whole exchange with a Gemini Live service at the address given, by the vendor's own client.

Text, sound, a tool with its result, and text beside the sound: each must be answered by a turn with sound and words.
"""

import asyncio
import json
import sys

from google import genai
from google.genai import types


async def turn(session):
    """One turn of the model: seconds of sound, words of both sides, calls of tools, and the last update's handle."""
    heard = {"sound": 0.0, "agent": "", "caller": "", "tools": [], "tokens": 0}
    async for message in session.receive():
        if message.data:
            heard["sound"] += len(message.data) / 2 / 24000
        content = message.server_content
        if content and content.output_transcription:
            heard["agent"] += content.output_transcription.text or ""
        if content and content.input_transcription:
            heard["caller"] += content.input_transcription.text or ""
        if message.usage_metadata:
            heard["tokens"] += message.usage_metadata.total_token_count or 0
        if message.tool_call:
            heard["tools"] += message.tool_call.function_calls
            return heard
    return heard


async def exchange(address):
    client = genai.Client(api_key="vendor-key", http_options={"base_url": address, "api_version": "v1beta"})
    config = types.LiveConnectConfig(
        response_modalities=["AUDIO"],
        system_instruction="Be kind.",
        input_audio_transcription={},
        output_audio_transcription={},
        session_resumption={},
    )
    turns = 0

    def check(heard, **wanted):
        nonlocal turns
        turns += 1
        assert abs(heard["sound"] - 0.2) < 1e-6 and heard["agent"] == f"Answer {turns}. ", heard
        assert heard["tokens"] == 12, heard
        assert all(heard[key] == value for key, value in wanted.items()), heard

    async with client.aio.live.connect(model="gemini-2.5-live", config=config) as session:
        assert session.session_id == "s-1", session.session_id
        await session.send_client_content(turns={"role": "user", "parts": [{"text": "Hello"}]}, turn_complete=True)
        check(await turn(session))
        for _ in range(10):
            blob = types.Blob(data=bytes(1600), mime_type="audio/pcm;rate=16000")
            await session.send_realtime_input(audio=blob)
        check(await turn(session), caller="good day")
        await session.send_realtime_input(text="How is the weather?")
        calls = (await turn(session))["tools"]
        assert [(call.id, call.name, call.args) for call in calls] == [("fc-1", "weather", {"city": "Bonn"})], calls
        await session.send_tool_response(
            function_responses=types.FunctionResponse(id="fc-1", name="weather", response={"output": "blue"})
        )
        check(await turn(session))
        await session.send_realtime_input(audio_stream_end=True)
        await session.send_realtime_input(text="And tomorrow?")
        check(await turn(session))
    return {"turns": turns}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(asyncio.wait_for(exchange(sys.argv[1]), 15))))
