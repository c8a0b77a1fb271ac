#!/usr/bin/env python3
"""Scores Parlor's voice over simulated paths: PESQ-WB, STOI, and the delay from capture to the mixer.

    ./dev bench-voice [--seeds 3] [--only WORDS] [--speech FILE.wav] [--markdown FILE.md]

Each path is one run of the example `voice_trace` (Opus, copies, path, jitter buffer, in virtual time): the figures are
the same on a busy machine. The first 9 s of each run are left out, for settling; a path that is capped is open before its
second second, and rate control decides how the voice is coded there. Installs nothing; without --speech it
makes speech of the prompts in Debian's asterisk-core-sounds-en-g722 (one woman, 7 kHz wide, CC-BY-SA).

Needs Python 3 with numpy, scipy, pesq and pystoi (`python3 -m venv V && V/bin/pip install numpy scipy pesq pystoi`, then
`PYTHON=V/bin/python ./dev bench-voice`), and, without --speech, ffmpeg and that package.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile

try:
    import numpy as np

    from sound import RATE, delays, intelligibility, load, make_speech, quality
except ImportError as missing:
    sys.exit(f"{missing}\n\n{__doc__}")

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
    ("capped at 1 Mbit/s, camera", {"cap": 1000, "camera": 1}, 4.0, 150),
    ("capped at 300 kbit/s, camera", {"cap": 300, "camera": 1}, 4.0, 150),
    ("capped at 100 kbit/s, camera", {"cap": 100, "camera": 1}, 4.0, 150),
    ("capped at 64 kbit/s, camera", {"cap": 64, "camera": 1}, 3.3, 150),
    ("capped at 64 kbit/s, voice only", {"cap": 64}, 3.8, 150),
]


def score(sent, heard):
    sent, heard = sent[SETTLING * RATE:], heard[SETTLING * RATE:]
    found = delays(sent, heard)
    delay = found[:, 1]
    shift, block = int(np.median(delay) * RATE / 1000), 9 * RATE
    scores = [quality(sent[start:start + block], heard[start + shift:start + shift + block])
              for start in range(0, len(sent) - block + 1, block)]
    return (statistics.mean(scores), intelligibility(sent, heard, found), float(np.median(delay)),
            float(np.percentile(delay, 95)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", required=True, help="the built example voice_trace (`./dev` gives it)")
    parser.add_argument("--speech")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="paths with this in their name")
    parser.add_argument("--markdown")
    options = parser.parse_args()
    lines = ["| path (25 ms) | PESQ-WB | aim | STOI | delay ms | 95th percentile | aim | kbit/s |",
             "|---|---|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        speech = options.speech or os.path.join(folder, "speech.wav")
        if not options.speech:
            make_speech(speech, SECONDS)
        sent = load(speech)
        for name, path, least, most in PATHS:
            if options.only not in name:
                continue
            results = []
            for seed in range(1, options.seeds + 1):
                heard = os.path.join(folder, "heard.wav")
                settings = [f"{key}={value}" for key, value in {**path, "seed": seed}.items()]
                said = subprocess.run([options.trace, speech, heard, *settings], stdout=subprocess.PIPE, check=True,
                                      text=True).stdout
                results.append((*score(sent, load(heard)), float(said.split()[0])))
            quality, stoi, delay, late, rate = (statistics.median(figures) for figures in zip(*results))
            lines.append(f"| {name} | {quality:.2f} | {'' if least is None else f'>= {least}'} | {stoi:.2f} | {delay:.0f} | {late:.0f} "
                         f"| {'' if most is None else f'<= {most}'} | {rate:.0f} |")
            print(lines[-1], flush=True)
    if options.markdown:
        with open(options.markdown, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


main()
