"""`python -m tests.faults.table`: what the faults came to, as a Markdown table."""

from tests.faults.row import Row, read_rows

HEAD = (
    "fault",
    "jobs accepted",
    "jobs ended",
    "pictures wrong",
    "webhooks delivered",
    "duplicates",
    "seconds to recover",
)


def main() -> None:
    """Print it."""
    print(_line(HEAD))
    print(_line(("---", *("--:" for _ in HEAD[1:]))))
    for row in read_rows():
        print(_line(_cells(row)))


def _cells(row: Row) -> tuple[str, ...]:
    hooks = str(row.hooks) if row.hooks == row.hooks_due else f"{row.hooks} of {row.hooks_due}"
    counts = (row.accepted, row.ended, row.wrong, hooks, row.duplicates)
    return (row.fault, *(str(count) for count in counts), f"{row.seconds:.1f}")


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
