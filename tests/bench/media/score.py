#!/usr/bin/env python3
"""Scores the calls that bench-media recorded, and prints a table: for each link Parlor's call and the browser's.

    ./dev bench-media RECORDINGS [--browser DIR] [--only LINK,...] [--repeat N]    records, then scores
    score.py RECORDINGS --clip CLIP.y4m [--markdown FILE] [--json FILE]
    score.py --make-speech ANN.wav BOB.wav

DIR is a folder with node_modules/playwright-core in it; `node` and Chromium are needed besides. Without it only Parlor
is measured. A call takes most of a minute, and of two cores.

Nothing here knows whose call it scores. Every figure is the median over runs and both directions:

fps       different marked frames shown a second
freezes   times without a new frame for more than 200 ms, a minute; and the longest
shown     capture to shown, median and 95th percentile, ms
SSIM      of the frames that arrived, luma, scaled to the clip's size (8 x 8 windows)
kbit/s    what the wire carried to the receiver, with all headers
PESQ      PESQ-WB of what was heard, in blocks of 9 s
STOI      of the same, delays taken out: how much can be understood, 0 to 1
voice     from the microphone's sample to the mixer, without sound cards' buffers, median and 95th percentile, ms
sync      part of the time in which picture and voice of the same moment come within 40 ms of each other
CPU       of all processes of one end, seconds a minute, with what it takes to record both (more in a browser's page)
MB        their memory (PSS), MiB
share     of what all who share the link got through it

The first 12 s of each call are left out. Needs Python 3 with numpy, scipy, pesq and pystoi.
"""
import argparse
import bisect
import collections
import concurrent.futures
import json
import os
import statistics
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "voice"))
try:
    import numpy as np
    from scipy.ndimage import uniform_filter, zoom

    from sound import RATE, delays, intelligibility, load, make_speech, quality
except ImportError as missing:
    sys.exit(f"{missing}\n\n{__doc__}")

FREEZE_MS = 200
IN_SYNC_MS = 40
LATE_MS = 400
BLOCK = 9
LONGEST_DELAY_S = 4.0


# --- what a folder holds ----------------------------------------------------------------------------------------------

