"""`python -m tests.golden.update`: write what every case becomes now, delete what no case has any more."""

from tests.golden.cases import CASES, cases


def main() -> None:
    """Rewrite all expected files."""
    expected = {path: text for case in cases() for path, text in case.expected_files().items()}
    for path in sorted(CASES.glob("*/expected/*")):
        if path not in expected:
            path.unlink()
    for path, text in expected.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
