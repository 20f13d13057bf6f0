"""Scores speech after ITU-T P.862 (PESQ): `pesq-score.py nb|wb REFERENCE.wav DEGRADED.wav ...`, pairs of mono files of
16 bits at 8 kHz (nb) or 16 kHz (wb). Prints a JSON list of MOS-LQO, one for each pair (P.862.1, P.862.2)."""

import json
import sys
import wave

import numpy
from pesq import pesq

RATES = {"nb": 8000, "wb": 16000}


def samples(name, rate):
    with wave.open(name, "rb") as file:
        found = (file.getframerate(), file.getnchannels(), file.getsampwidth())
        if found != (rate, 1, 2):
            sys.exit(f"{name}: {found} instead of mono of 16 bits at {rate} Hz")
        return numpy.frombuffer(file.readframes(file.getnframes()), dtype="<i2")


def main():
    band, *names = sys.argv[1:]
    rate = RATES[band]
    pairs = zip(names[::2], names[1::2], strict=True)
    scores = [pesq(rate, samples(one, rate), samples(other, rate), band) for one, other in pairs]
    print(json.dumps([float(score) for score in scores]))


main()
