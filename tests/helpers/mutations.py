# ruff: noqa: E501 - tables of hostile values
"""Damage to files as text editors, disks and people do it, and a limit of time for whoever reads them."""

from __future__ import annotations

import re
import signal
from contextlib import contextmanager

from sweeps import BASE, METHODS_SPACE, SPACE

CPU_SECONDS = 20.0
"""A hang, on any machine: the slowest file takes well under one second on an idle core."""

METHODS = (
    METHODS_SPACE
    + """\
metric: fid_digits
pruner: {name: asha, min_steps: 3, false_prune_rate: 0.1}
"""
)
SAMPLED = """\
name: sampled
base: base/tiny.yaml
space:
  objective.critic_dim:
    logint: [1, 64]
  optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}
  training.batch_size:
    choice: [8, 16]
  network.width: {int: [2, 8], step: 2, when: {training.batch_size: [8]}}
search: {name: tpe, samples: 6, seed: 3, points: [{objective.critic_dim: 4}]}
replicates: 2
"""
INLINE = SPACE.replace(
    "base: base/tiny.yaml", "base:\n" + "".join(f"  {line}\n" for line in BASE.splitlines()).rstrip()
)
SPACES = (SPACE, METHODS, SAMPLED, INLINE)

BIG = ("65536", "1000000", "100000000", "2147483648", "4611686018427387904", "9223372036854775807", "1" + "0" * 400)
HOSTILE = (
    *(".nan", ".inf", "-.inf", "1e400", "-1e400", "1e-400", "-0.0", "0", "-1", "1.5", "4.0", "0x10", "007", "1_000"),
    *("1" + "0" * 400, "-1" + "0" * 400, "9" * 5000, "9223372036854775807", "9223372036854775808", "4611686018427387904"),
    *("0x" + "f" * 5000, "true", "no", "null", "~", "", '""', "''", "text", "'1e-3'", '"4"'),
    *("[]", "{}", "[[]]", "[[[[1]]]]", "[1, [2, {a: [3]}]]", "{a: {b: {c: 1}}}", "[null]", "[.nan, .nan]", "[1, 1.0, true]"),
    *("[" * 40 + "]" * 40, "[" * 2000, "{a: " * 40 + "1" + "}" * 40, "[" + "1, " * 3000 + "1]"),
    *("ü", "日本語", "🙂", "'\\u0000'", '"\\0"', '"\\ud800"', '"a\\nb"', "a\u2028b", "a\u0085b", "\ufeff", "'\u202etxt'", "x" * 20000),
    *("&a [*a]", "&a {b: *a}", "*nowhere", "{<<: *nowhere}", "&a {<<: *a}", "{<<: [1, 2]}", "{<<: 3}", "{<<: {name: ring}}"),
    *("!!python/object:os.system {}", "!!python/name:os.system", "!mine 3", "!!binary abc", "!!set {a, b}", "!!omap [a: 1]"),
    *("!!timestamp 2024-99-99", "!!int x", "!!float x", "!!bool maybe", "!!str 3", "!!null x", "!!seq {}", "!!map []", "!!int 1:99"),
    *("2024-01-01", "1:30", "{1: 2}", "{null: 1}", "{true: 1}", "{[1]: 2}", "{? {a: 1} : 2}", "{'': 1}", "{.: 1}", "{a..b: 1}"),
    *("{.nan: 1}", "{a.b: 1, a: 2}", "{a: 1, a: 2}", "| text", "> text", "|\n  text", "@at", "`tick", "%x", "- x", "? x", ": x", "#"),
    *("{grid: [1]}", "{grid: {a: 1}}", "{grid: 3}", "{grid: [{a: 1}, {a: 1}]}", "{grid: [[1], [1, 2]]}", "{grid: [null]}", "{cases: {}}"),
    *("{cases: {A: {}}}", "{cases: {A: {name: gan}}}", "{cases: {A: {metrics: x}, B: 3}}", "{cases: {1: {metric: fid}}}"),
    *("{int: [1, 1" + "0" * 400 + "]}", "{logint: [1, 9223372036854775808]}", "{uniform: [0, 1e308]}", "{uniform: [-1e308, 1e308]}"),
    *("{uniform: [.nan, 1]}", "{loguniform: [1e-320, 1e308]}", "{int: [1, 2], step: 1e308}", "{uniform: [0, 1], step: 5}", "{int: [1]}"),
    *("{choice: [a, b], when: {name: 1}}", "{choice: [8], when: {objective: {name: gram}}}", "{choice: [8], when: {a: [[]]}}"),
    *("{choice: [8], when: {'': 1}}", "{grid: [1], when: {training.batch_size: []}}", "{grid: [1], when: {objective.critic_dim: 1}}"),
    *("gan", "mmd_gan", "mmd_net", "ring", "mlp", "cifar10", "../tiny.yaml", "/", ".", "base", "/dev/null", "base/tiny.yaml/x", "a\\0b"),
    *("{name: ring, modes: 100000000}", "{name: mlp, hidden: [1000000000000]}", "{name: gram, critic_dim: 10, bandwidths: [1e400]}"),
)  # fmt: skip
"""Values that a key may be given; whatever follows the colon is replaced."""
KEYS = (
    *("name", "base", "space", "metric", "replicates", "search", "pruner", "resources", "training.steps", "data", "network"),
    *("objective", "objective.name", "optimizer", "metrics", "metrics.0", "training.replicates", "grid", "when", "cases", ""),
    *("ü", "objective.bandwidths.0", "a.b.c.d", ".", "a.", ".a", "x" * 300, "1", "null", "true", "<<", "? a", "name.name", "[a]"),
    *("data.n_train", "network.hidden", "training", "objective.ridge", "a b", "'quoted'", '"\\n"', "!!int 3", "&k k", "*k"),
)  # fmt: skip
CHARACTERS = "\t\n\r :,[]{}#&*!|>'\"%@`?-~.0aü\x00\x07\x85\u2028\ufeff"