class End:
    """One side of a call."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.log = collections.defaultdict(list)
        with open(os.path.join(folder, f"{name}.csv"), encoding="ascii") as file:
            for line in file:
                what, number, us = line.split(",")
                self.log[what].append((int(number), int(us) / 1000))

    def sound(self, what, from_ms, to_ms):
        """What was said or heard between two times, sample by sample."""
        samples = load(os.path.join(self.folder, f"{self.name}-{what}.wav"))
        pieces = np.array(self.log[what])
        # Threads are late, never early: the quickest tell where the recording begins.
        late = 1 if what == "said" else 0
        start = np.percentile(pieces[10:, 1] - (pieces[10:, 0] + late) * 10, 1)
        first = int((from_ms - start) * RATE / 1000)
        wanted = np.arange(first, first + int((to_ms - from_ms) * RATE / 1000))
        if what == "said":
            return samples[wanted % len(samples)]
        padded = np.pad(samples, (max(0, -first), max(0, wanted[-1] + 1 - len(samples))))
        return padded[wanted + max(0, -first)]

    def pictures(self):
        """Luma planes of the pictures that were kept."""
        with open(os.path.join(self.folder, f"{self.name}.luma"), "rb") as file:
            while len(head := file.read(8)) == 8:
                width, height = struct.unpack("<II", head)
                luma = file.read(width * height)
                if len(luma) == width * height:
                    yield np.frombuffer(luma, np.uint8).reshape(height, width)


class Clip:
    """The pictures that were sent."""

    def __init__(self, path):
        with open(path, "rb") as file:
            header = file.readline()
        words = {word[:1]: word[1:] for word in header.decode().split()[1:]}
        self.width, self.height = int(words["W"]), int(words["H"])
        self.size = len("FRAME\n") + self.width * self.height * 3 // 2
        self.frames = np.memmap(path, np.uint8, "r", len(header))

    def luma(self, number):
        start = number * self.size + len("FRAME\n")
        return np.array(self.frames[start:start + self.width * self.height]).reshape(self.height, self.width)


def mark(luma):
    """The number in a picture's bar code; None when it can't be read."""
    scale = luma.shape[0] / 720
    cell = lambda row, i: int(luma[int((24 + 48 * row) * scale), int((256 + 48 * i + 24) * scale)])
    differences = [cell(0, i) - cell(1, i) for i in range(16)]
    if min(map(abs, differences)) < 40:
        return None
    bits = "".join("1" if difference > 0 else "0" for difference in differences)
    number = int(bits[2:12], 2)
    fits = bits[:2] == "10" and int(bits[12:], 2) == ((number >> 8) + (number >> 4 & 15) + (number & 15) + 5) & 15
    return number if fits else None


def similarity(a, b):
    """Mean SSIM (Wang et al. 2004) over windows of 8 x 8."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    mean = lambda x: uniform_filter(x, 8)[4:-4:4, 4:-4:4]
    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a ** 2, mean(b * b) - mean_b ** 2
    covariance, c1, c2 = mean(a * b) - mean_a * mean_b, (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((above / ((mean_a ** 2 + mean_b ** 2 + c1) * (variance_a + variance_b + c2))).mean())


# --- figures of one direction -----------------------------------------------------------------------------------------

def voice(sender, receiver, link):
    from_ms, to_ms = link["from_ms"], link["to_ms"]
    said = sender.sound("said", from_ms, to_ms)
    heard = receiver.sound("heard", from_ms, to_ms)
    found = delays(said, heard, every=0.2, longest=LONGEST_DELAY_S)
    if not len(found):
        return {"pesq": 1.0}, found
    scores, step = [], BLOCK * RATE
    for start in range(0, len(said) - step + 1, step):
        near = found[(found[:, 0] > start / RATE - 0.5) & (found[:, 0] < (start + step) / RATE)]
        shift = int(np.median(near[:, 1] if len(near) else found[:, 1]) * RATE / 1000)
        block = heard[start + shift:start + shift + step]
        if len(block) == step:
            scores.append(quality(said[start:start + step], block))
    median, late = np.percentile(found[:, 1], [50, 95])
    return {"pesq": statistics.median(scores), "stoi": intelligibility(said, heard, found), "voice_ms": median,
            "voice_p95_ms": late}, found


def latencies(sender, shown):
    """When each shown frame was captured, and how much later it was shown. The clip loops: the latest capture counts."""
    captured = collections.defaultdict(list)
    for number, ms in sender.log["captured"]:
        captured[number].append(ms)
    found = []
    for number, ms in shown:
        times = captured.get(number, [])
        if at := bisect.bisect(times, ms):
            found.append((times[at - 1], ms - times[at - 1]))
    return np.array(found).reshape(-1, 2)


def new_frames(receiver, from_ms, to_ms):
    shown, last = [], None
    for number, ms in receiver.log["shown"]:
        if number != last and from_ms <= ms < to_ms:
            shown.append((number, ms))
        last = number
    return shown


def longest_gap(times, from_ms, to_ms):
    inside = [ms for ms in times if from_ms <= ms < to_ms]
    return max(b - a for a, b in zip([from_ms, *inside], [*inside, to_ms]))


def picture(sender, receiver, link, clip):
    from_ms, to_ms = link["from_ms"], link["to_ms"]
    shown = new_frames(receiver, from_ms, to_ms)
    times = [ms for _, ms in shown]
    gaps = np.diff([from_ms, *times, to_ms])
    found = latencies(sender, shown)
    figures = {"fps": len(shown) / (to_ms - from_ms) * 1000,
               "freezes": float((gaps > FREEZE_MS).sum()) / (to_ms - from_ms) * 60000, "longest_ms": float(gaps.max())}
    if len(found):
        figures["shown_ms"], figures["shown_p95_ms"] = np.percentile(found[:, 1], [50, 95])
    likeness, heights = [], []
    for luma in list(receiver.pictures())[24:]:
        number = mark(luma)
        if number is None:
            continue
        heights.append(luma.shape[0])
        if luma.shape != (clip.height, clip.width):
            luma = zoom(luma, (clip.height / luma.shape[0], clip.width / luma.shape[1]), order=1)
        likeness.append(similarity(clip.luma(number), luma))
    if likeness:
        figures["ssim"] = statistics.mean(likeness)
        figures["height"] = statistics.median(heights)
    return figures, found


def in_sync(pictures, voices, from_ms):
    """How often picture and voice of the same moment come at the same time."""
    if not len(pictures) or not len(voices):
        return {}
    apart = []
    for at, delay in voices:
        near = pictures[np.abs(pictures[:, 0] - (from_ms + at * 1000 + 250)) < 250]
        if len(near):
            apart.append(np.median(near[:, 1]) - delay)
    apart = np.array(apart)
    return {"sync": float((np.abs(apart) <= IN_SYNC_MS).mean()), "apart_ms": float(np.median(apart))} if len(apart) else {}


def rate(link, what):
    """kbit/s tick by tick, and the times of the ticks."""
    received = np.array(link[what], float)
    start = link["steps_ms"][0]
    return start + np.arange(1, len(received)) * link["tick_ms"], np.diff(received) * 8 / link["tick_ms"]


def mean_rate(link, what):
    times, kbps = rate(link, what)
    return float(kbps[times > link["from_ms"]].mean())


def step(sender, receiver, link):
    """How a link that gets slow and quick again is followed: adapted when the last picture was late."""
    down, up = link["steps_ms"][1:]
    times, kbps = rate(link, f"{receiver.name}_received")
    second = 1000 // link["tick_ms"]
    smooth = np.convolve(kbps, np.ones(second) / second, "full")[:len(kbps)]
    before = np.median(kbps[(times > down - 5000) & (times < down)])
    back = times[(times > up) & (smooth >= 0.8 * before)]
    shown = new_frames(receiver, 0, 1e15)
    late = [captured + delay for captured, delay in latencies(sender, shown) if delay > LATE_MS]
    late = [ms for ms in late if down < ms < down + 20000]
    return {"down_longest_ms": longest_gap([ms for _, ms in shown], down, down + 10000),
            "adapted_s": (late[-1] - down) / 1000 if late else 0.0,
            "back_s": (back[0] - up) / 1000 if len(back) else None, "before_kbps": before}


def score(folder, clip_path):
    with open(os.path.join(folder, "link.json"), encoding="ascii") as file:
        link = json.load(file)
    ends = [End(folder, name) for name in ("ann", "bob")]
    directions = []
    # A download shares one direction only.
    for sender, receiver in (ends[::-1],) if link.get("beside") == "download" else (ends, ends[::-1]):
        figures, voices = voice(sender, receiver, link)
        figures["kbps"] = mean_rate(link, f"{receiver.name}_received")
        if link.get(f"{receiver.name}_beside"):
            figures["share"] = figures["kbps"] / (figures["kbps"] + mean_rate(link, f"{receiver.name}_beside"))
        for key, of in (("cpu_s", "cpu_s_a_minute"), ("pss_mib", "pss_mib")):
            if of in link:
                figures[key] = link[of][ends.index(receiver)]
        if link["video"]:
            seen, pictures = picture(sender, receiver, link, Clip(clip_path))
            figures |= seen | in_sync(pictures, voices, link["from_ms"])
            if len(link["steps_ms"]) == 3:
                figures |= step(sender, receiver, link)
        directions.append({key: None if value is None else float(value) for key, value in figures.items()})
    return directions


# --- the table --------------------------------------------------------------------------------------------------------

COLUMNS = [("fps", "fps", 1), ("freezes", "freezes a minute", 0), ("longest_ms", "longest ms", 0),
           ("shown_ms", "shown ms", 0), ("shown_p95_ms", "95 %", 0), ("ssim", "SSIM", 3), ("kbps", "kbit/s", 0),
           ("pesq", "PESQ", 2), ("stoi", "STOI", 2), ("voice_ms", "voice ms", 0), ("voice_p95_ms", "95 %", 0),
           ("sync", "in sync", 2), ("cpu_s", "CPU s", 1), ("pss_mib", "MB", 0)]


def middle(directions, key):
    values = [figures[key] for figures in directions if figures.get(key) is not None]
    return statistics.median(values) if values else None


def table(scores):
    lines = ["| link | | " + " | ".join(title for _, title, _ in COLUMNS) + " |", "|" + "---|" * (2 + len(COLUMNS))]
    for (link, system), directions in scores.items():
        cells = [middle(directions, key) for key, _, _ in COLUMNS]
        shown = ["" if value is None else f"{value:.{digits}f}" for value, (_, _, digits) in zip(cells, COLUMNS)]
        lines.append(f"| {link} | {system} | " + " | ".join(shown) + " |")
        if any("back_s" in figures for figures in directions):
            longest, back = middle(directions, "down_longest_ms"), middle(directions, "back_s")
            said = "never" if back is None else f"{back:.1f} s"
            lines.append(f"| | | longest time without a picture after the step down: {longest:.0f} ms; the last picture more "
                         f"than {LATE_MS} ms late: {middle(directions, 'adapted_s'):.1f} s after it; "
                         f"80 % of the rate again after the step up: {said} |")
        if (share := middle(directions, "share")) is not None:
            lines.append(f"| | | its share of the link: {share:.2f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="?")
    parser.add_argument("--clip")
    parser.add_argument("--markdown")
    parser.add_argument("--json")
    parser.add_argument("--make-speech", nargs=2, metavar=("ANN.wav", "BOB.wav"))
    options = parser.parse_args()
    if options.make_speech:
        for turn, path in enumerate(options.make_speech):
            make_speech(path, 45, turn, 2)
        return
    if not options.recordings or not options.clip:
        parser.error("RECORDINGS and --clip are needed")
    measured = lambda folder: os.path.join(folder.path, "measured")
    folders = sorted((folder for folder in os.scandir(options.recordings) if os.path.exists(measured(folder))),
                     key=lambda folder: os.stat(measured(folder)).st_mtime)
    with concurrent.futures.ProcessPoolExecutor() as pool:
        results = list(pool.map(score, [f.path for f in folders], [options.clip] * len(folders)))
    scores = {}
    for folder, directions in zip(folders, results):
        link, system, _ = folder.name.rsplit("-", 2)
        scores.setdefault((link, system), []).extend(directions)
    links = list(dict.fromkeys(link for link, _ in scores))
    scores = dict(sorted(scores.items(), key=lambda scored: links.index(scored[0][0])))
    text = table(scores)
    print(text)
    if options.markdown:
        with open(options.markdown, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump([{"link": link, "system": system, "directions": d} for (link, system), d in scores.items()], file, indent=1)


if __name__ == "__main__":
    main()
