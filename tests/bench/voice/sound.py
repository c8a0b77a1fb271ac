"""Speech to send, and what is heard of it: shared by the scorers of voices and of calls.

Needs Python 3 with numpy, scipy, pesq and pystoi; to make speech also ffmpeg, and the prompts in Debian's
asterisk-core-sounds-en-g722 (one woman, 7 kHz wide, CC-BY-SA).
"""
import glob
import math
import os
import subprocess
import sys
import wave

import numpy as np
from pesq import NoUtterancesError, pesq
from pystoi import stoi
from scipy.signal import resample_poly

RATE = 48000
SOUNDS = "/usr/share/asterisk/sounds/en_US_f_Allison"
LOOKED_AT = 8000  # the rate at which delays are looked for


def load(path):
    """Samples of a mono file of 16 bit, at 48 kHz."""
    with wave.open(path) as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            sys.exit(f"{path}: mono and 16 bit, please")
        samples, rate = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768.0, file.getframerate()
    common = math.gcd(rate, RATE)
    return samples if rate == RATE else resample_poly(samples, RATE // common, rate // common)


def make_speech(path, seconds, first=0, step=1):
    """Sentences one after the other; with another `first`, other ones."""
    files = sorted(glob.glob(os.path.join(SOUNDS, "*.g722")))
    if not files:
        sys.exit(f"There is no speech in {SOUNDS}.\n\n{__doc__}")
    sound = np.zeros(0)
    for file in files[first::step]:
        raw = subprocess.run(["ffmpeg", "-v", "error", "-f", "g722", "-i", file, "-f", "s16le", "-ac", "1", "-ar",
                              str(RATE), "-"], stdout=subprocess.PIPE, check=True).stdout
        prompt = np.frombuffer(raw, "<i2") / 32768.0
        if 1.5 * RATE < len(prompt) < 7 * RATE:
            sound = np.concatenate([sound, prompt, np.zeros(RATE // 4)])
        if len(sound) > seconds * RATE:
            break
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((sound[:seconds * RATE] * 32767).astype("<i2").tobytes())


def delays(sent, heard, every=0.3, longest=0.6):
    """By cross-correlation of windows of half a second: when each is in `sent` (s), and how much later in `heard` (ms)."""
    sent, heard = (resample_poly(sound, 1, RATE // LOOKED_AT) for sound in (sent, heard))
    window, reach, found = LOOKED_AT // 2, int(longest * LOOKED_AT), []
    for start in range(0, len(sent) - window - reach, int(every * LOOKED_AT)):
        a, b = sent[start:start + window], heard[start:start + window + reach]
        if (a ** 2).mean() < 1e-5 or len(b) < window + reach:
            continue
        n = 1 << (len(b) + window).bit_length()
        product = np.fft.irfft(np.fft.rfft(b, n) * np.conj(np.fft.rfft(a, n)), n)[:reach]
        energy = np.cumsum(np.concatenate([[0], b ** 2]))
        likeness = product / np.sqrt((energy[window:window + reach] - energy[:reach] + 1e-9) * (a ** 2).sum())
        if likeness.max() > 0.5:
            found.append((start / LOOKED_AT, likeness.argmax() / LOOKED_AT * 1000))
    return np.array(found).reshape(-1, 2)


def quality(sent, heard):
    """PESQ-WB (ITU-T P.862.2); 1 when nothing was heard."""
    heard = np.pad(heard, (0, max(0, len(sent) - len(heard))))[:len(sent)]
    try:
        return pesq(16000, resample_poly(sent, 1, 3), resample_poly(heard, 1, 3), "wb")
    except NoUtterancesError:
        return 1.0


def intelligibility(sent, heard, found):
    """STOI (Taal et al. 2011), 0 to 1: how much of what was said can be understood. It does not look for delays, so that
    those that were found are taken out, piece by piece."""
    edges = [0, *(int(at * RATE) for at, _ in found[1:]), len(sent)]
    aligned = np.zeros(len(sent))
    for start, end, (_, delay) in zip(edges, edges[1:], found):
        first = start + int(delay * RATE / 1000)
        piece = heard[first:first + end - start]
        aligned[start:start + len(piece)] = piece
    return float(stoi(resample_poly(sent, 5, 24), resample_poly(aligned, 5, 24), 10000))
