#!/usr/bin/env python3
"""Draws the terminal output of a program as an SVG, for documents.

    script -qec 'COMMAND' /dev/null | scripts/terminal_svg.py '$ COMMAND' > picture.svg

The picture of the README, docs/demo.svg, has this COMMAND, in one line:

    target/release/logitspec generate -m data/models/logitspec-demo.gguf --chat -n 400
        -f scripts/demo_prompt.txt --color-drafts

With -m, no note names a folder of this machine. Only the colors of logitspec are drawn. Other
escape sequences are left out. Long lines are wrapped.
"""

import html
import re
import sys
import textwrap

COLUMNS = 100
CHAR, LINE, MARGIN = 8.4, 19, 16
PLAIN, PROMPT = "#d4d4d4", "#9cdcfe"
COLOURS = {
    "0": PLAIN,
    "32": "#4ec96f",
    "33": "#e5c07b",
    "34": "#61afef",
    "35": "#d787d7",
    "36": "#56c8d8",
}


def pieces(text: str, colour: str = PLAIN) -> list[tuple[str, str]]:
    """The characters with their colors."""
    found = []
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07)", text):
        if part.startswith("\x1b[") and part[2:-1] in COLOURS and part.endswith("m"):
            colour = COLOURS[part[2:-1]]
        elif not part.startswith("\x1b"):
            found += [(char, colour) for char in part]
    return found


def lines(chars: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Lines of at most COLUMNS characters, wrapped at spaces."""
    result = []
    start = 0
    text = "".join(char for char, _ in chars)
    for line in text.split("\n"):
        wrapped = textwrap.wrap(line, COLUMNS, drop_whitespace=False, break_long_words=True) or [""]
        at = start
        for number, part in enumerate(wrapped):
            # Skip the space at which a line was wrapped.
            skip = number > 0 and part.startswith(" ")
            result.append(chars[at + skip : at + len(part)])
            at += len(part)
        start += len(line) + 1
    while result and not result[-1]:
        result.pop()
    return result


def unbroken(text: str) -> str:
    """Text as XML, with non-breaking spaces, because some viewers collapse spaces."""
    return html.escape(text, quote=False).replace(" ", "\u00a0")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    # A progress bar overwrites its line. Keep the last version.
    printed = "\n".join(
        line.rstrip("\r").rpartition("\r")[2] for line in sys.stdin.read().split("\n")
    )
    screen = lines(pieces(sys.argv[1] + "\n", PROMPT)) + [[]] + lines(pieces(printed))
    width, height = COLUMNS * CHAR + 2 * MARGIN, len(screen) * LINE + 2 * MARGIN
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}"'
        f' width="{width:.0f}" height="{height}">'
    )
    print('<rect width="100%" height="100%" rx="8" fill="#1e1e1e"/>')
    print(
        "<g font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\""
        ' font-size="14">'
    )
    for number, line in enumerate(screen):
        spans = []
        for char, colour in line:
            if spans and spans[-1][1] == colour:
                spans[-1][0] += char
            else:
                spans.append([char, colour])
        text = "".join(f'<tspan fill="{colour}">{unbroken(text)}</tspan>' for text, colour in spans)
        print(f'<text x="{MARGIN}" y="{MARGIN + LINE * number + 14}">{text}</text>')
    print("</g>\n</svg>")


if __name__ == "__main__":
    main()
