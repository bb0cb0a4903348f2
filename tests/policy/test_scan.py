"""Host rule H1: no text kills the process, and what the scan refuses never reaches a parser."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attest import limits
from attest.policy import engine
from attest.policy.finding import FindingError
from attest.policy.scan import scan

if TYPE_CHECKING:
    from conftest import Kit

HEAD = 'permit(principal, action == Action::"accept", resource) when { '


def _rule(expression: str) -> bytes:
    return f"{HEAD}{expression} }};".encode()


BOMBS = {
    "parentheses": lambda n: "(" * n + "true" + ")" * n,
    "brackets": lambda n: "[" * n + "1" + "]" * n + ".isEmpty()",
    "braces": lambda n: "{a:" * n + "1" + "}" * n + " == 1",
    "open only": lambda n: "(" * n,
    "not": lambda n: "!" * n + "true",
    "not with comments": lambda n: "!//x\n" * n + "true",
    "minus": lambda n: "-" * n + "1 == 1",
    "and": lambda n: " && ".join(["true"] * n),
    "or": lambda n: "||".join(["true"] * n),
    "plus": lambda n: "+".join(["1"] * n) + " == 1",
    "times": lambda n: "*".join(["1"] * n) + " == 1",
    "dots": lambda n: "principal" + ".a" * n,
    "indices": lambda n: "principal" + '["a"]' * n,
    "calls": lambda n: "principal" + ".contains(1)" * n,
    "has": lambda n: "principal has " + ".".join(["a"] * n),
    "if": lambda n: "if true then true else " * n + "true",
    "names": lambda n: "principal is " + "::".join(["A"] * n),
    "hidden in a string": lambda n: '"\\"" == "' + "(" * n,
    "behind a comment": lambda n: "true //\n" + "(" * n,
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("size", [1 << 18, 1 << 20])
def test_a_bomb_never_reaches_the_parser(name: str, size: int, monkeypatch: pytest.MonkeyPatch, kit: Kit) -> None:
    def reached(_text: str) -> None:
        raise AssertionError("the parser was reached")

    monkeypatch.setattr(engine, "parse", reached)
    unit = len(BOMBS[name](2)) - len(BOMBS[name](1))
    data = _rule(BOMBS[name](max(size // unit - 64, 1)))
    assert len(data) > size // 2
    files = {**kit.files(), "rules.cedar": data}
    assert {finding.code for finding in kit.findings(files) if finding.file == "rules.cedar"} <= {"P101", "P107"}


@pytest.mark.parametrize("name", [name for name in BOMBS if not name.startswith("hidden")])
def test_depth_is_bounded_at_its_limit(name: str) -> None:
    for size in (limits.MAX_POLICY_DEPTH, limits.MAX_POLICY_DEPTH + 8):
        with pytest.raises(FindingError) as refused:
            scan(_rule(BOMBS[name](size)))
        assert refused.value.finding.code in ("P101", "P107")
    scan(_rule(BOMBS[name](12) if name not in ("open only", "behind a comment") else "true"))


@pytest.mark.parametrize(("opening", "closing"), ["()", "[]", "{}"])
def test_brackets_at_the_limit(opening: str, closing: str) -> None:
    room = limits.MAX_POLICY_NESTING - 1  # one is the condition's own
    assert scan(_rule(opening * room + "1" + closing * room)).statements
    with pytest.raises(FindingError, match="nested too deeply"):
        scan(_rule(opening * (room + 1) + "1" + closing * (room + 1)))


def test_sizes_at_the_limit() -> None:
    padding = limits.MAX_POLICY_BYTES - len(_rule("true"))
    assert scan(_rule("true") + b" " * padding).statements
    with pytest.raises(FindingError, match="too long"):
        scan(_rule("true") + b" " * (padding + 1))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"\xef\xbb\xbfpermit(principal, action, resource);",
        "permit(principal, action, resource); // \u202e".encode(),
        "permit(principal, action, resource); // \u200b".encode(),
        b"permit(principal, action, resource); // \x00",
        b"// a comment that some readers end here\rpermit(principal, action, resource);",
        "permit(principal, action, resource); // \u2028permit".encode(),
    ],
)
def test_text_that_is_not_what_it_looks_like(data: bytes) -> None:
    with pytest.raises(FindingError) as refused:
        scan(data)
    assert refused.value.finding.code == "P101"


def test_lines_of_windows_are_lines() -> None:
    source = scan(_rule("true").replace(b" ", b"\r\n"))
    assert source.statements[0].tokens[-1].at.line == source.text.count("\n") + 1


def test_brackets_in_strings_and_comments_do_not_count() -> None:
    assert scan(_rule('"' + "(" * 500 + '" == "x" // ' + "[" * 500 + "\n")).statements


CHILD = r'''
import random, sys, threading
from attest.policy import engine
from attest.policy.finding import FindingError
from attest.policy.scan import scan
seed, stack = int(sys.argv[1]), int(sys.argv[2])
words = """( ) [ ] { } ! - && || + * .a if true then else true 1 "x" principal , == :: contains( resource.x has is A in ; //
permit(principal,action,resource)when{ @id("x")""".split()
schema = """entity A { a: Bool }; entity Key;
action "accept" appliesTo { principal: [A], resource: [Key], context: {} };"""
def run():
    choice = random.Random(seed)
    read = 0
    for _ in range(60):
        few = choice.sample(words, choice.randint(1, 6))
        text = "permit(principal, action, resource) when { " + " ".join(choice.choice(few) for _ in range(choice.choice((20, 200, 4000))))
        for end in ("", " };"):
            try:
                source = scan((text + end).encode())
            except FindingError:
                continue
            read += 1
            try:
                engine.parse(source.text)
                engine.validate(source.text, schema)
            except engine.EngineError:
                pass
    deep = 'permit(principal is A, action == Action::"accept", resource) when { '
    shapes = ["(" * 20 + "true" + ")" * 20 + " && true" * 70, "true" + " || true" * 90, "!(" * 28 + "true" + ")" * 28]
    for shape in [*shapes, "1" + "+1" * 90 + "==1"]:
        source = scan((deep + shape + " };").encode())
        engine.parse(source.text)
        engine.validate(source.text, schema)
    print("alive", read)
if stack:
    threading.stack_size(stack)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
else:
    run()
'''


@pytest.mark.parametrize("stack", [0, 1 << 20])
def test_what_the_scan_lets_through_does_not_kill_the_engine(stack: int) -> None:
    """In a child process, on the usual stack and on one of 1 MiB: random texts, and the deepest that are allowed."""
    seed = random.Random(7).randrange(1 << 30)
    root = Path(__file__).resolve().parents[2]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(seed), str(stack)], capture_output=True, text=True, timeout=120, cwd=root, check=False
    )
    assert child.returncode == 0, child.stderr[-400:]
    assert child.stdout.startswith("alive"), child.stdout
    assert int(child.stdout.split()[1]) > 10, "the scan refused nearly everything: the test shows nothing"
