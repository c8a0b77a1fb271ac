#!/usr/bin/env python3
"""Turns scores into what the repository shows of them: the table, which goals are met, and plots.

    score.py RECORDINGS --clip CLIP.y4m --json SCORES.json
    report.py SCORES.json docs/MEDIA.md [--recordings RECORDINGS]

Replaces what stands between `<!-- table -->` or `<!-- goals -->` and the next `<!-- end -->`, and draws `links.svg` and, from
the recordings, `step.svg` in the folder `media` beside the file. Needs matplotlib besides what score.py needs.
"""
import argparse
import json
import os
import re

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np

from score import End, latencies, middle, new_frames, rate, table

SYSTEMS = {"parlor": ("Parlor", "#d9480f", "o"), "browser": ("Chromium", "#4c6ef5", "s")}
PANELS = [("pesq", "voice: PESQ-WB", None), ("voice_p95_ms", "voice: 95 % of delays, ms", 700),
          ("fps", "pictures a second", None), ("freezes", "freezes a minute", None),
          ("shown_p95_ms", "capture to shown, 95 %, ms", 700), ("ssim", "SSIM", None)]


# --- goals ------------------------------------------------------------------------------------------------------------

class Goals:
    """What is wanted of each link, and what was measured."""

    def __init__(self, scores):
        self.scores, self.rows = scores, []

    def of(self, link, key, system="parlor"):
        return middle(self.scores.get((link, system), []), key)

    def row(self, link, what, value, wanted, met, digits=0):
        if value is None:
            self.rows.append((link, what, "not measured", wanted, None))
        else:
            self.rows.append((link, what, f"{value:.{digits}f}", wanted, met(value)))

    def at_most(self, link, what, value, limit, digits=0, why=""):
        wanted = "" if limit is None else f"at most {limit:.{digits}f}{why}"
        self.row(link, what, value, wanted, lambda v: limit is not None and round(v, digits) <= round(limit, digits), digits)

    def at_least(self, link, what, value, limit, digits=0, why=""):
        wanted = "" if limit is None else f"at least {limit:.{digits}f}{why}"
        self.row(link, what, value, wanted, lambda v: limit is not None and round(v, digits) >= round(limit, digits), digits)

    def share(self, link, key, part):
        """So much of the browser's figure."""
        other = self.of(link, key, "browser")
        return None if other is None else other * part

    def all(self):
        of, share = self.of, self.share
        self.at_most("clean", "capture to shown, ms", of("clean", "shown_ms"), share("clean", "shown_ms", 0.5), 0, " (0.5 x browser)")
        self.at_most("clean", "CPU, s a minute", of("clean", "cpu_s"), share("clean", "cpu_s", 0.35), 1, " (0.35 x browser)")
        self.at_most("clean", "memory, MiB", of("clean", "pss_mib"), share("clean", "pss_mib", 0.25), 0, " (0.25 x browser)")
        self.at_least("clean", "SSIM", of("clean", "ssim"), share("clean", "ssim", 1), 3, " (browser)")
        for link in ("loss2", "loss5", "loss10"):
            self.at_least(link, "pictures a second", of(link, "fps"), share(link, "fps", 1), 1, " (browser)")
            self.at_least(link, "SSIM", of(link, "ssim"), share(link, "ssim", 1), 3, " (browser)")
            self.at_most(link, "capture to shown, ms", of(link, "shown_ms"), share(link, "shown_ms", 1), 0, " (browser)")
            self.at_most(link, "freezes a minute", of(link, "freezes"), share(link, "freezes", 0.5), 0, " (0.5 x browser)")
        for link, pesq in (("voice-loss10", 3.8), ("voice-loss20", 3.4), ("voice-loss30", 2.7), ("voice-bursts", 3.0)):
            self.at_least(link, "PESQ", of(link, "pesq"), pesq, 2)
            if link != "voice-bursts":
                limit = share(link, "voice_ms", 1)
                self.at_most(link, "voice, ms", of(link, "voice_ms"), None if limit is None else limit + 30, 0, " (browser + 30)")
        for link in ("loss20", "loss30", "bursts"):
            self.at_least(link, "pictures a second", of(link, "fps"), 15, 1)
            self.at_most(link, "longest freeze, ms", of(link, "longest_ms"), 1000)
        for link in ("1M", "300k"):
            far, near = of(link, "voice_ms"), of("25ms", "voice_ms")
            queue = None if far is None or near is None else max(far - near, 0)
            self.at_most(link, "standing queue (voice's delay over that of the open link), ms", queue, 100)
            self.at_least(link, "SSIM", of(link, "ssim"), share(link, "ssim", 1), 3, " (browser)")
        for link, pesq in (("100k", 4.0), ("64k", 3.3), ("voice-64k", 3.8)):
            self.at_least(link, "PESQ", of(link, "pesq"), pesq, 2)
            self.at_most(link, "voice, ms", of(link, "voice_ms"), 150)
        self.at_most("step", "last late picture after the step down, s", of("step", "adapted_s"), 2, 1)
        self.at_most("step", "longest freeze after the step down, ms", of("step", "down_longest_ms"), 300)
        self.at_most("step", "80 % of the rate again after the step up, s", of("step", "back_s"), 5, 1)
        for link in ("voice-jitter", "voice-jitter-loss10", "voice-reorder"):
            self.at_least(link, "PESQ", of(link, "pesq"), share(link, "pesq", 1), 2, " (browser)")
            self.at_most(link, "voice, ms", of(link, "voice_ms"), share(link, "voice_ms", 0.8), 0, " (0.8 x browser)")
        for link in ("beside-call", "beside-tcp"):
            self.row(link, "share of the link", of(link, "share"), "0.40 to 0.60", lambda v: 0.4 <= round(v, 2) <= 0.6, 2)
        self.at_most("voice-clean", "voice, ms", of("voice-clean", "voice_ms"), 40)
        for link, system in self.scores:
            if system == "parlor" and of(link, "sync") is not None and of(link, "fps") > 5:
                self.at_least(link, "in sync", of(link, "sync"), 0.95, 2)
        return self.rows


