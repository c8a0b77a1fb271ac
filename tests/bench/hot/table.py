#!/usr/bin/env python3
"""Puts the figures of `./dev bench-hot` into a table.

    table.py [CRITERION_DIR] [--write FILE.md] [--machine WORDS]

Reads what criterion left (target/criterion), in the order in which it was measured: the median of each stage, and how far
its runs lie apart (median absolute deviation). Prints the table, or puts it into FILE.md between the lines that say so.
"""
import argparse
import json
import pathlib
import sys

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def readable(nanoseconds):
    for unit, size in (("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def rows(directory):
    measured = sorted(directory.glob("**/new/estimates.json"), key=lambda path: path.stat().st_mtime_ns)
    for path in measured:
        name = json.loads((path.parent / "benchmark.json").read_text())["full_id"]
        figures = json.loads(path.read_text())
        median, spread = (figures[key]["point_estimate"] for key in ("median", "median_abs_dev"))
        yield f"| {name} | {readable(median)} | {100 * spread / median:.0f} % |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=pathlib.Path, default=pathlib.Path("target/criterion"))
    parser.add_argument("--write", type=pathlib.Path)
    parser.add_argument("--machine", default="")
    options = parser.parse_args()
    lines = list(rows(options.directory))
    if not lines:
        sys.exit(f"{options.directory} holds no figures: run `./dev bench-hot` first")
    head = [options.machine, ""] if options.machine else []
    table = "\n".join([*head, "| stage | median | spread |", "|---|---:|---:|", *lines])
    if not options.write:
        return print(table)
    text = options.write.read_text()
    if BEGIN not in text or END not in text:
        sys.exit(f"{options.write} has no place for figures: it begins with {BEGIN} and ends with {END}")
    before, rest = text.split(BEGIN, 1)
    options.write.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END, 1)[1]}")


if __name__ == "__main__":
    main()
