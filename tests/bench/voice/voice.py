#!/usr/bin/env python3
"""Scores Parlor's voice over simulated paths: PESQ-WB and the delay from capture to the mixer.

    ./dev bench-voice [--seeds 3] [--speech FILE.wav] [--markdown FILE.md]

Each path is one run of the example `voice_trace` (Opus, copies, path, jitter buffer, in virtual time): the figures are
the same on a busy machine. The first 9 s of each run are left out, for settling. Installs nothing; without --speech it
makes speech of the prompts in Debian's asterisk-core-sounds-en-g722 (one woman, 7 kHz wide, CC-BY-SA).

Needs Python 3 with numpy, scipy and pesq (`python3 -m venv V && V/bin/pip install numpy scipy pesq`, then
`PYTHON=V/bin/python ./dev bench-voice`), and, without --speech, ffmpeg and that package.
"""
import argparse
import glob
import os
import statistics
import subprocess
import sys
import tempfile
import wave

try:
    import numpy as np
    from pesq import pesq
    from scipy.signal import resample_poly
except ImportError as missing:
    sys.exit(f"{missing}\n\n{__doc__}")

RATE = 48000
SOUNDS = "/usr/share/asterisk/sounds/en_US_f_Allison"
SECONDS = 45
SETTLING = 9

# name, options of voice_trace, least PESQ-WB, most delay (ms); None: no aim.
PATHS = [
    ("clean", {}, 4.3, 70),
    ("10 % lost", {"loss": 10, "copies": 2, "fec": 10}, 3.8, 117),
    ("20 % lost", {"loss": 20, "copies": 3, "fec": 10}, 3.4, 120),
    ("30 % lost", {"loss": 30, "copies": 3, "fec": 10}, 2.7, 123),
    ("bursts, 10 %, mean 5", {"burst": 10, "length": 5, "copies": 2, "fec": 10}, 3.0, None),
    ("40 ms jitter", {"jitter": 40}, 4.2, 154),
    ("40 ms jitter, 10 % lost", {"jitter": 40, "loss": 10, "copies": 2, "fec": 10}, 3.4, 149),
    ("1 % 20 ms late", {"reorder": 1}, None, 78),
    ("10 % lost, no copies", {"loss": 10, "bitrate": 32000, "fec": 10}, None, None),
    ("16 kbit/s", {"bitrate": 16000}, 3.8, 70),
]


def load(path):
    with wave.open(path) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            sys.exit(f"{path}: 48 kHz mono 16 bit, please")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768.0


def make_speech(path):
    files = sorted(glob.glob(os.path.join(SOUNDS, "*.g722")))
    if not files:
        sys.exit(f"There is no speech in {SOUNDS}.\n\n{__doc__}")
    sound = np.zeros(0)
    for file in files:
        raw = subprocess.run(["ffmpeg", "-v", "error", "-f", "g722", "-i", file, "-f", "s16le", "-ac", "1", "-ar",
                              str(RATE), "-"], stdout=subprocess.PIPE, check=True).stdout
        prompt = np.frombuffer(raw, "<i2") / 32768.0
        if 1.5 * RATE < len(prompt) < 7 * RATE:
            sound = np.concatenate([sound, prompt, np.zeros(RATE // 4)])
        if len(sound) > SECONDS * RATE:
            break
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((sound[:SECONDS * RATE] * 32767).astype("<i2").tobytes())


def delays(sent, heard):
    """By cross-correlation of windows of half a second, milliseconds."""
    window, longest, found = RATE // 2, RATE * 6 // 10, []
    for start in range(SETTLING * RATE, len(sent) - window - longest, RATE * 3 // 10):
        a, b = sent[start:start + window], heard[start:start + window + longest]
        if (a ** 2).mean() < 1e-5 or len(b) < window + longest:
            continue
        n = 1 << (len(b) + window).bit_length()
        product = np.fft.irfft(np.fft.rfft(b, n) * np.conj(np.fft.rfft(a, n)), n)[:longest]
        energy = np.cumsum(np.concatenate([[0], b ** 2]))
        likeness = product / np.sqrt((energy[window:window + longest] - energy[:longest] + 1e-9) * (a ** 2).sum())
        if likeness.max() > 0.5:
            found.append(likeness.argmax() / RATE * 1000)
    return np.array(found)


def score(sent, heard):
    delay = delays(sent, heard)
    shift, scores = int(np.median(delay) * RATE / 1000), []
    for start in range(SETTLING * RATE, len(sent) - 9 * RATE + 1, 9 * RATE):
        a, b = sent[start:start + 9 * RATE], heard[start + shift:start + shift + 9 * RATE]
        b = np.pad(b, (0, len(a) - len(b)))
        scores.append(pesq(16000, resample_poly(a, 1, 3), resample_poly(b, 1, 3), "wb"))
    return statistics.mean(scores), float(np.median(delay)), float(np.percentile(delay, 95))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", required=True, help="the built example voice_trace (`./dev` gives it)")
    parser.add_argument("--speech")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--markdown")
    options = parser.parse_args()
    lines = ["| path (25 ms) | PESQ-WB | aim | delay ms | 95th percentile | aim | kbit/s |", "|---|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        speech = options.speech or os.path.join(folder, "speech.wav")
        if not options.speech:
            make_speech(speech)
        sent = load(speech)
        for name, path, least, most in PATHS:
            results = []
            for seed in range(1, options.seeds + 1):
                heard = os.path.join(folder, "heard.wav")
                settings = [f"{key}={value}" for key, value in {**path, "seed": seed}.items()]
                said = subprocess.run([options.trace, speech, heard, *settings], stdout=subprocess.PIPE, check=True,
                                      text=True).stdout
                results.append((*score(sent, load(heard)), float(said.split()[0])))
            quality, delay, late, rate = (statistics.median(figures) for figures in zip(*results))
            lines.append(f"| {name} | {quality:.2f} | {'' if least is None else f'>= {least}'} | {delay:.0f} | {late:.0f} "
                         f"| {'' if most is None else f'<= {most}'} | {rate:.0f} |")
            print(lines[-1], flush=True)
    if options.markdown:
        with open(options.markdown, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


main()