def goals_table(rows):
    lines = ["| link | what | Parlor | wanted | met |", "|---|---|---|---|---|"]
    said = {True: "yes", False: "**no**", None: ""}
    lines += [f"| {link} | {what} | {value} | {wanted} | {said[met]} |" for link, what, value, wanted, met in rows]
    met = sum(met is True for *_, met in rows)
    return "\n".join([*lines, "", f"{met} of {len(rows)} are met."])


# --- plots ------------------------------------------------------------------------------------------------------------

def draw_links(scores, path):
    links = list(dict.fromkeys(link for link, _ in scores))
    figure, axes = plt.subplots(len(PANELS), 1, figsize=(10, 12), sharex=True)
    for axis, (key, title, most) in zip(axes, PANELS):
        for number, (system, (name, colour, marker)) in enumerate(SYSTEMS.items()):
            found = [(at, middle(scores[link, system], key)) for at, link in enumerate(links) if (link, system) in scores]
            found = [(at + number * 0.24 - 0.12, value) for at, value in found if value is not None]
            values = [min(value, most) if most else value for _, value in found]
            axis.scatter([at for at, _ in found], values, s=22, color=colour, marker=marker, label=name)
            for (at, value), shown in zip(found, values):
                if value != shown:
                    axis.annotate(f"{value:.0f}", (at, shown), textcoords="offset points", xytext=(3, -9), fontsize=6, color=colour)
        axis.set_title(title, loc="left", fontsize=9)
        axis.grid(axis="y", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, fontsize=8, frameon=False, ncols=2)
    axes[-1].set_xticks(range(len(links)), links, rotation=60, ha="right", fontsize=8)
    figure.tight_layout()
    save(figure, path)


def draw_step(recordings, path):
    figure, (above, below) = plt.subplots(2, 1, figsize=(10, 5), sharex=True)
    for system, (name, colour, _) in SYSTEMS.items():
        folder = os.path.join(recordings, f"step-{system}-1")
        if not os.path.exists(os.path.join(folder, "measured")):
            continue
        with open(os.path.join(folder, "link.json"), encoding="ascii") as file:
            link = json.load(file)
        ann, bob = End(folder, "ann"), End(folder, "bob")
        start = link["steps_ms"][0]
        times, kbps = rate(link, "bob_received")
        second = 1000 // link["tick_ms"]
        above.plot((times - start) / 1000, np.convolve(kbps, np.ones(second) / second, "same"), color=colour, label=name)
        shown = latencies(ann, new_frames(bob, start, link["to_ms"]))
        below.plot((shown.sum(axis=1) - start) / 1000, shown[:, 1], ".", markersize=2, color=colour, rasterized=True)
        for axis in (above, below):
            [axis.axvline((at - start) / 1000, color="grey", linewidth=0.6) for at in link["steps_ms"][1:]]
    above.set_title("kbit/s on the wire while the link is 3, 0.5 and 3 Mbit/s", loc="left", fontsize=9)
    below.set_title("capture to shown of each picture, ms", loc="left", fontsize=9)
    below.set_ylim(0, 1500)
    below.set_xlabel("s", fontsize=8)
    above.legend(fontsize=8, frameon=False)
    for axis in (above, below):
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    figure.tight_layout()
    save(figure, path)


def save(figure, path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # The same every time, so that only what changed shows as a change.
    matplotlib.rcParams["svg.hashsalt"] = "parlor"
    figure.savefig(path, metadata={"Date": None})


# --- the file ---------------------------------------------------------------------------------------------------------

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores")
    parser.add_argument("document")
    parser.add_argument("--recordings")
    options = parser.parse_args()
    with open(options.scores, encoding="ascii") as file:
        scores = {(entry["link"], entry["system"]): entry["directions"] for entry in json.load(file)}
    with open(options.document, encoding="utf-8") as file:
        text = file.read()
    for name, content in (("table", table(scores)), ("goals", goals_table(Goals(scores).all()))):
        text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda found: f"{found[1]}\n{content}\n\n{found[2]}", text, flags=re.S)
    with open(options.document, "w", encoding="utf-8") as file:
        file.write(text)
    beside = os.path.join(os.path.dirname(options.document), "media")
    draw_links(scores, os.path.join(beside, "links.svg"))
    if options.recordings:
        draw_step(options.recordings, os.path.join(beside, "step.svg"))


if __name__ == "__main__":
    main()