def lines_of(rng, text):
    """The lines of a text and the index of one of them."""
    lines = text.split("\n")
    return lines, rng.randrange(len(lines))


def flip_byte(rng, text):
    data = bytearray(text.encode("utf-8", "surrogateescape"))
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data.decode("utf-8", "surrogateescape")


def insert_character(rng, text):
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(CHARACTERS) + text[at:]


def cut_off(rng, text):
    return text[: rng.randrange(len(text) + 1)]


def delete_line(rng, text):
    lines, i = lines_of(rng, text)
    return "\n".join(lines[:i] + lines[i + 1 :])


def duplicate_line(rng, text):
    lines, i = lines_of(rng, text)
    at = rng.randrange(len(lines) + 1)
    return "\n".join([*lines[:at], lines[i], *lines[at:]])


def indent_line(rng, text):
    lines, i = lines_of(rng, text)
    lines[i] = rng.choice([" ", "  ", "    ", "\t", "- ", "? "]) + lines[i] if rng.random() < 0.7 else lines[i].lstrip()
    return "\n".join(lines)


def swap_lines(rng, text):
    lines, i = lines_of(rng, text)
    j = rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return "\n".join(lines)


def replace_value(rng, text):
    """The whole of what follows a key, or one innermost scalar."""
    spots = list(re.finditer(r"(?<=: )[^\n]*" if rng.random() < 0.5 else r"(?<=[\[,:] )[^][{},:\n]+|(?<=\[)\w+", text))
    if not spots:
        return text
    spot = rng.choice(spots)
    return text[: spot.start()] + rng.choice(HOSTILE) + text[spot.end() :]


def enlarge_number(rng, text):
    """Of the right type, but more than any machine can hold."""
    spots = list(re.finditer(r"(?<=[\[ ])[0-9]+(?=[],}\n])", text))
    if not spots:
        return text
    spot = rng.choice(spots)
    return text[: spot.start()] + rng.choice(BIG) + text[spot.end() :]


def enlarge_grid(rng, text):
    """Axes whose product is more trials than anyone can wait for."""
    line = "  training.seed: {grid: [%s]}\n  training.eval_samples: {choice: [%s]}\n  objective.ridge: {grid: [%s]}\n"
    values = [", ".join(map(str, range(1, 2 + rng.choice([3, 300, 3000])))) for _ in range(3)]
    return re.sub(r"(?m)^space:\n", lambda found: found[0] + line % tuple(values), text)


def rename_key(rng, text):
    spots = list(re.finditer(r"[\w.]+(?=:)", text))
    if not spots:
        return text
    spot = rng.choice(spots)
    return text[: spot.start()] + rng.choice(KEYS) + text[spot.end() :]


def null_section(rng, text):
    lines, i = lines_of(rng, text)
    lines[i] = re.sub(r":.*", ":", lines[i])
    return "\n".join(lines)


def add_key(rng, text):
    return text.rstrip("\n") + f"\n{rng.choice(KEYS)}: {rng.choice(HOSTILE)}\n"


def anchor_and_alias(rng, text):
    """A value gets an anchor; another becomes its alias, or merges it."""
    spots = list(re.finditer(r"(?<=: )[^\n]+", text))
    if len(spots) < 2:
        return text
    one, two = sorted(rng.sample(spots, 2), key=lambda spot: spot.start())
    alias = rng.choice(["*x", "{<<: *x}", "[*x, *x]", "{<<: [*x, *x], name: 3}"])
    return f"{text[: one.start()]}&x {one[0]}{text[one.end() : two.start()]}{alias}{text[two.end() :]}"


MUTATIONS = (
    *(flip_byte, insert_character, cut_off, delete_line, duplicate_line, indent_line, swap_lines, null_section),
    *(
        replace_value,
        replace_value,
        replace_value,
        enlarge_number,
        enlarge_number,
        enlarge_grid,
        rename_key,
        add_key,
        anchor_and_alias,
    ),
)


class TooSlow(BaseException):
    """No `except` of the program may swallow it."""


@contextmanager
def limited():
    """Raises TooSlow after so much time of the processor, which a busy machine does not shorten."""

    def stop(*_):
        raise TooSlow(f"more than {CPU_SECONDS} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
