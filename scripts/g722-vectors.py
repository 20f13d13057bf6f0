#!/usr/bin/env python3
"""Writes the G.722 vectors of src/media/codec/g722/ with another implementation: Debian's libspandsp2.

Run once, by hand, where that library is installed; the files are kept in the repository. The passage is made of
integers alone, and src/media/codec/g722.rs makes the same one.
"""
import ctypes
import pathlib
import struct
import sys


def passage():
    noise, phase, samples = 1, 0, []
    for n in range(3200):
        noise = (noise * 1664525 + 1013904223) & 0xFFFFFFFF
        phase = (phase + 200 + n * 8) % 65536
        triangle = abs(phase - 32768) - 16384
        hiss = (noise >> 20) - 2048
        # Integer division towards zero, as in Rust.
        quiet = (abs(triangle * 3) // 4) * (1 if triangle >= 0 else -1)
        sample = quiet + hiss if n < 2400 else triangle + hiss * 3
        samples.append(max(-32768, min(32767, sample)))
    return samples


def main():
    spandsp = ctypes.CDLL("libspandsp.so.2")
    for name in ("g722_encode_init", "g722_decode_init"):
        getattr(spandsp, name).restype = ctypes.c_void_p
        getattr(spandsp, name).argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    for name in ("g722_encode", "g722_decode"):
        getattr(spandsp, name).argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
    samples = passage()
    pcm = (ctypes.c_int16 * len(samples))(*samples)
    octets = (ctypes.c_uint8 * (len(samples) // 2))()
    encoder = spandsp.g722_encode_init(None, 64000, 0)
    assert spandsp.g722_encode(encoder, octets, pcm, len(samples)) == len(octets)
    heard = (ctypes.c_int16 * len(samples))()
    decoder = spandsp.g722_decode_init(None, 64000, 0)
    assert spandsp.g722_decode(decoder, heard, octets, len(octets)) == len(samples)
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "src/media/codec/g722")
    (folder / "passage.g722").write_bytes(bytes(octets))
    (folder / "passage.pcm").write_bytes(struct.pack(f"<{len(heard)}h", *heard))


main()
