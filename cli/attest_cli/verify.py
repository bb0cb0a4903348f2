"""attest verify: judge bundles, or the bare evidence of other tools."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest import limits
from attest.errors import AttestError, UsageError
from attest_cli.options import At, Companions, Explain, Json, Trust, challenge, moment, print_json, trust_store, worse
from attest_cli.terminal import Page, progress, say_error

if TYPE_CHECKING:
    from attest.appraisal import KeyUse
    from attest.policy.bundle import Policy
    from attest.trust import TrustStore
    from attest_cli import documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

TestOnly = Annotated[
    bool, typer.Option("--test-only", help="Judge for a key that is marked test-only: simulated and debuggable TEEs may pass.")
]
Nonce = Annotated[
    str | None, typer.Option("--nonce", metavar="HEX", help="Challenge that you issued for this session. Default: none, a recording.")
]

_WORDS: Final = {
    "malformed": "the input cannot be read",
    "not-authentic": "not authentic",
    "refused": "refused",
    "cannot-decide": "cannot decide",
    "authentic": "authentic, but no policy was asked, so nothing is permitted",
}


@app.command()
def verify(
    bundles: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE", help="Bundle folder or file, or a report that another tool wrote. Repeatable.")
    ],
    policy: Annotated[str | None, typer.Option("--policy", metavar="DIR", help="Policy folder, or the name of one that ships.")] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="NAME", help="Key that the policy is asked about.")] = None,
    test_only: TestOnly = False,
    companions: Companions = None,
    nonce: Nonce = None,
    at: At = None,
    trust: Trust = None,
    explain: Explain = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also write one self-contained page.")] = None,
    json: Json = False,
) -> int:
    """Judge evidence: is it authentic, is the floor satisfied, and does a policy permit a key?

    Without --policy the question is authenticity alone, and the answer is never a permission (exit 6 at best).
    With several bundles the exit code is the worst one.

    Examples:
      attest verify fixtures/nvidia-gpu/h100-595.71.05
      attest verify fixtures/sev-snp/azure-milan-v3 --explain
      attest verify lab/node --trust lab/pki/trust.json \\
        --policy h100x8-snp --key demo --test-only
      attest verify lab/node --trust lab/pki/trust.json \\
        --html lab/page.html --json
    """
    # The library is imported here and not above, so that --help and usage errors answer at once.
    from attest.appraisal import KeyUse

    if (policy is None) is not (key is None):
        raise UsageError.of(
            "--policy and --key go together", fix="name the key that the policy is asked about: attest verify ... --policy NAME --key NAME"
        )
    run = _Run(
        at=moment(at),
        trust=trust_store(trust),
        policy=_policy(policy),
        key=key or "",
        nonce=challenge(nonce),
        use=KeyUse.TEST_ONLY if test_only else KeyUse.PRODUCTION,
        companions=tuple(companions or ()),
        flags=_flags(policy, key, nonce, trust, companions, test_only=test_only),
    )
    results: list[doc.VerdictDoc] = []
    for number, path in enumerate(bundles, 1):
        with progress(f"verifying {path} ({number} of {len(bundles)})"):
            results.append(run.judge(path))
    document: doc.VerifyDoc = {
        "schema": "attest-verify/1",
        "exit_code": worse([result["exit_code"] for result in results]),
        "results": results,
    }
    _show(document, explain=explain, html=html, json=json)
    return document["exit_code"]


@dataclass(frozen=True, slots=True)
class _Run:
    """What is the same for every bundle of one command; ``flags`` are the options that a repetition needs."""

    at: datetime
    nonce: bytes | None
    trust: TrustStore
    policy: Policy | None
    key: str
    use: KeyUse
    companions: tuple[Path, ...]
    flags: tuple[str, ...]

    def judge(self, path: Path) -> doc.VerdictDoc:
        """Load and judge one bundle. A bundle that cannot be read is a result; a path that is not there is the caller's mistake."""
        from attest.verifier import judge
        from attest.wire import format_time
        from attest_cli.judged import command, judgement_document, unreadable_document
        from attest_cli.sources import load

        again = command(["attest", "verify", str(path), *self.flags, "--at", format_time(self.at)])
        try:
            bundle = load(path, self.companions, self.at)
        except UsageError:
            raise
        except AttestError as error:
            return unreadable_document(error, source=str(path), at=self.at, use=self.use, trust=self.trust, again=again)
        judgement = judge(
            bundle,
            trust=self.trust,
            at=self.at,
            policy=self.policy,
            key=self.key,
            use=self.use,
            nonce=self.nonce,
            max_age=None if self.policy else limits.CHALLENGE_LIFE,
        )
        return judgement_document(judgement, source=str(path), use=self.use, key=self.key, again=again)


def _flags(
    policy: str | None, key: str | None, nonce: str | None, trust: Path | None, companions: list[Path] | None, *, test_only: bool
) -> tuple[str, ...]:
    given = (("--policy", policy), ("--key", key), ("--nonce", nonce), ("--trust", trust), *(("--with", item) for item in companions or ()))
    flags = [word for option, value in given if value is not None for word in (option, str(value))]
    return (*flags, "--test-only") if test_only else tuple(flags)


def _policy(name: str | None) -> Policy | None:
    if name is None:
        return None
    from attest_cli.policies import load_policy

    return load_policy(name)


def _show(document: doc.VerifyDoc, *, explain: bool, html: Path | None, json: bool) -> None:
    if html is not None:
        from attest_cli.html import verify_page

        html.write_text(verify_page(document), encoding="utf-8")
    if json:
        print_json(document)
    else:
        from attest_cli.text import print_verdict

        out = Page()
        for number, result in enumerate(document["results"]):
            if number:
                out.line()
            print_verdict(out, result, explain=explain)
    for result in document["results"]:
        _summarise(result)


def _summarise(result: doc.VerdictDoc) -> None:
    """One line on stderr for every bundle that is not permitted, with the first next step."""
    if result["permitted"]:
        return
    hints = [reason["fix"] for reason in result["reasons"] if reason["fix"]][:1]
    bundle = result["bundle"]
    if bundle and bundle["origin"] == "simulated" and result["trust"]["origin"] == "production":
        hints = ["this bundle says that it is simulated: judge it with the simulator's own roots, --trust FOLDER/trust.json"]
    if result["verdict"] == "authentic":
        hints = ["ask a policy: --policy NAME --key NAME"]
    count = len(result["reasons"])
    why = f" ({count} reason{'s' if count != 1 else ''})" if count else ""
    asked = result["policy"] is not None or not result["authentic"] or not count
    what = _WORDS[result["verdict"]] if asked else "authentic, but nothing can be released to it"
    say_error(f"{result['source']}: {what}{why}", hints)
