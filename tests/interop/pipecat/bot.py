"""A bot made of pipecat, for whichever service it is called by: greets, listens by loudness, answers with a long tone, lets itself be interrupted, hangs up.

It is what a customer would write but for its ears and its voice, which are tones, so that a test can measure them. What it
notices goes to its output, a JSON object a line, with the monotonic time of this machine.

    bot.py PORT BASE_URL ACCOUNT_SID AUTH_TOKEN
"""

import json
import sys
import time

import numpy
import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import (
    EndWorkerFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    OutputAudioRawFrame,
    StartFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.plivo import PlivoFrameSerializer
from pipecat.serializers.telnyx import TelnyxFrameSerializer
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner
from twilio.request_validator import RequestValidator

RATE = 8_000
GREETING_HZ, ANSWER_HZ = 1_000, 700

port, base_url, account, token = int(sys.argv[1]), *sys.argv[2:5]
logger.remove()
logger.add(sys.stderr, level="INFO")
app = FastAPI()


def tell(**what):
    print(json.dumps({**what, "at": time.monotonic()}), flush=True)


def loudness(pcm: bytes) -> float:
    samples = numpy.frombuffer(pcm, numpy.int16).astype(float)
    return float(numpy.sqrt(numpy.mean(samples * samples)))


def tone(hz: int, seconds: float) -> bytes:
    at = numpy.arange(int(seconds * RATE)) / RATE
    return (8_000 * numpy.sin(2 * numpy.pi * hz * at)).astype(numpy.int16).tobytes()


class Answerer(FrameProcessor):
    def __init__(self):
        super().__init__()
        self._loud = self._quiet = 0
        self._speech = False

    async def process_frame(self, frame: Frame, direction: FrameDirection):
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            return await self._hear(frame.audio)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self._say(GREETING_HZ, 1.0)
        elif isinstance(frame, InputDTMFFrame):
            key = frame.button.value
            tell(key=key)
            if key == "#":
                await self.broadcast_interruption()
                await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)

    async def _hear(self, pcm: bytes):
        loud = loudness(pcm) > 500
        self._loud, self._quiet = (self._loud + 1, 0) if loud else (0, self._quiet + 1)
        if self._loud == 3 and not self._speech:
            self._speech = True
            tell(began=True)
            await self.broadcast_interruption()
            tell(interrupted=True)
        if self._quiet == 15 and self._speech:
            self._speech = False
            tell(stopped=True)
            await self._say(ANSWER_HZ, 30.0)

    async def _say(self, hz: int, seconds: float):
        await self.push_frame(OutputAudioRawFrame(audio=tone(hz, seconds), sample_rate=RATE, num_channels=1))


def serializer_for(kind: str, call):
    """Only Twilio's may hang up here: the others know no address but their service's own."""
    if kind == "telnyx":
        params = TelnyxFrameSerializer.InputParams(auto_hang_up=False)
        return TelnyxFrameSerializer(
            stream_id=call.stream_id, outbound_encoding="PCMU", inbound_encoding="PCMU", params=params
        )
    if kind == "plivo":
        return PlivoFrameSerializer(
            stream_id=call.stream_id, params=PlivoFrameSerializer.InputParams(auto_hang_up=False)
        )
    return TwilioFrameSerializer(
        stream_sid=call.stream_id, call_sid=call.call_id, account_sid=account, auth_token=token, base_url=base_url
    )


@app.websocket("/calls")
async def calls(websocket: WebSocket):
    url = f"ws://{websocket.headers['host']}/calls"
    signature = websocket.headers.get("x-twilio-signature", "")
    tell(signed=RequestValidator(token).validate(url, {}, signature))
    await websocket.accept()
    kind, call = await parse_telephony_websocket(websocket)
    tell(kind=kind, call=call.call_id, caller=call.from_number, called=call.to_number)
    serializer = serializer_for(kind, call)
    params = FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=serializer)
    transport = FastAPIWebsocketTransport(websocket, params)
    worker = PipelineWorker(
        Pipeline([transport.input(), Answerer(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
        enable_rtvi=False,
    )

    @transport.event_handler("on_client_disconnected")
    async def gone(_transport, _client):
        tell(gone=True)
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    tell(over=True)


uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
